"""A short load, far below what two busy cores can do, on the tables of the perf suite."""

from pathlib import Path

from pgdrill.platforms.base import Cluster
from pgdrill.records import Bench
from pgdrill.settings import Settings
from pgdrill.workload import pgbench
from pgdrill.workload.pgbench_program import Program

# So few that a closed loop, where each client waits and counts once, would see 4 slow ones of many.
CLIENTS = 4
RATE = 100.0  # transactions/s


def prepare(program: Program, cluster: Cluster, settings: Settings) -> None:
    """Make sure of the tables, at the scale of the perf suite, so that those serve here too."""
    scale = pgbench.scale_for(settings.clients)
    pgbench.prepare(program, cluster.conninfo(), scale, lambda line: None)


def run(
    program: Program,
    cluster: Cluster,
    settings: Settings,
    directory: Path,
    seconds: int,
    on_progress: pgbench.OnProgress = lambda second, tps, latency: None,
) -> Bench:
    """Offer the load for so many seconds; its logs are left in directory."""
    return pgbench.run(
        program,
        cluster.conninfo(),
        clients=CLIENTS,
        duration=seconds,
        rate=RATE,
        directory=directory,
        scale=pgbench.scale_for(settings.clients),
        seed=settings.seed,
        calibration_tps=0,
        warm_up=0,
        on_progress=on_progress,
    )
