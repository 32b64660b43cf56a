"""A watch over a user's own database: the owner breaks it; pgdrill writes and records."""

import secrets
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType

from pgdrill import __version__, openfiles, process_environment
from pgdrill.attempt_log import Lane, Outcome
from pgdrill.drills.failover import keep_suspects
from pgdrill.drills.watch_screen import Screen, mute
from pgdrill.errors import BadUsageError, BrokenEnvironmentError
from pgdrill.judge import watching
from pgdrill.judge.catalogue import limits
from pgdrill.judge.verdicts import BrokenBudgetError, Verdicts
from pgdrill.observe.events import EventLog
from pgdrill.records import (
    Event,
    Fingerprint,
    Handover,
    Pause,
    Reads,
    RunEnd,
    Server,
    Verdict,
    Watch,
    step,
)
from pgdrill.report import splice, terminal
from pgdrill.rundir import RunDir
from pgdrill.settings import Settings
from pgdrill.waiting import retry, ticks
from pgdrill.workload import ledger
from pgdrill.workload.attempts import NS, Attempts, Change
from pgdrill.workload.prober import LaneState, Prober
from pgdrill.workload.read_poller import ReadPoller, staleness
from pgdrill.workload.user_database import PREFIX, QUIET, STALE, UserDatabase

RATE = 50.0  # attempts/s: the resolution of a gap is 25 ms, at a negligible load
FRESH_SHARE = 0.2  # of them on a new connection, which costs the server a process and a handshake
DEADLINE = 2.0  # seconds an attempt may take before its client gives up
LONGEST = 86_400.0  # seconds
MOST_ATTEMPTS = 5_000_000  # 250 MB of memory
TICK = 0.1  # seconds between two looks at the prober and the keyboard
ANSWERS_EVERY = 1.0  # seconds between two checks of which server answers
READS_EVERY = 0.25  # seconds between two reads through the address for reading
READ_WITHIN = 60.0  # seconds at the end to read the ledger back
REMOVE_WITHIN = 30.0
PAUSE = 0.5  # seconds; longer pauses between two acks are listed
MOST_PAUSES = 200
CLEAN = "pgdrill watch --clean DSN"


@dataclass(frozen=True)
class WatchOptions:
    """The options of a watch; lasting is seconds, rate attempts a second, deadline seconds."""

    dsn: str
    read_only: str = ""
    lasting: float = LONGEST
    rate: float = RATE
    deadline: float = DEADLINE

    def bounded(self) -> float:
        """Return the longest duration of the watch.

        Raises:
            BadUsageError: there would be more attempts than can be kept.
        """
        most = min(LONGEST, MOST_ATTEMPTS / self.rate)
        if self.lasting > most and self.lasting != LONGEST:
            raise BadUsageError(
                f"--for: {self.lasting:g} s at {self.rate:g} attempts/s are more than can be kept:"
                f" {most:,.0f} s at most, or a lower --rate"
            )
        return min(self.lasting, most)

    def lanes(self, conninfo: str) -> list[Lane]:
        """Return the lanes that write."""
        return [
            Lane("fresh", "fresh", conninfo, self.rate * FRESH_SHARE),
            Lane("held", "held", conninfo, self.rate * (1 - FRESH_SHARE)),
        ]

    def command(self, label: str, reads: str) -> str:
        """Return the same command, without secrets."""
        words = [
            f'pgdrill watch "{label}"',
            *([f'--read-only="{reads}"'] if reads else []),
            *([f"--for={self.lasting:g}s"] if self.lasting != LONGEST else []),
            f"--rate={self.rate:g} --deadline={self.deadline:g}",
        ]
        return " ".join(words)


class StopRequest:
    """Handles signals: they end the watch while it lasts, or interrupt the command."""

    def __init__(self) -> None:
        self.reason = ""
        self._watching = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if number == signal.SIGHUP:
            mute()  # the reader of the output is gone
        if self.reason or not self._watching:
            raise KeyboardInterrupt
        self.reason = {signal.SIGINT: "Ctrl-C", signal.SIGHUP: "the terminal was closed"}.get(
            signal.Signals(number), signal.Signals(number).name
        )

    @contextmanager
    def ended_by(self) -> Iterator[None]:
        """End the block with a reason."""
        self._watching = True
        try:
            yield
        finally:
            self._watching = False


