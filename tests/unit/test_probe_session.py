"""What a session makes of every order of answers: libpq reads what a scripted server sends.

A real server cannot be asked for each of these on purpose; test_prober.py has those that it can.
"""

import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.pq.abc import PGconn

from pgdrill.attempt_log import Outcome
from pgdrill.workload.probe_session import Answer, Session, State, _connect_error

WITHIN = 5.0  # seconds: an answer takes a millisecond
APART = 0.05  # seconds between two messages that are to be read apart


def message(kind: bytes, body: bytes = b"") -> bytes:
    """Return one message of PostgreSQL's protocol (manual, Message Formats)."""
    return kind + struct.pack(">i", len(body) + 4) + body


def report(kind: bytes, severity: str, state: str) -> bytes:
    """Return an ErrorResponse or a NoticeResponse of a server that speaks German."""
    fields = {b"S": "FEHLER", b"V": severity, b"C": state, b"M": "ein Text"}
    return message(kind, b"".join(k + v.encode() + b"\0" for k, v in fields.items()) + b"\0")


READY = message(b"Z", b"I")
WELCOME = message(b"R", struct.pack(">i", 0)) + READY
_COLUMN = struct.pack(">ihihih", 0, 0, 25, -1, -1, 0)


def begun(*columns: bytes) -> bytes:
    """Return what precedes the row of a statement that returns these columns."""
    described = b"".join(name + b"\0" + _COLUMN for name in columns)
    return (
        message(b"1") + message(b"2") + message(b"T", struct.pack(">h", len(columns)) + described)
    )


BEGUN = begun(b"server", b"timeline")
DONE = message(b"C", b"INSERT 0 1\0")


def row(
    server: bytes | None = b"10.0.0.1:5432", timeline: bytes = b"0000001A", *others: bytes | None
) -> bytes:
    """Return the row that an INSERT returns; None is NULL."""
    values = [
        struct.pack(">i", -1 if v is None else len(v)) + (v or b"")
        for v in (server, timeline, *others)
    ]
    return message(b"D", struct.pack(">h", len(values)) + b"".join(values))


