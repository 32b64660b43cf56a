"""What the time of busy sessions went into, and how pressed the machine was: shown, not judged."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from pgdrill.records import Bench, MachineSecond, WaitLook

CPU = "CPU"  # as observe.waits calls the event of those that wait for none


@dataclass(frozen=True)
class Busy:
    """One second of the load: how many sessions were active, by event, on average of its looks."""

    second: int
    sessions: Mapping[str, float]
    bad: int  # transactions that were due then and came late or never

    @property
    def active(self) -> float:
        """All of them."""
        return sum(self.sessions.values())


@dataclass(frozen=True)
class Share:
    """What part of the time of busy sessions one event took, %."""

    event: str
    overall: float
    late: float | None  # in seconds with bad transactions; None: nobody was busy in such
    otherwise: float | None  # in all others; None as above

    @property
    def most(self) -> float:
        """The greater of what it took overall and where transactions came late."""
        return max(self.overall, self.late or 0.0)


@dataclass(frozen=True)
class Waits:
    """The time of busy sessions in the seconds that were looked at, at least one."""

    seconds: tuple[Busy, ...]
    shares: tuple[Share, ...]  # greatest overall first; none where nobody was ever busy
    looks: int
    active: float  # sessions at a time
    late_seconds: int  # of those that were looked at, with bad transactions
    unseen: int  # seconds of the load in which nobody could look
    troubles: tuple[str, ...]  # why

    def top(self, most: int) -> tuple[str, ...]:
        """Return the events with the greatest part, overall or where it was late, the CPU first."""
        by_part = sorted(self.shares, key=lambda share: -share.most)
        found = [share.event for share in by_part[:most]]
        return tuple(sorted(found, key=lambda event: event != CPU))


@dataclass(frozen=True)
class Strain:
    """How much of something there was to wait for on average."""

    during: float
    late: float | None  # in seconds with bad transactions; None: there were none
    otherwise: float | None  # in all others; None: there were none


@dataclass(frozen=True)
class Strains:
    """What the kernel told of waiting for the machine during the load; None: it does not tell."""

    cpu: Strain | None  # % of the time in which somebody waited for it
    io: Strain | None
    memory: Strain | None
    run_queue: Strain | None  # seconds in a second that PostgreSQL's processes waited for a CPU
    cpu_by_second: tuple[tuple[int, float], ...]  # second of the load, %
    io_by_second: tuple[tuple[int, float], ...]


def waits(bench: Bench, looks: Sequence[WaitLook]) -> Waits | None:
    """Sum up what busy sessions waited for; None when nobody looked during the load.

    A second counts as one, however often it was looked at: a machine that is short of CPU gives
    fewer looks where most is to be seen.
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
    """Sum up how pressed the machine was; None when nobody looked at it during the load."""
    bad = {piece.second: piece.bad for piece in bench.slices}
    during = [
        (int(one.at - bench.started_at), one)
        for one in seconds
        if 0 <= one.at - bench.started_at < bench.duration
    ]
    if not during:
        return None

    def series(of: Callable[[MachineSecond], float | None]) -> tuple[tuple[int, float], ...]:
        told = ((second, of(one)) for second, one in during)
        return tuple((second, value) for second, value in told if value is not None)

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
    """Return how many sessions each event had on average of some looks."""
    counts: dict[str, float] = defaultdict(float)
    for look in looks:
        for event, sessions in look.sessions.items():
            counts[event] += sessions / len(looks)
    return dict(counts)


def _shares(seconds: Iterable[Busy]) -> dict[str, float]:
    """Return each event's part of all busy time in these seconds, %; nothing: nobody was busy."""
    time: dict[str, float] = defaultdict(float)
    for one in seconds:
        for event, sessions in one.sessions.items():
            time[event] += sessions
    whole = sum(time.values())
    return {event: 100 * spent / whole for event, spent in time.items()} if whole else {}
