"""Seeding and verifying against a real server."""

import threading
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
import pytest

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.settings import MIN_ROWS
from pgdrill.waiting import DeadlineError
from pgdrill.workload import dataset
from pgdrill.workload.dataset.generate import generate
from pgdrill.workload.dataset.load import (
    KEPT_WAL,
    ROW_DISK,
    ROW_WAL,
    SHOP,
    must_fit_on_volumes,
)
from pgdrill.workload.dataset.schema import SCHEMA, TABLES, split
from tests.unit.conftest import ScratchPostgres
from tests.unit.shop import WITHIN, execute, plant, query


@pytest.fixture(scope="module")
def planted(scratch_postgres: ScratchPostgres) -> str:
    """A seeded database that no test changes."""
    conninfo = scratch_postgres.database("planted")
    plant(conninfo)
    return conninfo


@pytest.fixture
def copied(scratch_postgres: ScratchPostgres, planted: str) -> str:
    """A copy of the seeded database, for a test that changes it."""
    conninfo = scratch_postgres.database("copied")
    execute(scratch_postgres.conninfo, "DROP DATABASE copied")
    execute(scratch_postgres.conninfo, "CREATE DATABASE copied TEMPLATE planted")
    return conninfo


def test_rows_keys_and_references_are_there(planted: str) -> None:
    """The server holds the planned rows, and every reference was proven by it."""
    counts = {table: query(planted, f"SELECT count(*) FROM shop.{table}")[0][0] for table in TABLES}
    assert counts == split(MIN_ROWS)
    proven = query(
        planted,
        "SELECT contype::text, count(*), bool_and(convalidated) FROM pg_constraint"
        " JOIN pg_class c ON c.oid = conrelid WHERE relnamespace = 'shop'::regnamespace"
        f" AND relname IN ({', '.join(repr(t) for t in TABLES)}) AND contype IN ('f', 'p')"
        " GROUP BY 1 ORDER BY 1",
    )
    references = sum(len(table.references) for table in SCHEMA)
    assert proven == [("f", references, True), ("p", len(TABLES), True)]
    assert query(planted, "SELECT count(*) FROM pg_class WHERE relpersistence = 'u'") == [(0,)]
    unread = "SELECT relname FROM pg_class WHERE reltuples < 0 AND relkind = 'r'"
    assert query(planted, f"{unread} AND relname IN {TABLES}") == [], "no statistics"


def test_values_arrive_as_they_were_generated(planted: str) -> None:
    """Binary encoding of every type is read by the server as what was meant."""
    shop = {table: columns for table, columns, _ in generate(MIN_ROWS, 42)}
    orders = query(planted, "SELECT total, placed_at FROM shop.orders ORDER BY id")
    origin = datetime(2000, 1, 1, tzinfo=UTC)
    total, placed = shop["orders"]["total"], shop["orders"]["placed_at"]
    assert isinstance(total, np.ndarray)
    assert isinstance(placed, np.ndarray)
    assert [int(row[0] * 100) for row in orders] == total.tolist()
    assert [row[1] for row in orders] == [origin + timedelta(microseconds=int(p)) for p in placed]
    odd = {
        "SELECT count(*) FROM shop.customers"
        " WHERE email !~ '^[a-z0-9]+@example[.](com|net|org)$'": 0,
        "SELECT count(*) FROM shop.products WHERE jsonb_typeof(attributes) <> 'object'": 0,
        "SELECT count(*) FROM shop.products WHERE cardinality(tags) NOT BETWEEN 1 AND 4": 0,
        "SELECT count(*) FROM shop.customers WHERE masklen(last_address) <> 32": 0,
        "SELECT count(*) FROM shop.orders WHERE scale(total) > 2 OR total <= 0": 0,
        "SELECT count(*) FROM shop.cities WHERE latitude NOT BETWEEN -55 AND 70": 0,
        "SELECT count(*) FROM shop.customers"
        " WHERE born_on NOT BETWEEN '1935-01-01' AND '2005-12-31'": 0,
        "SELECT count(*) FROM shop.categories WHERE parent_id IS NULL": 3,
        "SELECT count(*) FROM shop.shipments s JOIN shop.orders o ON o.id = order_id"
        " WHERE (delivered_at IS NULL) <> (status = 'shipped')": 0,
        "SELECT count(DISTINCT reference) FROM shop.payments": split(MIN_ROWS)["payments"],
    }  # fmt: skip
    assert {text: query(planted, text)[0][0] for text in odd} == odd


