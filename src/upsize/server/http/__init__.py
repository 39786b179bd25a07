"""The transport below the application: connections with limits, bodies with a budget, who may call from where."""