@contextmanager
def server(welcome: bytes, answer: bytes, later: bytes, *, leaves: bool) -> Iterator[bytes]:
    """Take one client: greet it, answer its statement, and go away or stay; yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        over = threading.Event()

        def talk() -> None:
            client, _ = listening.accept()
            with client, suppress(ConnectionError):  # a client may have left before its answer
                client.recv(4096)
                client.sendall(welcome)
                if welcome == WELCOME and client.recv(4096):
                    client.sendall(answer)
                    over.wait(APART if later else 0)
                    client.sendall(later)
                if not leaves:
                    over.wait(WITHIN)

        thread = threading.Thread(target=talk)
        thread.start()
        try:
            yield f"host=127.0.0.1 port={listening.getsockname()[1]} sslmode=disable".encode()
        finally:
            over.set()
            thread.join()


@dataclass
class Writer:
    """Sends one write as soon as it can, and keeps what it hears."""

    answers: list[Answer] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    states: list[State] = field(default_factory=list)

    def opened(self, session: Session) -> None:
        """Write."""
        assert session.state is State.IDLE
        session.send(b"INSERT", [b"1", b"fresh"])

    def answered(self, session: Session, answer: Answer) -> None:
        """Keep it."""
        self.answers.append(answer)
        self.states.append(session.state)

    def lost(self, session: Session, reason: str) -> None:
        """Keep why."""
        self.reasons.append(reason)
        self.states.append(session.state)


def go_round(selector: selectors.BaseSelector) -> None:
    """Wait for events, and hand each to its session."""
    found = selector.select(WITHIN)
    assert found, f"nothing within {WITHIN:g} s"
    for key, events in found:
        key.data(events)


def answered(selector: selectors.BaseSelector, writer: Writer, at: bytes) -> tuple[Session, int]:
    """Let a session write until it has an answer; return it, and how many rounds that took."""
    session, rounds = Session(selector, writer), 0
    session.connect(at)
    while not writer.answers:
        go_round(selector)
        rounds += 1
    return session, rounds


def served(
    answer: bytes,
    *,
    welcome: bytes = WELCOME,
    later: bytes = b"",
    leaves: bool = False,
    ends: int = 1,
    stays: bool = False,
    writer: Writer | None = None,
) -> Writer:
    """Let a session write to a server that answers so, until it has heard of so many ends."""
    writer = writer or Writer()
    with (
        selectors.DefaultSelector() as selector,
        server(welcome, answer, later, leaves=leaves) as at,
    ):
        session = Session(selector, writer, stays=stays)
        session.connect(at)
        while len(writer.states) < ends:
            go_round(selector)
        session.close()
        assert session.state is State.CLOSED
        assert not selector.get_map(), "a socket is still watched"
    return writer


# From the table of probe_session, one of each row of it.
CERTAIN = ("25006", "40001", "53100", "55P03", "22012", "23505", "42P01")
OPEN = ("57014", "57P01", "40003", "08006", "58030", "XX000", "99999")
notices = st.lists(
    st.tuples(st.sampled_from(["NOTICE", "WARNING", "INFO"]), st.sampled_from(["01000", "57P01"])),
    max_size=2,
)
errors = st.tuples(st.sampled_from(["ERROR", "FATAL", "PANIC"]), st.sampled_from([*CERTAIN, *OPEN]))


@given(notices, st.integers(0, 2), notices, st.none() | errors, st.booleans(), st.booleans())
def test_only_one_row_without_a_warning_and_ready_again_is_an_ack(
    early: list[tuple[str, str]],
    rows: int,
    late: list[tuple[str, str]],
    error: tuple[str, str] | None,
    ready: bool,
    leaves: bool,
) -> None:
    """And only an ERROR that is certain to precede the commit, without a warning, is a refusal."""
    leaves = leaves or not ready
    text = BEGUN
    for notice in early:
        text += report(b"N", *notice)
    text += row() * rows
    for notice in late:
        text += report(b"N", *notice)
    text += report(b"E", *error) if error else DONE
    text += READY if ready else b""
    writer = served(text, leaves=leaves)
    (answer,) = writer.answers[:1]
    warnings = [state for severity, state in (*early, *late) if severity == "WARNING"]
    if not error and ready and rows == 1 and not warnings:
        assert answer == Answer(Outcome.ACKED, "", "10.0.0.1:5432", 26)
    elif error and error[0] == "ERROR" and error[1] in CERTAIN and not warnings:
        assert answer == Answer(Outcome.REFUSED, error[1])
    else:
        assert answer.outcome is Outcome.INDETERMINATE
        assert answer.timeline == 0
        if error:
            assert answer.reason == error[1]
        elif not ready:
            lost = f"warning {warnings[0]}" if warnings else "connection lost"
            assert answer.reason == lost
        elif rows != 1:
            assert answer.reason == "not one row answered"
        else:
            assert (answer.reason, answer.server) == (f"warning {warnings[0]}", "10.0.0.1:5432")


def test_a_session_goes_on_after_an_error_but_not_after_a_read_only_server() -> None:
    """A demoted primary that still answers will not become writable: its session is closed."""
    (after,) = served(BEGUN + report(b"E", "ERROR", "23505") + READY).states
    assert after is State.IDLE
    (after,) = served(BEGUN + report(b"E", "ERROR", "25006") + READY).states
    assert after is State.CLOSED


def test_a_session_that_ends_while_idle_is_lost_with_a_reason() -> None:
    """After its answer: its owner hears of it, once."""
    writer = served(BEGUN + row() + DONE + READY, leaves=True, ends=2)
    assert [a.outcome for a in writer.answers] == [Outcome.ACKED]
    assert writer.states == [State.IDLE, State.CLOSED]
    assert "closed the connection" in writer.reasons[0]


@pytest.mark.parametrize("severity", ["FATAL", "PANIC"])
def test_a_server_that_says_goodbye_to_an_idle_session_is_left_before_it_goes(
    severity: str,
) -> None:
    """What is written after that would be lost; a warning to an idle session ends nothing."""
    bye = report(b"N", "WARNING", "57P01") + report(b"E", severity, "57P01")
    began = time.monotonic()
    writer = served(BEGUN + row() + DONE + READY, later=bye, ends=2)
    assert time.monotonic() - began < WITHIN / 2, "it was left when it went"
    assert [a.outcome for a in writer.answers] == [Outcome.ACKED]
    assert writer.states == [State.IDLE, State.CLOSED]


@pytest.mark.parametrize(
    ("welcome", "reason"),
    [
        pytest.param(report(b"E", "FATAL", "57P03"), "ein Text", id="starting-up"),
        pytest.param(b"", "server closed the connection unexpectedly", id="gone"),
        pytest.param(
            b"HTTP/1.1 400 Bad Request\r\n\r\n", "expected authentication", id="no-server"
        ),
    ],
)
def test_a_server_that_lets_nobody_in_is_named_by_its_reason(welcome: bytes, reason: str) -> None:
    """Without the address, so that equal reasons count as one; nothing was sent."""
    writer = served(b"", welcome=welcome, leaves=True)
    assert writer.answers == []
    (found,) = writer.reasons
    assert reason in found
    assert "127.0.0.1" not in found
    assert len(found) <= 80


def test_nobody_listening_and_no_address_are_reasons_at_once() -> None:
    """A refused connection is heard of by an event; what is no address, before connect ends."""
    writer = Writer()
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with selectors.DefaultSelector() as selector:
        session = Session(selector, writer)
        session.connect(f"host=127.0.0.1 port={port}".encode())
        while not writer.reasons:
            go_round(selector)
        session.connect(b"no = such = thing")
        assert not selector.get_map()
    assert writer.reasons[0] == "Connection refused"
    assert len(writer.reasons) == 2
    assert writer.reasons[1]


class Hasty(Writer):
    """Sends a second write while the first one is under way, which libpq does not take."""

    def opened(self, session: Session) -> None:
        """Write twice."""
        super().opened(session)
        session.send(b"INSERT", [b"2", b"fresh"])
        self.sender = session

    def answered(self, session: Session, answer: Answer) -> None:
        """Keep it, and whose it is."""
        super().answered(session, answer)
        self.of = session


def test_a_write_that_cannot_be_sent_whole_is_lost() -> None:
    """Part of it may be on its way: the session is closed, and the owner hears so."""
    hasty = Hasty()
    assert served(BEGUN + row() + DONE + READY, writer=hasty) is hasty
    assert hasty.answers == [Answer(Outcome.INDETERMINATE, "connection lost")]
    assert hasty.states == [State.CLOSED]
    assert hasty.of is hasty.sender


@pytest.mark.parametrize(("position", "expected"), [(b"12", 12), (None, 0)])
def test_an_ack_has_the_place_in_the_list_where_one_was_returned(
    position: bytes | None, expected: int
) -> None:
    """The third column; a server behind a socket of the file system has no address."""
    text = begun(b"server", b"timeline", b"position") + row(None, b"00000002", position) + DONE
    (answer,) = served(text + READY).answers
    assert answer == Answer(Outcome.ACKED, "", "", 2, expected)


def test_an_answer_that_is_cut_off_ends_the_session_once() -> None:
    """Its owner hears of the write, and not of a session lost while idle as well."""
    writer = served(BEGUN + row(), leaves=True)
    assert writer.states == [State.CLOSED]
    assert writer.reasons == []


@dataclass
class Reader:
    """A server that reads all there is, and answers once it has so many bytes; then it listens on.

    told: what it has read; go: set when the rest of the answer may follow.
    """

    until: int
    late: float = 0.0  # seconds before it greets
    told: bytearray = field(default_factory=bytearray)
    go: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def serving(self, answer: bytes, rest: bytes = b"") -> Iterator[bytes]:
        """Serve one client; yield the address. It is gone at the end of the block."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            thread = threading.Thread(target=self._talk, args=(listening, answer, rest))
            thread.start()
            yield f"host=127.0.0.1 port={listening.getsockname()[1]} sslmode=disable".encode()
            thread.join(WITHIN)
            assert not thread.is_alive(), "its client has not left"

    def _talk(self, listening: socket.socket, answer: bytes, rest: bytes) -> None:
        client, _ = listening.accept()
        with client:
            client.recv(4096)
            self.go.wait(self.late)
            client.sendall(WELCOME)
            while len(self.told) < self.until and (more := client.recv(1 << 20)):
                self.told += more
            client.sendall(answer)
            self.go.wait(WITHIN if rest else 0)
            client.sendall(rest)
            while more := client.recv(4096):
                self.told += more