def test_second_seed_recognises_the_first(planted: str) -> None:
    """Seeding twice is seeding once: same checksums, and not one table was made anew."""
    tables = "SELECT oid, relfilenode FROM pg_class WHERE relnamespace = 'shop'::regnamespace"
    before, first = query(planted, tables), dataset.verify(planted, {}, within=WITHIN)
    second = plant(planted)
    assert first is not None
    assert (second.reused, second.tables, second.seconds) == (True, first.tables, first.seconds)
    assert second.agreeing_members == ("one",)
    assert query(planted, tables) == before


@pytest.mark.parametrize(("rows", "seed"), [(MIN_ROWS, 43), (MIN_ROWS + 500, 42)])
def test_another_seed_or_size_replaces(copied: str, rows: int, seed: int) -> None:
    """What was asked last is what is there."""
    made = plant(copied, rows=rows, seed=seed)
    assert not made.reused
    assert sum(table.rows for table in made.tables) == rows
    assert query(copied, "SELECT rows, seed FROM shop.manifest") == [(rows, seed)]


@pytest.mark.parametrize(
    ("change", "table"),
    [
        ("UPDATE shop.products SET price = price + 0.01 WHERE id = 7", "products"),
        ("DELETE FROM shop.reviews WHERE id = 1", "reviews"),
        ("ALTER TABLE shop.countries DISABLE TRIGGER ALL;"
         " UPDATE shop.countries SET id = 11 - id + 100; UPDATE shop.countries SET id = id - 100",
         "countries"),
        ("ALTER TABLE shop.reviews DROP CONSTRAINT reviews_pkey,"
         " DROP CONSTRAINT reviews_order_id_line_key;"
         " INSERT INTO shop.reviews SELECT * FROM shop.reviews", "reviews"),
        ("DROP TABLE shop.payments", "payments"),
    ],
    ids=["value", "missing row", "swapped keys", "every row twice", "missing table"],
)  # fmt: skip
def test_changed_rows_are_seen_and_replaced_when_asked_to(
    copied: str, change: str, table: str
) -> None:
    """verify and seed name the table that changed, whatever the change; reseed puts it right."""
    execute(copied, change)
    with pytest.raises(
        dataset.DatasetError, match=f"shop.{table} .*the read-write address"
    ) as told:
        dataset.verify(copied, {"one": copied}, within=WITHIN)
    others = [name for name in TABLES if f"shop.{name} " in str(told.value)]
    assert others == [table], "a table was blamed that did not change"
    tables = "SELECT oid, relfilenode FROM pg_class WHERE relnamespace = 'shop'::regnamespace"
    before = query(copied, tables)
    with pytest.raises(dataset.DatasetError, match=rf"shop.{table} .*make seed RESEED=1"):
        plant(copied)
    assert query(copied, tables) == before, "what was found is evidence, and stays"
    assert not plant(copied, reseed=True).reused
    assert dataset.verify(copied, {"one": copied}, within=WITHIN) is not None
    assert plant(copied, reseed=True).reused


def test_writes_of_a_load_do_not_change_the_dataset(copied: str) -> None:
    """The two tables for loads are in no checksum."""
    execute(copied, "INSERT INTO shop.page_views (customer_id, product_id) VALUES (1, 2)")
    execute(copied, "INSERT INTO shop.carts (customer_id, product_id) VALUES (1, 2)")
    assert plant(copied).reused


def test_member_that_differs_is_an_error_of_the_seed(planted: str, copied: str) -> None:
    """Rows that changed on a member alone are as wrong as on the primary."""
    execute(copied, "UPDATE shop.cities SET name = 'Atlantis' WHERE id = 3")
    with pytest.raises(dataset.DatasetError, match=r"shop\.cities on pg-2 .*RESEED"):
        dataset.seed(planted, {"pg-2": copied}, rows=MIN_ROWS, seed=42, within=WITHIN)


