"""The dataset: how fast it came in, and that it is what it claims to be."""

from pgdrill.judge import bench
from pgdrill.judge.verdicts import Verdicts
from pgdrill.platforms.base import Cluster
from pgdrill.records import Seed
from pgdrill.settings import Settings

FEWEST_TABLES = 10


def test_seed_is_fast(seeded: Seed, verdicts: Verdicts) -> None:
    """Loading, linking and verifying the rows on every member stays within its budget."""
    bench.seeded(seeded, verdicts)


def test_seed_is_whole(seeded: Seed, pgdrill_settings: Settings, cluster: Cluster) -> None:
    """All rows asked for are there, in at least ten tables, the same on every member."""
    assert sum(table.rows for table in seeded.tables) == pgdrill_settings.rows
    assert len(seeded.tables) >= FEWEST_TABLES
    assert min(table.rows for table in seeded.tables) > 0, f"an empty table: {seeded.tables}"
    assert set(seeded.agreeing_members) == set(cluster.members)


def test_tables_are_linked(seeded: Seed, cluster: Cluster) -> None:
    """Proven foreign keys tie every seeded table to another one."""
    with cluster.connect() as connection:
        links = connection.execute(
            "SELECT child.relname, parent.relname FROM pg_constraint c"
            " JOIN pg_class child ON child.oid = c.conrelid"
            " JOIN pg_class parent ON parent.oid = c.confrelid"
            " WHERE contype = 'f' AND convalidated AND child.relnamespace = 'shop'::regnamespace"
        ).fetchall()
    linked = {table for link in links for table in link}
    assert not {table.table for table in seeded.tables} - linked, f"only these are: {linked}"
