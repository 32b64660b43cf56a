"""The suite's plugins; everything else is in them."""

from importlib.metadata import entry_points

from pgdrill import process_environment

process_environment.prepare()  # before any of them reads a file or opens a session
# Where pgdrill is installed as well, pytest has loaded its plugin already.
installed = any(one.name == "pgdrill" for one in entry_points(group="pytest11"))
pytest_plugins = [
    *([] if installed else ["pgdrill.plugin"]),
    "fixtures.load",
    "fixtures.alerts",
]
