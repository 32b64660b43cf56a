"""The prober's own process: one thread, one event loop, attempts due at fixed times.

Started by prober.Prober as `python -m pgdrill.workload.probe_loop`. The first line on stdin is
its configuration; each "?" after it is answered on stdout with one line of JSON. At a ".", and at
the end of stdin, also if the parent has died, no new attempt begins; the process saves and exits
once the open ones have ended. On SIGTERM it gives the open ones up, saves and exits.
"""

import contextlib
import gc
import heapq
import itertools
import json
import os
import resource
import selectors
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from psycopg.sql import SQL, Identifier

from pgdrill.attempt_log import AttemptLog, Lane, Outcome
from pgdrill.workload.probe_lanes import SECOND, Attempt, FreshRun, HeldRun, LaneRun
from pgdrill.workload.probe_session import Answer, Session
from pgdrill.workload.server_identity import IDENTITY_ALWAYS, IDENTITY_SQL, TIMELINES

HEAD_START = SECOND // 10  # for held sessions to connect before the first attempt is due
SPIN = 2_000_000  # microseconds of CPU without a wait
LOOK, END = b"?", b"."  # what the parent may write
CHECK_EVERY = 0.1  # seconds between two checks for a signal

_INSERT = SQL("INSERT INTO {} (id, lane) VALUES ($1, $2) RETURNING {}, {}")


# Counters, each with a list. So many attempts are due in longer than the deadline of one that none
# waits for the lock of another whose client has not given up yet.
SLOTS = 512
# One transaction: two rows of another table, one more in a counter, and its id at a list's end.
_WITH_PARTS = SQL(
    "WITH parts AS (INSERT INTO {} (id, part) VALUES ($1::bigint, 1), ($1, 2)),"
    " counted AS (UPDATE {} SET value = value + 1, items = items || $1::bigint"
    " WHERE slot = $1::bigint % {} RETURNING cardinality(items) AS position) "
)
_POSITION = SQL(", (SELECT position FROM counted)")


def parts_of(table: str) -> str:
    """Return the name of a ledger's second table."""
    return f"{table}_parts"


def counters_of(table: str) -> str:
    """Return the name of a ledger's table of counters."""
    return f"{table}_counters"


def insert(table: str, identity: Collection[str], *, with_parts: bool = False) -> bytes:
    """Return the statement of an attempt on a table (it may be schema.table).

    with_parts: the two other tables of a ledger take part in each attempt.
    """
    server = IDENTITY_SQL["address"] + (IDENTITY_SQL["since"] if "since" in identity else SQL(""))
    timeline = next((IDENTITY_SQL[name] for name in TIMELINES if name in identity), SQL("'0'"))
    row = _INSERT.format(_name(table), server, timeline)
    if with_parts:
        others = (_name(parts_of(table)), _name(counters_of(table)), SLOTS)
        row = _WITH_PARTS.format(*others) + row + _POSITION
    return row.as_bytes(None)


def _name(table: str) -> Identifier:
    return Identifier(*table.split("."))


