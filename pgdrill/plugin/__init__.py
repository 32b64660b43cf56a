"""The pytest plugin: options, a run directory, and fixtures that drill a cluster.

It is idle in other projects (see plugin/options.py), and then offers only its options.
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