class Large(Writer):
    """Writes more than a socket takes at once."""

    value = b"7" * (8 << 20)

    def opened(self, session: Session) -> None:
        """Write it."""
        session.send(b"INSERT", [self.value])


def test_a_large_write_is_sent_in_parts_while_others_are_served() -> None:
    """libpq keeps what the socket does not take: it is sent when there is room again."""
    reader, writer = Reader(len(Large.value)), Large()
    with (
        selectors.DefaultSelector() as selector,
        reader.serving(BEGUN + row() + DONE + READY) as at,
    ):
        session, rounds = answered(selector, writer, at)
        (key,) = selector.get_map().values()
        assert key.events == selectors.EVENT_READ, "it wakes for room that nothing waits for"
        session.close()
    assert writer.answers[0].outcome is Outcome.ACKED
    assert rounds > 2
    assert Large.value in reader.told
    assert reader.told.endswith(message(b"X")), "it left without a word"


def test_a_server_that_is_slow_to_greet_is_waited_for() -> None:
    """By the selector: the session does not ask again and again."""
    reader, writer = Reader(1, late=4 * APART), Writer()
    with (
        selectors.DefaultSelector() as selector,
        reader.serving(BEGUN + row() + DONE + READY) as at,
    ):
        session, rounds = answered(selector, writer, at)
        session.close()
    assert rounds < 20


