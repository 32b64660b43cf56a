"""The pytest plugin: options, a run directory, and fixtures that drill a cluster.

It is idle (plugin/options.py says when), and then offers its options and nothing else.
"""

pytest_plugins = [
    "pgdrill.plugin.options",
    "pgdrill.plugin.suites",
    "pgdrill.plugin.platform",
    "pgdrill.plugin.database",
    "pgdrill.plugin.drill",
    "pgdrill.plugin.monitoring",
    "pgdrill.plugin.report",
    "pgdrill.plugin.diagnostics",
]
