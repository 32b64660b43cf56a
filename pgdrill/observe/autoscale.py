"""Watching an autoscaler: its metrics, its decisions and its pods, on one clock."""

import threading
import time
from dataclasses import dataclass
from typing import Protocol

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.observe.events import EventLog
from pgdrill.records import ScalePoint
from pgdrill.waiting import ticks

LOOK_EVERY = 2.0  # seconds; the resolution of the instants at which pods start and stop
WATCH_AT_MOST = 900.0


@dataclass(frozen=True)
class Limits:
    """An autoscaler's limits: pods at least and at most, CPU target in %, window in seconds."""

    least: int
    most: int
    target: float
    window: float


class Autoscaler(Protocol):
    """One autoscaler and the pods that it owns."""

    def limits(self) -> Limits:
        """Return its limits.

        Raises:
            BrokenEnvironmentError: the API does not answer, or there is no such autoscaler.
        """

    def look(self) -> ScalePoint:
        """Return its state and its pods' at this moment.

        Raises:
            BrokenEnvironmentError: the API does not answer, or there is no such autoscaler.
        """


def why_not_at_rest(point: ScalePoint, limits: Limits) -> str:
    """Return why a pooler is not small, ready and measured; '' where it is."""
    if point.trouble:
        return f"the autoscaler cannot work: {point.trouble}"
    if point.utilisation is None:
        return "the autoscaler has no CPU metric"
    if (point.desired, point.ready) != (limits.least, limits.least):
        return f"{point.ready} pods ready, {point.desired} wanted, {limits.least} at rest"
    return ""


class ScalingWatch:
    """Looks at an autoscaler repeatedly, in a thread of its own, while the block lasts.

    A look without an answer leaves a gap, which the judgement must take into account.
    """

    def __init__(self, autoscaler: Autoscaler, events: EventLog) -> None:
        self._autoscaler = autoscaler
        self._events = events
        self._points: list[ScalePoint] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch-pooler", daemon=True)

    def __enter__(self) -> "ScalingWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    @property
    def points(self) -> tuple[ScalePoint, ...]:
        """Everything seen so far, oldest first."""
        return tuple(self._points)

    def _watch(self) -> None:
        for _ in ticks(LOOK_EVERY, lasting=WATCH_AT_MOST):
            if self._stop.is_set():
                return
            try:
                seen = self._autoscaler.look()
            except BrokenEnvironmentError as error:
                self._events.record("cluster", "pooler not seen", str(error))
                continue
            self._record_changes(seen)
            self._points.append(seen)

    def _record_changes(self, seen: ScalePoint) -> None:
        before = self._points[-1] if self._points else None
        for what, now, then in (
            ("pooler pods wanted", seen.desired, before and before.desired),
            ("pooler pods ready", seen.ready, before and before.ready),
        ):
            if now != then:
                self._events.record("cluster", f"{what}: {now}", at=seen.at)

    def why_not_at_rest(self, limits: Limits, since: float) -> str:
        """Return why the latest look, if later than an instant, does not show a pooler at rest."""
        latest = self._points[-1] if self._points else None
        if latest is None or latest.at <= since:
            return f"not seen for {time.monotonic() - since:.0f} s"
        return why_not_at_rest(latest, limits)