def test_a_session_that_never_connected_is_closed() -> None:
    """Closing it once more does nothing."""
    with selectors.DefaultSelector() as selector:
        session = Session(selector, Writer())
        assert session.state is State.CLOSED
        session.close()


def test_half_an_answer_holds_nobody_up() -> None:
    """The session is busy until the rest has come, and waits for it in no call."""
    reader, writer = Reader(1), Writer()
    with (
        selectors.DefaultSelector() as selector,
        reader.serving(BEGUN + row(), DONE + READY) as at,
    ):
        session = Session(selector, writer)
        session.connect(at)
        began = time.monotonic()
        while not writer.answers:
            go_round(selector)
            if session.state is State.BUSY and not selector.select(APART):
                reader.go.set()  # what it had to say first has been read
        session.close()
        assert time.monotonic() - began < WITHIN
    assert writer.answers[0].outcome is Outcome.ACKED


@pytest.mark.parametrize(("stays", "after"), [(True, State.IDLE), (False, State.CLOSED)])
def test_only_a_session_that_may_see_a_promotion_stays_with_a_standby(
    stays: bool, after: State
) -> None:
    """A standby that is promoted keeps its sessions."""
    assert served(BEGUN + report(b"E", "ERROR", "25006") + READY, stays=stays).states == [after]


_AT = 'connection to server at "db" (10.0.0.1), port 5432 failed: '


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "no connection"),
        (_AT.encode() + b"Connection refused\n\tIs it running?\n", "Connection refused"),
        (_AT.encode() + b"FATAL:  no room for FATAL:", "no room for FATAL:"),
        (_AT.encode() + b"SSL failed: it failed: twice", "SSL failed: it failed: twice"),
        (b"cl\xe9 inconnue", "cl\N{REPLACEMENT CHARACTER} inconnue"),
        (b"x" * 81, "x" * 80),
    ],
)
def test_a_reason_is_told_without_the_address(said: bytes, reason: str) -> None:
    """In any encoding, the first line of it, and no longer than a column."""
    assert _connect_error(cast(PGconn, SimpleNamespace(error_message=said))) == reason
