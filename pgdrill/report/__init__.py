"""The page that convinces a sceptic, from the records of one run."""

from pgdrill.report.html import rebuild, splice
from pgdrill.report.terminal import terminal

__all__ = ["rebuild", "splice", "terminal"]