def clean(dsn: str, say: Callable[[str], object]) -> None:
    """Remove the schemas of killed watches, unless something was written there in the last minute.

    Raises:
        BrokenEnvironmentError: the database refuses it.
    """
    database = UserDatabase.reach(dsn)
    if not _sweep(database, QUIET, say):
        say(f"{database.label}: no schema of a watch is left")


def watch(order: WatchOptions, settings: Settings, screen: Screen, ending: StopRequest) -> int:
    """Watch until the user ends it; return 0, or 1 where a promise is broken or not proven.

    Raises:
        BrokenEnvironmentError: the database does not take the first writes.
        BadUsageError: a connection string or the length is not valid.
        KeyboardInterrupt: interrupted before the watch began, or while it ended.
    """
    lasting, own = order.bounded(), limits(settings)
    openfiles.allow(0)
    database = UserDatabase.reach(order.dsn)
    database.demand_writable()
    reader = UserDatabase.reach(order.read_only) if order.read_only else None
    _sweep(database, STALE, screen.say)
    run = RunDir.create(settings.run_dir)
    schema = PREFIX + secrets.token_hex(4)
    try:
        with _schema(database, schema, screen.say):
            table = database.make(schema, reader.user if reader else "")
            screen.say(
                f"{database.label}: PostgreSQL {database.version}, user {database.user};"
                f" writing into schema {schema} of database {database.database},"
                f" {order.rate:g} times a second"
            )
            seen = _observe(order, lasting, database, reader, table, run, screen, ending)
            screen.say(f"ended ({seen.reason}); reading the ledger")
            found = _record(order, database, reader, table, run, seen)
    except (BrokenEnvironmentError, KeyboardInterrupt):
        if not run.raw.exists() or not any(run.raw.glob("*.npz")):
            shutil.rmtree(run.path)
        raise
    run.keep(found)
    run.keep(_fingerprint(order, database, reader, settings))
    code = 0
    try:
        watching.judge(found, Verdicts(run.file(Verdict), "watch", limits=own), own)
    except BrokenBudgetError:
        code = 1
    run.keep(RunEnd(exit_status=code))
    splice(run.path)
    for line in terminal(run.path):
        screen.say(line)
    return code


def _sweep(database: UserDatabase, idle: float, say: Callable[[str], object]) -> int:
    """Remove schemas of watches that were killed, name the others; return how many there are."""
    found = database.orphaned_schemas()
    for left in found:
        if left.idle > idle:
            database.remove(left.schema)
            say(f"removed schema {left.schema}, which an earlier watch had left")
        else:
            say(
                f"schema {left.schema} is another watch's, or was left {left.idle:.0f} s ago:"
                f" `{CLEAN}` removes it when nothing writes into it"
            )
    return len(found)


@contextmanager
def _schema(database: UserDatabase, schema: str, say: Callable[[str], object]) -> Iterator[None]:
    """Remove the schema after the block, however it ends, or report that it is left."""
    try:
        yield
    finally:
        try:
            retry(
                "the schema's removal",
                lambda: database.remove(schema),
                within=REMOVE_WITHIN,
                every=1.0,
            )
        except (BrokenEnvironmentError, KeyboardInterrupt) as error:
            why = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
            say(f"schema {schema} is left in {database.label} ({why}): `{CLEAN}` removes it")
            if isinstance(error, KeyboardInterrupt):
                raise


@dataclass(frozen=True)
class Observed:
    """The records of a watch."""

    prober: Prober
    reads: ReadPoller | None
    events: EventLog
    began: float
    ended: float
    reason: str
    marks: tuple[float, ...]


