"""One database session as a state machine that never blocks, and what its answers prove.

What an answer to one INSERT in its own implicit transaction proves:

| seen by the client                                               | outcome       |
|------------------------------------------------------------------|---------------|
| one row, then "ready for query", no WARNING                      | acked         |
| one row, a WARNING before "ready for query"                      | indeterminate |
| one row, then the connection ends before "ready for query"       | indeterminate |
| ERROR whose SQLSTATE is certain to precede the commit, see below | refused       |
| any other ERROR; FATAL or PANIC of any kind once sent            | indeterminate |
| connection lost, or deadline, once sent                          | indeterminate |
| anything at all before the INSERT was handed to the socket       | refused       |

"Ready for query" matters: in the extended protocol the row is sent before the commit, and a
backend that is terminated while it waits for a synchronous standby flushes that row first.

The WARNING: a commit whose wait for a synchronous standby is cancelled is reported as success,
with only a WARNING (SQLSTATE 01000, or 57P01 when terminated). Its text is translated, and our
INSERT has no other reason to warn, so every WARNING counts.

Certain to precede the commit, with severity ERROR: the transaction is aborted before its commit
record is written, because after it PostgreSQL raises nothing below PANIC. Left out, and so
indeterminate, though mostly harmless: 57014 (a cancel may hit on either side of the commit),
57P01-57P05 (shutdown: the backend may have been waiting for a standby with its commit record
already written), 40003 (unknown by definition), 08xxx (a pooler's code for a lost server), 58xxx
and XX000.
"""

import selectors
from enum import Enum
from typing import NamedTuple, Protocol

import psycopg
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, PGconn, PollingStatus
from psycopg.pq.abc import PGconn as Connection
from psycopg.pq.abc import PGresult

from pgdrill.attempt_log import Outcome

READ_ONLY = "25006"
_PRECEDE_COMMIT = frozenset(
    {
        READ_ONLY,  # a standby, or a demoted primary: refused before execution
        "40001",  # serialization failure, also of recovery conflicts
        "40P01",  # deadlock
        "53100",  # disk full while the table grows; a full pg_wal is a PANIC
        "53200",  # out of memory
        "55000",  # object not in the right state
        "55P03",  # lock not available
    }
)
# Data exceptions, constraints (deferred ones too), and what cannot be parsed or is forbidden.
_PRECEDE_COMMIT_CLASSES = ("22", "23", "42")


class Answer(NamedTuple):
    """The outcome of one write, as far as the session has evidence."""

    outcome: Outcome
    reason: str = ""
    server: str = ""
    timeline: int = 0
    position: int = 0  # in the list that the attempt appended to; 0: to none


LOST = Answer(Outcome.INDETERMINATE, "connection lost")


class State(Enum):
    """The state of a session."""

    CONNECTING = 1
    IDLE = 2
    BUSY = 3
    CLOSED = 4


class Owner(Protocol):
    """The receiver of a session's events."""

    def opened(self, session: "Session") -> None:
        """Handle a session that is idle for the first time."""

    def answered(self, session: "Session", answer: Answer) -> None:
        """Handle an answer, or that there will be none; the session is then idle or closed."""

    def lost(self, session: "Session", reason: str) -> None:
        """Handle a session that could not connect, or ended while idle; it is closed."""


