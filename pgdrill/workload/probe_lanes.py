"""Running lanes: when attempts are due, and the sessions that carry them."""

import time
from collections import deque
from typing import TYPE_CHECKING

from pgdrill.attempt_log import Lane, Outcome
from pgdrill.workload.host_names import HostNames
from pgdrill.workload.probe_session import Answer, Session, State

if TYPE_CHECKING:
    from pgdrill.workload.probe_loop import Loop

SECOND = 1_000_000_000
RECONNECT_EVERY = SECOND // 10  # a held session; the resolution of a gap in its lane
RECONNECT_WITHIN = SECOND  # a connection takes milliseconds; a lost SYN must not take longer


class Attempt:
    """One write that has begun."""

    __slots__ = ("due", "lane", "number", "over", "sent", "session", "started")

    def __init__(self, number: int, lane: "LaneRun", due: int) -> None:
        self.number = number
        self.lane = lane
        self.due = due
        self.started = time.monotonic_ns()
        self.sent = 0
        self.over = False
        self.session: Session | None = None


class LaneRun:
    """A running lane: the schedule that both kinds share."""

    def __init__(self, loop: "Loop", lane: Lane, place: int, start: int) -> None:
        self.loop = loop
        self.lane = lane
        self.place = place
        self.text = lane.name
        self.name = lane.name.encode()
        self.begun = 0
        self.ended = dict.fromkeys(Outcome, 0)  # attempts, by outcome
        self.late = 0  # of the acknowledged ones, those that took longer than in time
        self.latest_ack = 0
        self.latest_server: tuple[str, int] = ("", 0)  # who gave it, on which timeline
        self.latest_error = ""
        self.names = HostNames(lane.conninfo)
        self._start = start

    def start(self) -> None:
        """Start the schedule."""
        self.loop.at(self._start, self._tick)

    def _tick(self) -> None:
        if self.loop.stopping:
            return
        due = self._start + int(self.begun * SECOND / self.lane.rate)
        self.begun += 1
        self.loop.at(self._start + int(self.begun * SECOND / self.lane.rate), self._tick)
        self.loop.begin(self, due)

    def begin(self, attempt: Attempt) -> None:
        """Start one attempt now."""
        raise NotImplementedError

    def dropped(self, session: Session) -> None:
        """Handle a session that was closed because its attempt ran out of time."""
        raise NotImplementedError


class FreshRun(LaneRun):
    """A new connection for each attempt."""

    def begin(self, attempt: Attempt) -> None:
        """Connect; the attempt's INSERT follows."""
        attempt.session = Session(self.loop.selector, _Once(self.loop, attempt))
        attempt.session.connect(self.names.conninfo)

    def dropped(self, session: Session) -> None:
        """Do nothing: the next attempt opens its own session."""


class _Once:
    """Owns the session of one fresh attempt."""

    def __init__(self, loop: "Loop", attempt: Attempt) -> None:
        self._loop = loop
        self._attempt = attempt

    def opened(self, session: Session) -> None:
        self._loop.send(self._attempt, session)

    def answered(self, session: Session, answer: Answer) -> None:
        self._loop.conclude(self._attempt, answer)
        session.close()

    def lost(self, session: Session, reason: str) -> None:
        self._loop.conclude(self._attempt, Answer(Outcome.REFUSED, f"connect: {reason}"))


class HeldRun(LaneRun):
    """A pool of lasting sessions; an attempt without an idle one waits, the latest goes first.

    First in, first out prolonged an outage: each new session got an attempt with milliseconds left,
    was closed at its deadline, connected again and got the next such attempt. On `kind` this
    delayed all writes by four more seconds.
    """

    def __init__(self, loop: "Loop", lane: Lane, place: int, start: int) -> None:
        super().__init__(loop, lane, place, start)
        self._idle: deque[Session] = deque()
        self._waiting: deque[Attempt] = deque()
        self._at_work: dict[Session, Attempt] = {}
        self._began: dict[Session, int] = {}

    def start(self) -> None:
        """Connect the pool and start the schedule."""
        super().start()
        for _ in range(self.lane.sessions):
            self._connect()

    def begin(self, attempt: Attempt) -> None:
        """Assign the attempt to a session, or let it wait."""
        if self._idle:
            self._assign(attempt, self._idle.popleft())
            return
        while self._waiting and self._waiting[0].over:  # a long outage must not fill the memory
            self._waiting.popleft()
        self._waiting.append(attempt)

    def opened(self, session: Session) -> None:
        """Take a session into the pool."""
        self._next(session)

    def answered(self, session: Session, answer: Answer) -> None:
        """Record the attempt; use the session again, or replace it."""
        self.loop.conclude(self._at_work.pop(session), answer)
        if session.state is State.IDLE:
            self._next(session)
        else:
            self._replace(session)

    def lost(self, session: Session, reason: str) -> None:
        """Replace a session that could not connect, or was ended while idle."""
        if session in self._idle:
            self._idle.remove(session)
        self.latest_error = f"connect: {reason}"
        self._replace(session)

    def dropped(self, session: Session) -> None:
        """Replace a session whose attempt ran out of time."""
        del self._at_work[session]
        self._replace(session)

    def _next(self, session: Session) -> None:
        while self._waiting:
            attempt = self._waiting.pop()
            if not attempt.over:
                self._assign(attempt, session)
                return
        self._idle.append(session)

    def _assign(self, attempt: Attempt, session: Session) -> None:
        self._at_work[session] = attempt
        self.loop.send(attempt, session)

    def _connect(self) -> None:
        # A new object each time: events that were meant for the old one must not reach it.
        session = Session(self.loop.selector, self, stays=self.lane.direct)
        self._began[session] = time.monotonic_ns()
        self.loop.at(self._began[session] + RECONNECT_WITHIN, lambda: self._time_out(session))
        session.connect(self.names.conninfo)

    def _time_out(self, session: Session) -> None:
        if session.state is State.CONNECTING:
            session.close()
            self.lost(session, "no answer")

    def _replace(self, session: Session) -> None:
        """Connect again: at once after a long life, else when the back-off is over."""
        soonest = self._began.pop(session) + RECONNECT_EVERY
        self.loop.at(max(time.monotonic_ns(), soonest), self._connect)
