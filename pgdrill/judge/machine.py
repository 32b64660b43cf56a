"""The machine's pace during a load: while transactions were late, and otherwise."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, quantiles

from pgdrill.records import Bench, MachineSecond

SPELL = 10  # seconds of the slowest stretch: one slow second may be an interrupt


@dataclass(frozen=True)
class Loaded:
    """The machine in one second of the load."""

    second: int
    pace: float  # % of its best in the same run
    busy: float  # % of all cores
    stolen: float  # % of all cores
    bad: int  # transactions that were due then


@dataclass(frozen=True)
class Pace:
    """Means of the machine's pace, in % of its best in the same run, and of its CPUs' use."""

    loaded: tuple[Loaded, ...]  # at least one
    before: float | None  # while the load was prepared and its rate calibrated
    during: float
    slowest: float  # SPELL seconds in a row
    late: float | None  # in seconds with bad transactions, by their number; None: there were none
    otherwise: float | None  # in seconds without any
    busy: float  # % of all cores
    stolen: float


def paces(seconds: Sequence[MachineSecond]) -> list[float]:
    """Return the pace of each second, in % of the fastest tenth of them.

    Only a change of the pace can be measured: a machine that was equally slow all the time looks
    like one that is slow by design.
    """
    if len(seconds) < 2:
        return [100.0] * len(seconds)
    best = quantiles((one.work_ms for one in seconds), n=10, method="inclusive")[0]
    return [min(100.0, 100 * best / one.work_ms) for one in seconds]


def pace(bench: Bench, seconds: Sequence[MachineSecond]) -> Pace | None:
    """Sum up the machine's pace; None if it was not measured during the load."""
    bad = {piece.second: piece.bad for piece in bench.slices}
    timed = [
        (one.at - bench.started_at, value, one)
        for one, value in zip(seconds, paces(seconds), strict=True)
    ]
    before = [value for at, value, _ in timed if at < 0]
    loaded = tuple(
        Loaded(int(at), value, one.busy, one.stolen, bad.get(int(at), 0))
        for at, value, one in timed
        if 0 <= at < bench.duration
    )
    if not loaded:
        return None
    values = [one.pace for one in loaded]
    late = sum(one.bad for one in loaded)
    otherwise = [one.pace for one in loaded if not one.bad]
    spells = range(max(1, len(values) - SPELL + 1))
    return Pace(
        loaded=loaded,
        before=mean(before) if before else None,
        during=mean(values),
        slowest=min(mean(values[i : i + SPELL]) for i in spells),
        late=sum(one.pace * one.bad for one in loaded) / late if late else None,
        otherwise=mean(otherwise) if otherwise else None,
        busy=mean(one.busy for one in loaded),
        stolen=mean(one.stolen for one in loaded),
    )