def test_rows_that_do_not_fit_on_a_volume_are_refused_before_the_first(copied: str) -> None:
    """With what fits on the member that has least; what is there is dropped, so its room counts."""
    before = query(copied, "SELECT rows, loaded_at FROM shop.manifest")
    with pytest.raises(
        BrokenEnvironmentError, match=r"on one: ask for --rows=(\d+) or fewer"
    ) as told:
        plant(copied, rows=200_000, free=10_000_000)
    assert query(copied, "SELECT rows, loaded_at FROM shop.manifest") == before
    fits = int(str(told.value).rpartition("--rows=")[2].split()[0])
    assert 9_000_000 / 285 <= fits < 200_000
    with pytest.raises(BrokenEnvironmentError, match=f"--rows={fits} "):
        plant(copied, rows=fits + 1000, free=10_000_000)
    assert not plant(copied, rows=fits, free=10_000_000).reused
    assert plant(copied, rows=fits, free=0).reused, "nothing is written: it needs no room"


def test_wal_is_kept_as_far_as_the_settings_say(scratch_postgres: ScratchPostgres) -> None:
    """Beyond that a row takes what its table and indexes take."""
    conninfo = scratch_postgres.database("kept")
    with psycopg.connect(conninfo, autocommit=True) as control:
        row = control.execute(KEPT_WAL).fetchone()
        assert row
        wal = int(row[0])
        assert wal > 2**20
        rows = 10 * wal // ROW_WAL
        room = rows * ROW_DISK + wal
        must_fit_on_volumes(rows, {"one": room * 10 // 9 + 10}, control)
        with pytest.raises(BrokenEnvironmentError, match=f"--rows={rows // 1000 * 1000} "):
            must_fit_on_volumes(rows + 1001, {"one": room * 10 // 9 + 10}, control)
        with pytest.raises(BrokenEnvironmentError, match="on one: make room there"):
            must_fit_on_volumes(MIN_ROWS, {"two": room, "one": 1000}, control)


def test_a_row_takes_what_is_asked_for(scratch_postgres: ScratchPostgres) -> None:
    """Tables, indexes and WAL of a load stay below what it is refused by, and near it."""
    conninfo = scratch_postgres.database("measured")
    rows = 100_000
    with psycopg.connect(conninfo, autocommit=True) as control:
        before = control.execute("SELECT pg_current_wal_lsn()::text").fetchone()
        plant(conninfo, rows=rows)
        size = control.execute(SHOP).fetchone()
        wal = control.execute("SELECT pg_current_wal_lsn() - %s::pg_lsn", before).fetchone()
    assert size
    assert wal
    assert 0.7 * ROW_DISK < int(size[0]) / rows < ROW_DISK
    assert 0.7 * ROW_WAL < int(wal[0]) / rows < 1.1 * ROW_WAL


def test_member_that_differs_is_named(planted: str, copied: str) -> None:
    """A member with one other value fails the comparison, with its name and the table's."""
    execute(copied, "UPDATE shop.cities SET name = 'Atlantis' WHERE id = 3")
    with pytest.raises(dataset.DatasetError, match=r"shop\.cities on pg-2 has 20 rows") as told:
        dataset.verify(planted, {"pg-1": planted, "pg-2": copied}, within=WITHIN)
    assert "pg-1" not in str(told.value)


def test_standby_is_compared_after_it_replayed(scratch_postgres: ScratchPostgres) -> None:
    """A standby that lags is waited for, and one that stays behind is a failure."""
    primary = scratch_postgres.database("replicated")
    standby = scratch_postgres.standby()
    there = primary.replace(f"port={scratch_postgres.port}", f"port={standby.port}")
    try:
        execute(there, "SELECT pg_wal_replay_pause()")
        resume = threading.Timer(0.7, execute, [there, "SELECT pg_wal_replay_resume()"])
        resume.start()
        members = {"one": primary, "two": there}
        made = dataset.seed(primary, members, rows=MIN_ROWS, seed=1, within=WITHIN)
        assert made.agreeing_members == ("one", "two")
        resume.join()
        execute(there, "SELECT pg_wal_replay_pause()")
        execute(primary, "CREATE TABLE later ()")
        with pytest.raises(DeadlineError, match="two to replay"):
            dataset.verify(primary, members, within=1)
    finally:
        standby.discard()
