"""What a load owes to its machine: the pace while transactions came late, and otherwise."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, quantiles

from pgdrill.records import Bench, MachineSecond

SPELL = 10  # seconds of the slowest stretch that is told: one slow second is an interrupt


@dataclass(frozen=True)
class Pace:
    """Means of the machine's pace, in % of its best in the same run, and of its CPUs' use."""

    before: float | None  # while the load was prepared and its rate calibrated
    during: float
    slowest: float  # SPELL seconds in a row
    late: float | None  # in seconds with bad transactions, by their number; None: there were none
    otherwise: float | None  # in seconds without any
    busy: float  # % of all cores
    stolen: float


def paces(seconds: Sequence[MachineSecond]) -> list[float]:
    """Return the pace of each second, in % of the fastest tenth of them.

    A machine that was equally slow all the time cannot be told from a slow machine: only a change
    shows.
    """
    if len(seconds) < 2:
        return [100.0] * len(seconds)
    best = quantiles((one.work_ms for one in seconds), n=10, method="inclusive")[0]
    return [min(100.0, 100 * best / one.work_ms) for one in seconds]


def during(bench: Bench, seconds: Sequence[MachineSecond]) -> list[tuple[int, float, float]]:
    """Return second of the load, pace (%) and busy share of all cores (%)."""
    timed = zip(seconds, paces(seconds), strict=True)
    return [
        (int(one.at - bench.started_at), pace, one.busy)
        for one, pace in timed
        if 0 <= one.at - bench.started_at < bench.duration
    ]


def pace(bench: Bench, seconds: Sequence[MachineSecond]) -> Pace | None:
    """Sum the machine's pace up; None when nobody looked at it during the load."""
    loaded = during(bench, seconds)
    if not loaded:
        return None
    bad = {piece.second: piece.bad for piece in bench.slices}
    early = zip(seconds, paces(seconds), strict=True)
    before = [value for one, value in early if one.at < bench.started_at]
    values = [value for _, value, _ in loaded]
    late = [(value, bad[at]) for at, value, _ in loaded if bad.get(at)]
    otherwise = [value for at, value, _ in loaded if not bad.get(at)]
    stolen = [one.stolen for one in seconds if one.at >= bench.started_at]
    spells = range(max(1, len(values) - SPELL + 1))
    return Pace(
        before=mean(before) if before else None,
        during=mean(values),
        slowest=min(mean(values[i : i + SPELL]) for i in spells),
        late=sum(v * n for v, n in late) / sum(n for _, n in late) if late else None,
        otherwise=mean(otherwise) if otherwise else None,
        busy=mean(busy for _, _, busy in loaded),
        stolen=mean(stolen),
    )