class Session:
    """A connection that calls its owner on each event; libpq never blocks.

    stays: the session is kept after a read-only error, because a standby that is promoted keeps
    its sessions.
    """

    def __init__(
        self, selector: selectors.BaseSelector, owner: Owner, *, stays: bool = False
    ) -> None:
        self.state = State.CLOSED
        self._stays = stays
        self._selector = selector
        self._owner = owner
        self._conn: Connection | None = None
        self._socket = -1  # libpq closes and replaces it on its own, so we keep the number
        self._results: list[PGresult] = []
        self._warnings: list[str] = []
        self._terminated = False

    def connect(self, conninfo: bytes) -> None:
        """Begin to connect; the owner is called at the end, perhaps before this returns."""
        self.state = State.CONNECTING
        self._terminated = False
        self._conn = PGconn.connect_start(conninfo)
        if self._conn.status == ConnStatus.BAD:
            self._end_unsent()
        else:
            self._watch(selectors.EVENT_WRITE)

    def send(self, statement: bytes, values: list[bytes]) -> None:
        """Send one statement on an idle session."""
        assert self._conn is not None
        self.state = State.BUSY
        self._results, self._warnings = [], []
        try:
            self._conn.send_query_params(statement, values)
            self._flush()
        except psycopg.Error:
            self._end_sent()  # part of it may have been sent

    def close(self) -> None:
        """Close the connection at once, in any state; the owner is not called."""
        self.state = State.CLOSED
        self._unwatch()
        if self._conn is not None:
            self._conn.notice_handler = None  # it refers to self: a cycle, which costs a collection
            self._conn.finish()
            self._conn = None

    def _watch(self, events: int) -> None:
        assert self._conn is not None
        self._unwatch()
        self._socket = self._conn.socket
        self._selector.register(self._socket, events, self._ready)

    def _unwatch(self) -> None:
        if self._socket >= 0:
            self._selector.unregister(self._socket)
            self._socket = -1

    def _ready(self, events: int) -> None:
        # Another event of the same round may have closed this session.
        if self.state is State.CONNECTING:
            self._continue_connecting()
        elif self.state is not State.CLOSED:
            self._continue_talking(events)

    def _continue_connecting(self) -> None:
        assert self._conn is not None
        self._unwatch()  # polling may close this socket and open another of the same number
        status = self._conn.connect_poll()
        if status == PollingStatus.OK:
            self._conn.nonblocking = 1
            self._conn.notice_handler = self._notice
            self._watch(selectors.EVENT_READ)
            self.state = State.IDLE
            self._owner.opened(self)
        elif status == PollingStatus.FAILED:
            self._end_unsent()
        else:
            reading = status == PollingStatus.READING
            self._watch(selectors.EVENT_READ if reading else selectors.EVENT_WRITE)

    def _continue_talking(self, events: int) -> None:
        assert self._conn is not None
        broken = False
        try:
            if events & selectors.EVENT_WRITE:
                self._flush()
            if events & selectors.EVENT_READ:
                self._conn.consume_input()
        except psycopg.Error:
            broken = True  # what the server sent before is still to be read
        if self.state is State.BUSY:
            self._read_results(self._conn)
        else:
            self._conn.is_busy()  # parses what came, and hands it to the notice handler
        if self.state is State.IDLE and (broken or self._terminated):
            self._end_unsent()

    def _flush(self) -> None:
        assert self._conn is not None
        more = self._conn.flush()
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if more else 0)
        if self._selector.get_key(self._socket).events != events:
            self._selector.modify(self._socket, events, self._ready)

    def _read_results(self, conn: Connection) -> None:
        """Take the results that have arrived; on a broken connection, all that ever will."""
        while not conn.is_busy() or conn.status == ConnStatus.BAD:
            result = conn.get_result()
            if result is None:
                self._finish(judge(self._results, self._warnings))
                return
            self._results.append(result)

    def _finish(self, answer: Answer) -> None:
        conn = self._conn
        assert conn is not None
        self.state = State.IDLE
        # A read-only server is a demoted one that still answers: it will not become writable.
        wrong = answer.reason == READ_ONLY and not self._stays
        if conn.status == ConnStatus.BAD or self._terminated or wrong:
            self.close()
        self._owner.answered(self, answer)

    def _end_sent(self) -> None:
        self.close()
        self._owner.answered(self, LOST)

    def _end_unsent(self) -> None:
        assert self._conn is not None
        reason = _connect_error(self._conn)
        self.close()
        self._owner.lost(self, reason)

    def _notice(self, notice: PGresult) -> None:
        severity = notice.error_field(DiagnosticField.SEVERITY_NONLOCALIZED)
        if severity == b"WARNING":
            self._warnings.append(_sqlstate(notice))
        elif severity in (b"FATAL", b"PANIC"):
            self._terminated = True


def judge(results: list[PGresult], warnings: list[str]) -> Answer:
    """Return what the results of one INSERT, all of them, prove: the table above."""
    for result in results:
        if result.status != ExecStatus.TUPLES_OK:
            return _judge_error(result, warnings)
    if len(results) != 1 or results[0].ntuples != 1:
        return Answer(Outcome.INDETERMINATE, "not one row answered")
    server, timeline = (results[0].get_value(0, column) or b"" for column in (0, 1))
    if warnings:
        return Answer(Outcome.INDETERMINATE, f"warning {warnings[0]}", server.decode())
    position = results[0].get_value(0, 2) if results[0].nfields > 2 else None
    return Answer(Outcome.ACKED, "", server.decode(), int(timeline, 16), int(position or b"0"))


def _judge_error(error: PGresult, warnings: list[str]) -> Answer:
    state = _sqlstate(error)
    if not state:  # an error of libpq, not of the server
        return Answer(LOST.outcome, f"warning {warnings[0]}") if warnings else LOST
    severity = error.error_field(DiagnosticField.SEVERITY_NONLOCALIZED)
    certain = state in _PRECEDE_COMMIT or state.startswith(_PRECEDE_COMMIT_CLASSES)
    refused = severity == b"ERROR" and certain and not warnings
    return Answer(Outcome.REFUSED if refused else Outcome.INDETERMINATE, state)


def _sqlstate(result: PGresult) -> str:
    return (result.error_field(DiagnosticField.SQLSTATE) or b"").decode()


def _connect_error(conn: Connection) -> str:
    """Return libpq's reason without the address, so that equal reasons count as one."""
    lines = conn.error_message.decode(errors="replace").strip().splitlines()
    text = lines[0] if lines else "no connection"
    return text.split(" failed: ", 1)[-1].removeprefix("FATAL:").strip()[:80]
