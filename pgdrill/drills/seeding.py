"""Seeding a cluster, with progress and a summary for the terminal."""

from collections.abc import Callable

from pgdrill.platforms.base import Cluster, Platform, free_bytes
from pgdrill.platforms.checkpoints import write_out
from pgdrill.progress import Reporter, Update
from pgdrill.records import Seed
from pgdrill.settings import Settings
from pgdrill.workload import dataset


def seed_cluster(
    platform: Platform,
    cluster: Cluster,
    settings: Settings,
    reporter: Reporter,
    *,
    reseed: bool = False,
) -> Seed:
    """Load the dataset, or recognise it, and compare its checksums on every member.

    reseed: load a damaged one anew, whatever the settings are.

    After a load every member checkpoints. Otherwise the next fault would measure the load, too: a
    switchover waits until dirty pages are written, and pg_rewind needs all WAL since then.
    """
    with reporter.task(f"seed {settings.rows:,} rows", settings.rows) as update:
        seed = dataset.seed(
            cluster.conninfo(),
            {name: cluster.conninfo(at) for name, at in cluster.members.items()},
            rows=settings.rows,
            seed=settings.seed,
            progress=_show(update),
            free=lambda: free_bytes(platform),
            reseed=reseed or settings.reseed,
        )
    if not seed.reused:
        write_out(cluster, reporter)
    return seed


def _show(update: Update) -> Callable[[str, int, int, float], None]:
    def show(phase: str, done: int, total: int, rate: float) -> None:
        update(done, f"{phase}: {done:,} of {total:,} rows, {rate:,.0f} rows/s")

    return show


def summary(seed: Seed) -> list[str]:
    """Return one line for each table, and what was done."""
    lines = [f"{t.table:<14} {t.rows:>10,} rows  checksum {t.checksum}" for t in seed.tables]
    done = "recognised, nothing to do" if seed.reused else f"loaded in {seed.seconds:.1f} s"
    rate = "" if seed.reused else f" ({seed.rows / seed.seconds:,.0f} rows/s)"
    lines.append(
        f"{seed.rows:,} rows in {len(seed.tables)} tables of seed {seed.seed}: {done}{rate};"
        f" equal on {', '.join(seed.agreeing_members)}"
    )
    return lines
