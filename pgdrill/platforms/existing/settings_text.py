"""The parts of a written pgdrill.toml that are the same for every cluster of a user's."""

# A table ends the options without one, so these two are apart.
MONITORING = """\
# Who would be paged? Your Prometheus and Alertmanager; [alerts] below names what must see a fault.
# prometheus-url = "https://prometheus.example"
# alertmanager-url = "https://alertmanager.example"
# monitoring-token = "/path/to/bearer-token"
"""
ALERTS = """\

# Your alerts that must see a fault, once the two addresses are given.
[alerts]
# {fault} = "PostgresPrimaryMoved"
"""
