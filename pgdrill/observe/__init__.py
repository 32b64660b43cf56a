"""Watching: Prometheus, the life of an alert, and one timeline of everything."""
