"""The transport below the application: limits of connections, a budget for bodies, checks of Host and Origin."""
