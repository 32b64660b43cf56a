"""Dashboards: described once, shown live by Grafana and drawn over a run by the report."""
