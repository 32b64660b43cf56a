"""The suite's plugins; everything else is in them."""

pytest_plugins = [
    "fixtures.options",
    "fixtures.platform",
    "fixtures.database",
    "fixtures.load",
    "fixtures.chaos",
    "fixtures.monitoring",
    "fixtures.report",
    "fixtures.diagnostics",
]
