"""The suite's plugins; everything else is in them."""

from pgdrill import surroundings

surroundings.settle()  # before any of them reads a file or opens a session
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