def _observe(
    order: WatchOptions,
    lasting: float,
    database: UserDatabase,
    reader: UserDatabase | None,
    table: str,
    run: RunDir,
    screen: Screen,
    ending: StopRequest,
) -> Observed:
    """Write and observe until the user ends it."""
    events = EventLog(run.file(Event))

    def answers(who: str) -> Callable[[str], object]:
        return lambda seen: events.record("cluster", f"{who}: {seen}")

    marks: list[float] = []
    live = _LiveStatus(screen)
    prober = Prober(
        order.lanes(database.conninfo),
        table,
        run.raw,
        deadline=order.deadline,
        identity=database.identity,
    )
    with ExitStack() as stack:
        stack.enter_context(prober)
        began = time.monotonic()
        poller = stack.enter_context(
            ReadPoller(database.conninfo, ANSWERS_EVERY, answers("new sessions reach"))
        )
        reads = (
            stack.enter_context(
                ReadPoller(reader.conninfo, READS_EVERY, answers("reads reach"), table)
            )
            if reader
            else None
        )
        stack.enter_context(screen.shown(order.lasting != LONGEST))
        stack.enter_context(ending.ended_by())
        for _ in ticks(TICK, lasting=lasting):
            if ending.reason:
                break
            live.update(prober.look(), poller.answers, reads.answers if reads else "")
            if screen.mark():
                marks.append(events.record("mark", f"mark {len(marks) + 1}").at)
                screen.say(f"mark {len(marks)}")
        ended = time.monotonic()
    return Observed(
        prober, reads, events, began, ended, ending.reason or "the time is over", tuple(marks)
    )


class _LiveStatus:
    """Prints the state of the lanes, and each new server."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._known: set[tuple[str, int]] = set()
        self._latest = ("", 0)
        self._counts: tuple[float, dict[str, int]] = (0.0, {})
        self._rates: dict[str, float] = {}
        self._longest = 0.0

    def update(self, lanes: dict[str, LaneState], answers: str, reads: str) -> None:
        """Show the present state; print a line for a new server."""
        now = time.monotonic()
        latest = max(lanes.values(), key=lambda lane: lane.acked_at)
        self._note((latest.server, latest.timeline))
        self._longest = max(self._longest, *(now - lane.acked_at for lane in lanes.values()))
        if now - self._counts[0] >= 1.0:
            before, counts = self._counts
            acks = {name: lane.acks for name, lane in lanes.items()}
            self._rates = {
                name: (n - counts[name]) / (now - before) for name, n in acks.items() if counts
            }
            self._counts = (now, acks)
        self._screen.show(
            ", ".join(self._lane(name, now - lane.acked_at) for name, lane in lanes.items())
            + f" | refused {sum(lane.refused for lane in lanes.values())},"
            f" no answer {sum(lane.indeterminate for lane in lanes.values())},"
            f" longest gap {self._longest:.1f} s"
            f" | {_server(*self._latest).text()}; new sessions reach {answers or '...'}"
            + (f" | reads reach {reads}" if reads else "")
        )

    def _lane(self, name: str, silent: float) -> str:
        if silent > 1.0:
            return f"{name} SILENT for {silent:.1f} s"
        return f"{name} {self._rates.get(name, 0):.0f}/s"

    def _note(self, who: tuple[str, int]) -> None:
        if who == self._latest or not who[0]:
            return
        if self._known and who not in self._known:
            before, after = _server(*self._latest), _server(*who)
            self._screen.say(step(before, after))
        self._known.add(who)
        self._latest = who


def _record(
    order: WatchOptions,
    database: UserDatabase,
    reader: UserDatabase | None,
    table: str,
    run: RunDir,
    seen: Observed,
) -> Watch:
    """Make the record of a watch; the ledger is read back."""
    attempts = seen.prober.result()
    ids, count, unread = None, None, ""
    try:
        ids = retry(
            "the ledger read",
            lambda: ledger.read_ids(database.conninfo, table, user_owned=True),
            within=READ_WITHIN,
            every=1.0,
        )
        count = ledger.reconcile(attempts, ids)
    except BrokenEnvironmentError as error:
        unread = f"the ledger could not be read: {error}"
    except ledger.StrangerError as error:  # another client has written into it
        ids, unread = None, f"the ledger cannot be judged: {error}"
    lost = [] if ids is None else ledger.lost(attempts, ids)
    changes = attempts.changes()
    # A row was lost with the server that had acknowledged it, when that server was replaced.
    gone = [0] * len(changes)
    alone = 0
    for row in lost:
        ends = [i for i, c in enumerate(changes) if c.before == (row.server, row.timeline)]
        ends = [i for i in ends if changes[i].at >= row.ended] or ends
        if ends:
            gone[ends[0]] += 1
        else:
            alone += 1
    if ids is not None:
        keep_suspects(run.raw / "suspects.json", attempts, ids)
    handovers = tuple(
        _handover(attempts, change, None if ids is None else n)
        for change, n in zip(changes, gone, strict=True)
    )
    for one in handovers:
        seen.events.record("failover", step(one.before, one.after), at=one.at)
    return Watch(
        target=database.label,
        server=database.version,
        began=seen.began,
        ended=seen.ended,
        reason=seen.reason,
        rate=order.rate,
        deadline=order.deadline,
        lanes={
            lane: attempts.lane_result(lane, around=(_first_ack(attempts, lane), seen.ended))
            for lane in attempts.lanes
        },
        pauses=_pauses(attempts),
        handovers=handovers,
        marks=seen.marks,
        ledger=count,
        unread=unread,
        lost_alone=alone,
        two_writers=attempts.two_writers(),
        schedule_error_p99_ms=attempts.schedule_error_p99_ms(),
        reads=_reads(reader, seen.reads, attempts, ids),
        attempts_file=str(seen.prober.file.relative_to(run.path)),
    )


def _first_ack(attempts: Attempts, lane: str) -> float:
    """Return the instant of a lane's first ack; the prober begins only once each lane has one."""
    rows = attempts.lane_rows(lane)
    # A microsecond more: as a float, the instant may lie just before the ack itself.
    return (int(rows["ended"][rows["outcome"] == Outcome.ACKED].min()) + 1000) / NS


