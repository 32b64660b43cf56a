"""The terminal during a watch: one line that is renewed, others above it, and a key for marks."""

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from rich.live import Live
from rich.text import Text

from pgdrill.progress import PLAIN_EVERY, Reporter

SHOW_EVERY = 0.5  # seconds


def mute() -> None:
    """Discard all output from now on: its reader is gone, and a write would fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)


class Screen:
    """Lines with the time of day, and a status line that is renewed."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._live: Live | None = None
        self._keys = False
        self._shown = 0.0

    def say(self, text: str) -> None:
        """Print one line that stays."""
        with _muting():
            self._reporter.line(text)

    @contextmanager
    def shown(self, ends: bool) -> Iterator[None]:
        """Show the state in this block, and read keys where there is a terminal."""
        with _keyboard() as self._keys:
            how = "" if ends else "Ctrl-C ends it"
            mark = "m marks an instant" if self._keys else ""
            self.say(f"break it now; {'; '.join(filter(None, (mark, how))) or 'it ends by itself'}")
            if not self._reporter.console.is_terminal:
                yield
                return
            self._live = Live(console=self._reporter.console, auto_refresh=False, transient=True)
            with _muting():
                self._live.start()
            try:
                yield
            finally:
                with _muting():
                    self._live.stop()
                self._live = None

    def show(self, state: str) -> None:
        """Show the present state, unless the last one is too recent."""
        now = time.monotonic()
        if now - self._shown < (SHOW_EVERY if self._live else PLAIN_EVERY):
            return
        self._shown = now
        line = f"{datetime.now(UTC):%H:%M:%S}  {state}"
        if self._live:
            with _muting():
                self._live.update(Text(line), refresh=True)
        else:
            self.say(line)

    def mark(self) -> bool:
        """Whether the user has pressed the key for a mark."""
        if not self._keys:
            return False
        with suppress(OSError):
            if select.select([0], [], [], 0)[0]:
                typed = os.read(0, 64)
                self._keys = bool(typed)
                return b"m" in typed.lower()
        return False


@contextmanager
def _muting() -> Iterator[None]:
    """Continue without output where its reader is gone."""
    try:
        yield
    except OSError:
        mute()


@contextmanager
def _keyboard() -> Iterator[bool]:
    """Read single keys in this block, if we control a terminal; yield whether we do."""
    try:
        ours = sys.stdin.isatty() and os.tcgetpgrp(0) == os.getpgrp()
        before = termios.tcgetattr(0) if ours else None
    except (OSError, ValueError, termios.error):
        before = None
    if before is None:
        yield False
        return
    tty.setcbreak(0)
    try:
        yield True
    finally:
        with suppress(termios.error):
            termios.tcsetattr(0, termios.TCSADRAIN, before)
