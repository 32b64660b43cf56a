"""Dashboards: described once, exported to Grafana, and drawn by the report over a run."""
