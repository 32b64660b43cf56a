"""What busy sessions waited for, and the pressure on the machine: shown, not judged."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from pgdrill.records import Bench, MachineSecond, WaitLook

CPU = "CPU"  # the event of sessions that do not wait, as in observe.waits


@dataclass(frozen=True)
class Busy:
    """One second of the load: its active sessions, by event; the mean of its samples."""

    second: int
    sessions: Mapping[str, float]
    bad: int  # transactions that were due then and came late or never

    @property
    def active(self) -> float:
        """All active sessions."""
        return sum(self.sessions.values())


@dataclass(frozen=True)
class Share:
    """The share of one event in the time of busy sessions, %."""

    event: str
    overall: float
    late: float | None  # in seconds with bad transactions; None: no session was busy in these
    otherwise: float | None  # in all others; None as above

    @property
    def most(self) -> float:
        """The greater of its shares overall and in seconds with late transactions."""
        return max(self.overall, self.late or 0.0)


@dataclass(frozen=True)
class Waits:
    """The time of busy sessions in the seconds that have samples, at least one."""

    seconds: tuple[Busy, ...]
    shares: tuple[Share, ...]  # greatest overall first; empty if no session was ever busy
    looks: int
    active: float  # sessions at a time
    late_seconds: int  # of the seconds with samples, those with bad transactions
    unseen: int  # seconds of the load without a sample
    troubles: tuple[str, ...]  # reasons for that

    def top(self, most: int) -> tuple[str, ...]:
        """Return the events with the greatest shares, overall or in late seconds; CPU first."""
        by_part = sorted(self.shares, key=lambda share: -share.most)
        found = [share.event for share in by_part[:most]]
        return tuple(sorted(found, key=lambda event: event != CPU))


@dataclass(frozen=True)
class Strain:
    """The mean of one kind of pressure."""

    during: float
    late: float | None  # in seconds with bad transactions; None: there were none
    otherwise: float | None  # in all others; None: there were none


@dataclass(frozen=True)
class Strains:
    """What the kernel reported of waits for the machine during the load; None: not reported."""

    cpu: Strain | None  # % of the time in which some process waited for it
    io: Strain | None
    memory: Strain | None
    run_queue: Strain | None  # seconds in a second that PostgreSQL's processes waited for a CPU
    cpu_by_second: tuple[tuple[int, float], ...]  # second of the load, %
    io_by_second: tuple[tuple[int, float], ...]


def waits(bench: Bench, looks: Sequence[WaitLook]) -> Waits | None:
    """Sum up what busy sessions waited for; None if there are no samples of the load.

    Every second has the same weight, whatever its number of samples: a machine that is short of
    CPU takes the fewest samples in its busiest seconds.
    """
    bad = {piece.second: piece.bad for piece in bench.slices}
    during = [look for look in looks if 0 <= look.at - bench.started_at < bench.duration]
    by_second: dict[int, list[WaitLook]] = defaultdict(list)
    for look in during:
        if not look.trouble:
            by_second[int(look.at - bench.started_at)].append(look)
    if not by_second:
        return None
    seconds = tuple(
        Busy(second, _mean(found), bad.get(second, 0))
        for second, found in sorted(by_second.items())
    )
    late = [one for one in seconds if one.bad]
    overall = _shares(seconds)
    of_late, otherwise = _shares(late), _shares(one for one in seconds if not one.bad)
    shares = (
        Share(
            event,
            share,
            of_late.get(event, 0.0) if of_late else None,
            otherwise.get(event, 0.0) if otherwise else None,
        )
        for event, share in overall.items()
    )
    return Waits(
        seconds=seconds,
        shares=tuple(sorted(shares, key=lambda share: -share.overall)),
        looks=sum(map(len, by_second.values())),
        active=mean(one.active for one in seconds),
        late_seconds=len(late),
        unseen=max(0, int(bench.duration) - len(seconds)),
        troubles=tuple(dict.fromkeys(look.trouble for look in during if look.trouble)),
    )


def strains(bench: Bench, seconds: Sequence[MachineSecond]) -> Strains | None:
    """Sum up the pressure on the machine; None if it was not measured during the load."""
    bad = {piece.second: piece.bad for piece in bench.slices}
    during = [
        (int(one.at - bench.started_at), one)
        for one in seconds
        if 0 <= one.at - bench.started_at < bench.duration
    ]
    if not during:
        return None

    def series(of: Callable[[MachineSecond], float | None]) -> tuple[tuple[int, float], ...]:
        values = ((second, of(one)) for second, one in during)
        return tuple((second, value) for second, value in values if value is not None)

    def strain(points: Iterable[tuple[int, float]]) -> Strain | None:
        late, otherwise = list[float](), list[float]()
        for second, value in points:
            (late if bad.get(second) else otherwise).append(value)
        if not late + otherwise:
            return None
        return Strain(
            mean(late + otherwise),
            mean(late) if late else None,
            mean(otherwise) if otherwise else None,
        )

    cpu, io = series(lambda one: one.cpu_pressure), series(lambda one: one.io_pressure)
    return Strains(
        cpu=strain(cpu),
        io=strain(io),
        memory=strain(series(lambda one: one.memory_pressure)),
        run_queue=strain(series(lambda one: one.run_queue)),
        cpu_by_second=cpu,
        io_by_second=io,
    )


def _mean(looks: Sequence[WaitLook]) -> dict[str, float]:
    """Return the number of sessions of each event, as the mean of these samples."""
    counts: dict[str, float] = defaultdict(float)
    for look in looks:
        for event, sessions in look.sessions.items():
            counts[event] += sessions / len(looks)
    return dict(counts)


def _shares(seconds: Iterable[Busy]) -> dict[str, float]:
    """Return each event's share of busy time in these seconds, %; empty: no session was busy."""
    time: dict[str, float] = defaultdict(float)
    for one in seconds:
        for event, sessions in one.sessions.items():
            time[event] += sessions
    whole = sum(time.values())
    return {event: 100 * spent / whole for event, spent in time.items()} if whole else {}
