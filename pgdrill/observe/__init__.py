"""Watching: Prometheus, the life of an alert, and one time-line of everything."""
