"""Progress for people: live bars on a terminal, plain lines elsewhere, never silent for long."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

PLAIN_EVERY = 5.0  # seconds between plain lines of one task


class Update(Protocol):
    """Called as a task proceeds: how much is done, and a short note."""

    def __call__(self, done: float, note: str = "") -> None:
        """Show it."""


class Reporter:
    """Shows tasks and single lines; one for each command."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)

    def line(self, text: str) -> None:
        """Print one line, markup not interpreted."""
        self.console.print(text, markup=False)

    @contextmanager
    def task(self, description: str, total: float | None = None) -> Iterator[Update]:
        """Show a task until the block ends; total None means: no end is known."""
        started = time.monotonic()
        if self.console.is_terminal:
            with Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
                console=self.console,
                transient=True,
            ) as bars:
                bar = bars.add_task(description, total=total, note="")
                yield lambda done, note="": bars.update(bar, completed=done, note=note)
        else:
            self.line(f"{description} ...")
            yield self._plain(description, total, started)
        self.line(f"{description}: {time.monotonic() - started:.1f} s")

    def _plain(self, description: str, total: float | None, started: float) -> Update:
        latest = started

        def update(done: float, note: str = "") -> None:
            nonlocal latest
            now = time.monotonic()
            if now - latest >= PLAIN_EVERY:
                latest = now
                share = f"{100 * done / total:3.0f} % " if total else ""
                self.line(f"  {description}: {share}{note} (+{now - started:.0f} s)")

        return update
