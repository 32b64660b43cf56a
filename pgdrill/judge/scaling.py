"""Judging one scale-up and scale-down of the pooler: each claim with its evidence."""

import math
from collections.abc import Sequence

from pgdrill.judge import budgets, failover
from pgdrill.judge.bench import Claim, check
from pgdrill.judge.verdicts import Verdicts
from pgdrill.records import ScalePoint, Scaling
from pgdrill.rundir import Records

SUBJECT = "pooler"
SHARED_LEAST = 10.0  # seconds with all pods ready: some thousand connections, enough for shares
TOLERANCE = 1.1  # Kubernetes' default: an autoscaler does nothing up to 10 % above its target


def grown_after(s: Scaling) -> float | None:
    """Seconds from the beginning of the load to the first look with one more pod ready."""
    seen = (p.at for p in _under_load(s) if p.ready > s.least)
    return next((at - s.surge.started_at for at in seen), None)


def shrunk_after(s: Scaling) -> float | None:
    """Seconds from the end of the load until the least number of pods is reached, and stays."""
    found = None
    for point in reversed(s.points):
        if point.at <= s.surge.ended_at or point.ready != s.least or point.desired != s.least:
            break
        found = point.at - s.surge.ended_at
    return found


def most_ready(s: Scaling) -> int:
    """Most pods that were ready at once under the load."""
    return max((p.ready for p in _under_load(s)), default=0)


def peak_utilisation(s: Scaling) -> float | None:
    """Highest CPU use that the autoscaler reported under the load, % of the pods' requests."""
    seen = [p.utilisation for p in _under_load(s) if p.utilisation is not None]
    return max(seen, default=None)


def carried(s: Scaling) -> dict[str, int]:
    """Transactions of each pod while the greatest number of pods was ready.

    Empty if that time was too short, if there never was a second pod, or if a pod has no count.
    """
    most = most_ready(s)
    full = [p for p in _under_load(s) if p.ready == most > s.least]
    counted = [(p.at, counts) for p in full if (counts := _counts(p)) and len(counts) == most]
    if not counted or counted[-1][0] - counted[0][0] < SHARED_LEAST:
        return {}
    (_, first), (_, last) = counted[0], counted[-1]
    return {pod: last[pod] - first[pod] for pod in first} if first.keys() == last.keys() else {}


def fair_share(counts: dict[str, int]) -> float | None:
    """Transactions of the least loaded pod, % of the mean; None if there were none at all."""
    total = sum(counts.values())
    return 100 * min(counts.values()) * len(counts) / total if total else None


def rejudge(records: Records, verdicts: Verdicts) -> None:
    """Judge every scale-up and scale-down again."""
    for one in records.all(Scaling):
        check(claims(one), SUBJECT, verdicts)


def claims(s: Scaling) -> tuple[Claim, ...]:
    """Return every claim about one scale-up and scale-down; observed None: no evidence."""
    return (*_size(s), _shared(s), *_kept(s))


def _size(s: Scaling) -> tuple[Claim, Claim]:
    """Return the times to grow and to shrink; infinite for one that never happened."""
    why, grown, small = _no_evidence(s), grown_after(s), budgets.shrinkage(s.window)
    if why:
        return Claim(budgets.GROWTH, None, why), Claim(small, None, why)
    growth = Claim(budgets.GROWTH, _or_never(grown), _height(s))
    if grown is None:
        return growth, Claim(small, None, "it never grew")
    if s.points[-1].at <= s.surge.ended_at:
        return growth, Claim(small, None, "not seen after the load")
    return growth, Claim(small, _or_never(shrunk_after(s)), f"down to {s.least}")


def _height(s: Scaling) -> str:
    return (
        f"{most_ready(s)} of at most {s.most} pods, CPU up to {peak_utilisation(s) or 0:.0f} % of"
        f" what they request, target {s.target:.0f} %"
    )


def _shared(s: Scaling) -> Claim:
    counts = carried(s)
    shares = ", ".join(f"{count:,}" for count in counts.values())
    note = f"transactions by pod: {shares}" if counts else "no second pod for long, or no count"
    return Claim(budgets.FAIR_SHARE, fair_share(counts), note)


def _kept(s: Scaling) -> list[Claim]:
    """Return the claims about aborted clients of the load, and about writes in the ledger."""
    load = s.surge
    done = f"{load.transactions:,} transactions of {load.clients} clients"
    acked = s.ledger.acked
    # A lane has no gap if its acks stopped, or never came: it did not write all the time.
    silent = [name for name, lane in s.lanes.items() if lane.gap is None]
    note = f"lanes without acks to the end: {', '.join(silent)}" if silent else f"of {acked} acked"
    real = acked and not silent and not _no_evidence(s)
    counts = (
        (failover.LOST, s.ledger.acked_lost),
        (failover.PHANTOM, s.ledger.refused_present),
        (failover.DUPLICATE, s.ledger.duplicate),
    )
    return [
        Claim(budgets.ABORTED_CLIENTS, load.aborted_clients if load.transactions else None, done),
        *(Claim(budget, count if real or count else None, note) for budget, count in counts),
    ]


def _no_evidence(s: Scaling) -> str:
    """Return why there is no evidence: too little load, no metric, too many pods before; or ''."""
    if not s.surge.transactions:
        return f"no load: pgbench exit status {s.surge.exit_status}"
    peak = peak_utilisation(s)
    if peak is None:
        reason = next((p.trouble for p in s.points if p.trouble), "no reason was reported")
        return f"the autoscaler had no CPU metric: {reason}"
    first = _under_load(s)[0].ready
    if first != s.least:
        return f"{first} pods were ready when the load began, not {s.least}"
    if grown_after(s) is None and peak <= s.target * TOLERANCE:
        return f"too little load: CPU up to {peak:.0f} %, target {s.target:.0f} %"
    return ""


def _or_never(after: float | None) -> float:
    return math.inf if after is None else after


def _under_load(s: Scaling) -> Sequence[ScalePoint]:
    return [p for p in s.points if s.surge.started_at <= p.at <= s.surge.ended_at]


def _counts(point: ScalePoint) -> dict[str, int]:
    """Return the number of transactions that each ready pod reports."""
    return {
        name: pod.transactions
        for name, pod in point.pods.items()
        if pod.ready and pod.transactions is not None
    }
