"""Benchmarking a cluster from a handle and settings, with progress for people."""

from collections.abc import Callable
from pathlib import Path

from pgdrill.judge import budgets
from pgdrill.platforms.base import Cluster
from pgdrill.platforms.checkpoints import write_out
from pgdrill.progress import Reporter
from pgdrill.records import Bench
from pgdrill.settings import Settings
from pgdrill.workload import pgbench
from pgdrill.workload.pgbench_program import Program

CALIBRATION = 8  # seconds; enough to order magnitudes, and it warms the caches


def bench_cluster(
    program: Program,
    cluster: Cluster,
    settings: Settings,
    directory: Path,
    reporter: Reporter,
    in_the_quiet: Callable[[], None] = lambda: None,
) -> Bench:
    """Prepare, calibrate and run one and the same pgbench through the read-write address.

    in_the_quiet is called when preparations are over and nothing of the load was sent yet, not
    even to warm up. Raw logs go to directory. A run during which the server died gives a Bench too.

    Raises:
        BrokenEnvironmentError: the database does not answer, holds no shop, answered nothing, or a
            member does not checkpoint.
    """
    conninfo, clients = cluster.conninfo(), settings.clients
    scale = pgbench.scale_for(clients)
    with reporter.task(f"pgbench tables, scale {scale}") as update:
        pgbench.prepare(program, conninfo, scale, lambda line: update(0, line))
    with reporter.task(f"calibration, {clients} clients, closed loop", CALIBRATION) as update:
        reached = pgbench.calibrate(
            program,
            conninfo,
            clients,
            CALIBRATION,
            scale=scale,
            seed=settings.seed,
            on_progress=lambda second, tps, ms: update(second, _note(tps, ms)),
        )
    # What calibration left dirty the kernel would write back some seconds into the run: 76 late
    # transactions in one second were seen, four times what a run of 30 s is allowed.
    write_out(cluster, reporter)
    in_the_quiet()
    rate = pgbench.offered_rate(settings.rate, reached)
    reporter.line(f"calibration reached {reached:.0f}/s; offering {rate:g}/s")
    with reporter.task(f"pgbench, {clients} clients, {rate:g}/s", settings.duration) as update:
        return pgbench.run(
            program,
            conninfo,
            clients=clients,
            duration=settings.duration,
            rate=rate,
            directory=directory,
            scale=scale,
            seed=settings.seed,
            calibration_tps=reached,
            latency_limit_ms=budgets.P99.limit,
            on_progress=lambda second, tps, ms: update(
                max(0.0, second), ("warm-up: " if second < 0 else "") + _note(tps, ms)
            ),
        )


def _note(tps: float, milliseconds: float) -> str:
    return f"{tps:.0f} transactions/s, {milliseconds:.1f} ms"
