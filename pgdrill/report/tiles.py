"""The key figures under the headline."""

from dataclasses import dataclass

from pgdrill.judge import watching
from pgdrill.judge.alerting import PAGED
from pgdrill.judge.budgets import P99
from pgdrill.judge.failover import LOST, WRITE_GAP
from pgdrill.records import Watch
from pgdrill.report import watchwords
from pgdrill.report.facts import drilled_ledger, proven, proven_acks
from pgdrill.report.material import Material
from pgdrill.report.words import allowed, count, number, seconds


@dataclass(frozen=True)
class Tile:
    """One key figure; state is met, broken, invalid, or plain where nothing judges it."""

    name: str
    value: str
    detail: str
    state: str = "plain"


def tiles(m: Material) -> tuple[Tile, ...]:
    """Return the longest gap, the loss, the p99 and the slowest alert."""
    if m.watch:
        return _watch_tiles(m, m.watch)
    return _gap_tile(m), _loss_tile(m), _p99_tile(m), _alert_tile(m)


def _watch_tiles(m: Material, watch: Watch) -> tuple[Tile, ...]:
    gaps = ", ".join(f"{name} {watchwords.gap(lane)}" for name, lane in watch.lanes.items())
    worst = watchwords.longest(watch)
    lost = "not read" if watch.ledger is None else f"{watch.ledger.acked_lost:,}"
    every = sum(lane.attempts for lane in watch.lanes.values())
    failed = every - watchwords.acked(watch)
    return (
        Tile("longest write gap", worst, gaps, _state_of(m, WRITE_GAP)),
        Tile(
            "acknowledged writes lost",
            lost,
            f"of {watchwords.acked(watch):,} acknowledged",
            _state_of(m, watching.LOST.kind),
        ),
        Tile("failovers and restarts", f"{len(watch.handovers)}", watchwords.kinds(watch)),
        Tile("refused or not answered", f"{failed:,}", f"of {every:,} writes"),
    )


def _state_of(m: Material, kind: str) -> str:
    """Return the worst outcome among promises of a kind; plain when none is."""
    about = [v.outcome for v in m.promises if v.budget.kind == kind]
    return next((o for o in ("broken", "invalid", "met") if o in about), "plain")


def _gap_tile(m: Material) -> Tile:
    known = [(lane.values[-1], g, lane) for g in m.own_drills for lane in g.lanes if lane.gaps]
    if not known:
        return Tile("longest write gap", "-", "not measured in this run")
    gap, group, lane = max(known, key=lambda found: found[0])
    unknown = sum(lane.unknown for g in m.own_drills for lane in g.lanes)
    more = f"; {unknown} could not say" if unknown else ""
    detail = f"{group.experiment}, {lane.lane} connection, {count(len(lane.gaps), 'trial')}{more}"
    return Tile("longest write gap", seconds(gap), detail, _state_of(m, WRITE_GAP))


def _loss_tile(m: Material) -> Tile:
    ledger, trials = drilled_ledger(m), proven(m)
    if not proven_acks(m) and not ledger.acked_lost:
        return Tile("acknowledged writes lost", "-", "not measured in this run")
    lost = "broken" if ledger.acked_lost else _state_of(m, LOST.kind)
    detail = f"of {proven_acks(m):,} acknowledged in {count(len(trials), 'trial')}"
    return Tile("acknowledged writes lost", f"{ledger.acked_lost:,}", detail, lost)


def _p99_tile(m: Material) -> Tile:
    if not m.bench or not m.bench.scripts:
        return Tile("p99 under load", "-", "not measured in this run")
    p99 = m.bench.scripts[0].p99_ms
    budget = m.budget_p99
    limit = f"promised {allowed(budget)}" if budget else "no promise judged"
    detail = f"{limit}, at {number(m.bench.rate)} transactions/s"
    return Tile("p99 under load", f"{number(p99)} ms", detail, _state_of(m, P99.kind))


def _alert_tile(m: Material) -> Tile:
    times = [
        (life.paged if life.paged is not None else life.alertmanager, life)
        for life in m.alerts
        if life.severity != "info"  # pages nobody
    ]
    if not times:
        return Tile("slowest alert", "-", "not measured in this run")
    waits = [
        at - life.condition for at, life in times if at is not None and life.condition is not None
    ]
    missing = len(times) - len(waits)
    if missing:
        return Tile("alerts that never arrived", f"{missing}", f"of {len(times)}", "broken")
    return Tile(
        "slowest alert",
        seconds(max(waits)),
        f"condition true to page; {len(waits)} of {len(times)} arrived",
        _state_of(m, PAGED),
    )
