"""The wait events of a load's sessions, read from the primary several times a second."""

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg

from pgdrill.records import WaitLook

# Seconds between two looks: no divisor of the periods of PostgreSQL's own processes (0.2 s, 1 s),
# whose phase would otherwise be the same each time. A look takes 1 ms of CPU on both sides in sum.
EVERY = 0.23
AGAIN = 1.0  # seconds after a look that failed
CPU = "CPU"  # an active session without a wait event runs, or waits for a CPU
LONGEST_LOOK = 10.0  # seconds that the end waits for a last look; connect and session bound it
LOOK = """
    SELECT coalesce(wait_event_type || ':' || wait_event, %s), count(*)
    FROM pg_stat_activity
    WHERE state = 'active' AND application_name = %s AND pid <> pg_backend_pid()
      AND backend_type = 'client backend'
    GROUP BY 1
"""
Connect = Callable[[], psycopg.Connection[tuple[Any, ...]]]


class WaitWatch:
    """Looks at the active sessions of one application from a session of its own, for a block.

    connect opens an autocommit session at the primary and is called again, at most once in AGAIN
    seconds, when that one is lost. It has to limit itself and every statement to a few seconds:
    the end of the block waits for a look in progress.
    """

    def __init__(self, connect: Connect, application: str) -> None:
        self._connect = connect
        self._application = application
        self._seen: list[WaitLook] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="wait watch", daemon=True)

    def __enter__(self) -> "WaitWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(LONGEST_LOOK)

    @property
    def seen(self) -> tuple[WaitLook, ...]:
        """All looks so far, in their order, including those that failed."""
        return tuple(self._seen)

    def _watch(self) -> None:
        session: psycopg.Connection[tuple[Any, ...]] | None = None
        wait = 0.0
        try:
            while not self._ended.wait(wait):
                began = time.monotonic()
                try:
                    session = session or self._connect()
                    rows = session.execute(LOOK, (CPU, self._application)).fetchall()
                except (psycopg.Error, OSError) as error:
                    _close(session)
                    session = None
                    self._note({}, _reason(error))
                    wait = AGAIN
                else:
                    self._note({str(event): int(count) for event, count in rows})
                    wait = max(0.0, began + EVERY - time.monotonic())
        finally:
            _close(session)

    def _note(self, sessions: dict[str, int], trouble: str = "") -> None:
        self._seen.append(WaitLook(at=time.monotonic(), sessions=sessions, trouble=trouble))


def _close(session: psycopg.Connection[tuple[Any, ...]] | None) -> None:
    if session is not None:
        session.close()


def _reason(error: Exception) -> str:
    """Return the first line of an error; what follows it is advice."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
