"""The page that convinces a sceptic, from the records of one run."""

from pgdrill.report.html import splice
from pgdrill.report.terminal import terminal

__all__ = ["splice", "terminal"]
