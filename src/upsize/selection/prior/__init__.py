"""The prior: what published scores say about a size, for a user without labelled data."""