def _handover(attempts: Attempts, change: Change, lost: int | None) -> Handover:
    before, after = _server(*change.before), _server(*change.after)
    same = (before.address, before.timeline) == (after.address, after.timeline)
    return Handover(
        kind="restart" if same else "failover",
        before=before,
        after=after,
        last=change.last,
        at=change.at,
        gaps={
            lane: attempts.lane_result(lane, around=(change.last, change.at)).gap
            for lane in attempts.lanes
        },
        lost=lost,
    )


def _server(text: str, timeline: int) -> Server:
    address, _, since = text.partition(" since ")
    return Server(address=address, since=int(since or 0), timeline=timeline)


def _pauses(attempts: Attempts) -> tuple[Pause, ...]:
    every = [
        Pause(lane=lane, began=began, ended=ended)
        for lane in attempts.lanes
        for began, ended in attempts.pauses(lane, PAUSE)
    ]
    longest = sorted(every, key=lambda pause: -pause.seconds)[:MOST_PAUSES]
    return tuple(sorted(longest, key=lambda pause: pause.began))


def _reads(
    reader: UserDatabase | None,
    looks: ReadPoller | None,
    attempts: Attempts,
    ids: ledger.Ids | None,
) -> Reads | None:
    if reader is None or looks is None:
        return None
    behind = [] if ids is None else sorted(staleness(looks.looks, attempts, ids))

    def ms(per_mille: int) -> float | None:
        return (
            behind[min(len(behind) - 1, len(behind) * per_mille // 1000)] * 1e3 if behind else None
        )

    return Reads(
        target=reader.label,
        answered=len(looks.looks),
        failed=looks.failed,
        p50_ms=ms(500),
        p99_ms=ms(990),
        most_ms=ms(1000),
    )


def _fingerprint(
    order: WatchOptions, database: UserDatabase, reader: UserDatabase | None, settings: Settings
) -> Fingerprint:
    return Fingerprint(
        command=order.command(database.label, reader.label if reader else ""),
        platform="your own database",
        why_platform=database.label,
        engine="not known",
        settings={
            "attempts a second": f"{order.rate:g}",
            "deadline of an attempt": f"{order.deadline:g} s",
            "limits of your own": str(settings.budget) or "none",
        },
        versions={
            "pgdrill": __version__,
            "python": sys.version.split()[0],
            "PostgreSQL": database.version,
        },
        machine=process_environment.machine(),
        tuning={},
    )
