"""One scale-up and scale-down of the pooler under a surge of clients, and its ledger."""

import time
from contextlib import suppress
from pathlib import Path

from pgdrill import timeouts
from pgdrill.attempt_log import Lane
from pgdrill.drills.failover import DrillContext, keep_suspects
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.observe.autoscale import Autoscaler, Limits, ScalingWatch, why_not_at_rest
from pgdrill.platforms.base import HasAutoscaler
from pgdrill.progress import Update
from pgdrill.records import Scaling, Surge
from pgdrill.waiting import DeadlineError, eventually
from pgdrill.workload import ledger, pgbench, surge
from pgdrill.workload.pgbench_program import Program, described
from pgdrill.workload.prober import Prober

CLIENTS = 8
# Connections/s: at 0.8 ms each, 160m of CPU, three pods at 60 % of 100m. More would mostly load the
# clients, for which a login costs more. Each keeps one of 28,000 local ports for another 60 s.
RATE = 200.0
# Seconds: longer than the 90 that the first new pod is allowed, so that a late one is measured.
SECONDS = 120
# Attempts/s: few, so that what they cost the pooler (5m of CPU) does not keep it from shrinking.
FRESH_RATE = 5.0
HELD_RATE = 20.0
# Seconds: metrics-server needs 90 on a new cluster; the pods of an earlier load need 130 to stop.
AT_REST = 240.0
SHRUNK = 300.0  # seconds to wait; the budget is shorter


def lanes(conninfo: str) -> list[Lane]:
    """Return both kinds of client through the pooler."""
    return [
        Lane("fresh", "fresh", conninfo, FRESH_RATE),
        Lane("held", "held", conninfo, HELD_RATE, sessions=4),
    ]


def run_scaling(context: DrillContext) -> Scaling:
    """Load the pooler, wait until it is small again, and keep the record.

    The prober writes through the pooler during all of this.

    Raises:
        DeadlineError: the pooler was not at rest before; the message has the autoscaler's reason.
        BrokenEnvironmentError: no write came through the pooler at all, or there is no pgbench.
    """
    platform = context.platform
    program = platform.pgbench()
    context.reporter.line(described(program))
    assert isinstance(platform, HasAutoscaler), f"{platform.name} has no pooler that is scaled"
    direct, pooled = context.cluster.conninfo(), context.cluster.conninfo(platform.pooler())
    autoscaler = platform.autoscaler()
    scale = pgbench.scale_for(context.settings.clients)
    with context.reporter.task(f"pgbench tables, scale {scale}") as update:
        pgbench.prepare(program, direct, scale, lambda line: update(0, line))
    with context.reporter.task("pooler at rest, with a CPU metric") as update:
        limits = _at_rest(autoscaler, update)
    table = f"ledger_scaling_{int(time.time())}"
    raw = context.run.raw / table
    ledger.create_table(direct, table)
    with (
        ScalingWatch(autoscaler, context.events) as watch,
        Prober(lanes(pooled), table, raw) as prober,
    ):
        prober.wait_for_acks(20, within=timeouts.FIRST_ACKS)
        load = _surge(context, program, pooled, scale, raw)
        with context.reporter.task("the pooler shrinks") as update:
            _shrink(watch, limits, load.ended_at, update)
        with suppress(DeadlineError):  # a lane without acks has no gap, which is judged
            prober.wait_for_acks(20, within=timeouts.FIRST_ACKS)
    attempts = prober.result()
    ids = ledger.read_ids(direct, table)
    keep_suspects(raw / "suspects.json", attempts, ids)
    points = watch.points
    scaling = Scaling(
        least=limits.least,
        most=limits.most,
        target=limits.target,
        window=limits.window,
        surge=load,
        points=points,
        lanes={
            lane: attempts.lane_result(lane, around=(load.started_at, time.monotonic()))
            for lane in attempts.lanes
        },
        ledger=ledger.reconcile(attempts, ids),
        attempts_file=str(prober.file.relative_to(context.run.path)),
    )
    context.run.keep(scaling)
    return scaling


def _at_rest(autoscaler: Autoscaler, update: Update) -> Limits:
    limits = autoscaler.limits()
    eventually(
        "a small pooler, ready, with a CPU metric",
        lambda: _note_reason(why_not_at_rest(autoscaler.look(), limits), update),
        lambda why: not why,
        within=AT_REST,
        every=2,
        not_yet=(BrokenEnvironmentError,),
    )
    return limits


def _surge(
    context: DrillContext, program: Program, conninfo: str, scale: int, directory: Path
) -> Surge:
    with context.reporter.task(f"{CLIENTS} clients, {RATE:g} connections/s", SECONDS) as update:
        context.events.record("load", "surge through the pooler begins", f"{RATE:g} connections/s")
        load = surge.run(
            program,
            conninfo,
            clients=CLIENTS,
            rate=RATE,
            seconds=SECONDS,
            scale=scale,
            seed=context.settings.seed,
            directory=directory,
            on_progress=lambda second, tps, ms: update(second, f"{tps:.0f} transactions/s"),
        )
        context.events.record("load", "surge through the pooler ends", at=load.ended_at)
    return load


def _shrink(watch: ScalingWatch, limits: Limits, since: float, update: Update) -> None:
    """Watch until the pooler is small; the judgement reports a pooler that never became small."""
    with suppress(DeadlineError):
        eventually(
            "a small pooler",
            lambda: _note_reason(watch.why_not_at_rest(limits, since), update),
            lambda why: not why,
            within=SHRUNK,
        )


def _note_reason(why: str, update: Update) -> str:
    update(0, why)
    return why