class Loop:
    """Timers and sockets of all lanes, and the log of the outcome of every attempt."""

    def __init__(
        self,
        lanes: list[Lane],
        table: str,
        deadline: float,
        identity: Collection[str] = IDENTITY_ALWAYS,
        in_time: float | None = None,
        *,
        with_parts: bool = False,
    ) -> None:
        self.selector = selectors.DefaultSelector()
        self.log = AttemptLog(lanes, deadline)
        self.insert = insert(table, identity, with_parts=with_parts)
        self.deadline = int(deadline * SECOND)
        self.in_time = int((deadline if in_time is None else in_time) * SECOND)
        self.stopping = False
        self.aborted = False
        self.open: dict[int, Attempt] = {}
        self._numbers = itertools.count(1)
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._ties = itertools.count()  # functions of timers of one instant must not be compared
        start = time.monotonic_ns() + HEAD_START
        self.lanes: list[LaneRun] = []
        for place, lane in enumerate(lanes):
            kind = FreshRun if lane.kind == "fresh" else HeldRun
            phase = int(SECOND / lane.rate * place / len(lanes))
            self.lanes.append(kind(self, lane, place, start + phase))

    def at(self, when: int, call: Callable[[], None]) -> None:
        """Call at an instant. There is no cancelling: callees check whether they still apply."""
        heapq.heappush(self._timers, (when, next(self._ties), call))

    def begin(self, lane: LaneRun, due: int) -> None:
        """Start the attempt that was due at an instant, unless its deadline has passed already."""
        attempt = Attempt(next(self._numbers), lane, due)
        self.open[attempt.number] = attempt
        if attempt.started >= due + self.deadline:
            self.conclude(attempt, Answer(Outcome.REFUSED, "prober was late"))
            return
        self.at(due + self.deadline, lambda: self._expire(attempt))
        lane.begin(attempt)

    def send(self, attempt: Attempt, session: Session) -> None:
        """Hand an attempt to an idle session; from here on it may be committed."""
        attempt.session = session
        attempt.sent = time.monotonic_ns()
        session.send(self.insert, [str(attempt.number).encode(), attempt.lane.name])

    def conclude(self, attempt: Attempt, answer: Answer) -> None:
        """Record the outcome of an attempt."""
        if attempt.over:
            return
        attempt.over = True
        attempt.session = None
        del self.open[attempt.number]
        lane = attempt.lane
        now = time.monotonic_ns()
        if answer.outcome is Outcome.ACKED:
            lane.latest_ack = now
            lane.latest_server = (answer.server, answer.timeline)
            lane.late += now - attempt.due > self.in_time
        else:
            lane.latest_error = answer.reason
        lane.ended[answer.outcome] += 1
        instants = (attempt.due, attempt.started, attempt.sent, now)
        self.log.add(attempt.number, lane.place, instants, *answer)

    def _expire(self, attempt: Attempt) -> None:
        if not attempt.over:
            self._give_up(attempt, "deadline")

    def _give_up(self, attempt: Attempt, reason: str) -> None:
        session = attempt.session
        if attempt.sent:
            self.conclude(attempt, Answer(Outcome.INDETERMINATE, reason))
        else:
            self.conclude(attempt, Answer(Outcome.REFUSED, f"{reason}, never sent"))
        if session is not None:
            session.close()
            attempt.lane.dropped(session)

    def run(self) -> None:
        """Run until a stop is requested and every attempt is over."""
        for lane in self.lanes:
            lane.start()
        while not self.aborted and not (self.stopping and not self.open):
            for key, events in self.selector.select(self._longest_wait()):
                key.data(events)
                self._fire()  # a burst of connections must not delay what is due meanwhile
            self._fire()
        for attempt in list(self.open.values()):
            self._give_up(attempt, "stopped")

    def _longest_wait(self) -> float:
        if not self._timers:
            return CHECK_EVERY
        return min(CHECK_EVERY, max(0.0, (self._timers[0][0] - time.monotonic_ns()) / SECOND))

    def _fire(self) -> None:
        while self._timers and self._timers[0][0] <= time.monotonic_ns():
            heapq.heappop(self._timers)[2]()

    def status(self) -> dict[str, Any]:
        """Return the state of each lane, which the parent may request at any time."""
        oldest = time.monotonic_ns() - self.in_time
        overdue = Counter(one.lane.text for one in self.open.values() if one.due < oldest)
        return {
            lane.text: {
                "acks": lane.ended[Outcome.ACKED],
                "refused": lane.ended[Outcome.REFUSED],
                "indeterminate": lane.ended[Outcome.INDETERMINATE],
                "late": lane.late,
                "overdue": overdue[lane.text],
                "acked_at": lane.latest_ack / SECOND,
                "server": lane.latest_server[0],
                "timeline": lane.latest_server[1],
                "error": lane.latest_error,
            }
            for lane in self.lanes
        }


class _Control:
    """Reads stdin, which the parent writes: requests, and its end."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def ready(self, events: int) -> None:
        """Answer every request; stop at END, and at the end of stdin."""
        requests = os.read(0, 4096)
        if not requests:
            self._loop.selector.unregister(0)
        if not requests or END in requests:
            self._loop.stopping = True
        answer = json.dumps(self._loop.status()).encode() + b"\n"
        with contextlib.suppress(BrokenPipeError):  # the parent is gone: stdin ends, too
            os.write(1, answer * requests.count(LOOK))


def main() -> None:
    """Read the configuration, probe until a stop is requested, save."""
    config = json.loads(first_line())
    lanes = [Lane(**lane) for lane in config["lanes"]]
    loop = Loop(
        lanes,
        *(config[key] for key in ("table", "deadline", "identity", "in_time")),
        with_parts=config["with_parts"],
    )
    loop.selector.register(0, selectors.EVENT_READ, _Control(loop).ready)

    def abort(*_: object) -> None:
        loop.aborted = True

    signal.signal(signal.SIGTERM, abort)
    _raise_priority()
    gc.collect()
    gc.freeze()  # imported objects stay: a collection then checks only a few others
    try:
        loop.run()
    finally:
        _restore_priority()
        loop.log.save(Path(config["file"]))


def _raise_priority() -> None:
    """Use real-time priority, where permitted: a client on another machine has its own CPU, too.

    Measured at 500 attempts/s on two cores with four busy processes beside it: schedule error p99
    12 ms without, 1 ms with. The prober needs a tenth of a core; if a defect makes it spin, the
    kernel ends it before it starves the database. Not on Linux, it has the normal priority; whether
    that was enough is judged by its schedule error.
    """
    if sys.platform == "linux":
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
            resource.setrlimit(resource.RLIMIT_RTTIME, (SPIN, 2 * SPIN))


def _restore_priority() -> None:
    """Return to the normal priority."""
    if sys.platform == "linux":
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def first_line() -> bytes:
    """Read up to the line's end and no further: requests follow."""
    line = bytearray()
    while not line.endswith(b"\n"):
        got = os.read(0, 1)
        if not got:
            sys.exit("the parent ended before it sent the configuration")
        line += got
    return bytes(line)


if __name__ == "__main__":
    main()
