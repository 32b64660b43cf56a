"""One log of everything that happened, on one clock, and the watch over a failover's parts."""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pgdrill.records import Event, Part, append
from pgdrill.waiting import ticks

WATCH_EVERY = 0.05  # seconds between two looks; the resolution of a failover's parts
WATCH_AT_MOST = 900.0


class EventLog:
    """Appends events to events.jsonl; safe to use from several threads."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()

    def record(self, source: str, what: str, subject: str = "", at: float | None = None) -> Event:
        """Record an event of now, or of a given monotonic instant."""
        event = Event(
            at=time.monotonic() if at is None else at, source=source, what=what, subject=subject
        )
        with self._lock:
            append(self._file, event)
        return event


class FailoverWatch:
    """Polls each observer in a thread of its own and keeps every change of its answer.

    A slow observer (a frozen member that does not answer) cannot delay the others.
    """

    def __init__(self, observers: Mapping[str, Callable[[], str]], events: EventLog) -> None:
        self._observers = observers
        self._events = events
        self._changes: dict[str, list[tuple[float, str]]] = {name: [] for name in observers}
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._watch, args=(name,), name=f"watch-{name}", daemon=True)
            for name in observers
        ]

    def __enter__(self) -> "FailoverWatch":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10)

    def _watch(self, name: str) -> None:
        latest: str | None = None
        for _ in ticks(WATCH_EVERY, lasting=WATCH_AT_MOST):
            if self._stop.is_set():
                return
            seen = self._observers[name]()
            if seen != latest:
                now = time.monotonic()
                self._changes[name].append((now, seen))
                if latest is not None:
                    self._events.record("cluster", f"{name}: {seen or 'nobody'}", at=now)
                latest = seen

    def parts(self, since: float, target: str) -> tuple[Part, ...]:
        """Return when each observer first named a member other than the target, and none.

        A fault that moves no role has no parts.
        """
        found = []
        for name, changes in self._changes.items():
            after = [(at, seen) for at, seen in changes if at > since]
            moved = [at for at, seen in after if seen and target not in seen.split(",")]
            released = [at for at, seen in after if not seen]
            if moved:
                if released and released[0] < moved[0]:
                    found.append(Part(name=f"{name} gone", after=released[0] - since))
                found.append(Part(name=name, after=moved[0] - since))
        return tuple(sorted(found, key=lambda part: part.after))
