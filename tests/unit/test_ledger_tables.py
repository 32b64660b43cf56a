"""The ledger's tables in a real database, filled by hand: nothing was attempted."""

import hashlib
import struct

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgdrill.attempt_log import ATTEMPT, Outcome
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.workload import ledger
from pgdrill.workload.attempts import Attempts
from pgdrill.workload.probe_loop import SLOTS
from tests.unit.conftest import ScratchPostgres

pytestmark = pytest.mark.unit

TABLE = "book"
NONE = Attempts(np.zeros(0, ATTEMPT), ("fresh",), frozenset(), ("",), ("",))


@pytest.fixture(scope="module")
def conninfo(scratch_postgres: ScratchPostgres) -> str:
    """An empty database."""
    return scratch_postgres.database("ledger_tables")


@pytest.fixture
def whole(conninfo: str) -> str:
    """Three transactions: rows 1, 2 and one beyond the last counter, each in all three tables."""
    ledger.create_table(conninfo, TABLE, with_parts=True)
    for number in (1, 2, SLOTS + 1):
        run(conninfo, f"INSERT INTO book VALUES ({number}, 'fresh')")
        run(conninfo, f"INSERT INTO book_parts VALUES ({number}, 1), ({number}, 2)")
        change = f"value = value + 1, items = items || {number}::bigint"
        run(conninfo, f"UPDATE book_counters SET {change} WHERE slot = {number} % {SLOTS}")
    return conninfo


def run(conninfo: str, statement: str) -> list[tuple[object, ...]]:
    """Run a statement, and return its rows, if it has any."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


@pytest.mark.parametrize("with_parts", [False, True])
def test_an_empty_ledger_is_made_in_the_place_of_an_old_one(
    conninfo: str, with_parts: bool
) -> None:
    """With its counters at zero; it is itself the newest table, in the schema of its name."""
    run(conninfo, "DROP SCHEMA IF EXISTS made CASCADE")
    run(conninfo, "CREATE SCHEMA made")
    for _ in range(2):
        ledger.create_table(conninfo, "made.book", with_parts=with_parts)
        tables = run(
            conninfo,
            "SELECT relname FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'made'::regnamespace ORDER BY oid",
        )
        parts = [("book_parts",), ("book_counters",)] if with_parts else []
        assert tables == [*parts, ("book",)]
        assert run(conninfo, "TABLE made.book") == []
        run(conninfo, "INSERT INTO made.book VALUES (7, 'fresh')")
        run(conninfo, "INSERT INTO made.book VALUES (7, 'an id may come twice')")
        if with_parts:
            assert run(conninfo, "TABLE made.book_parts") == []
            run(conninfo, "INSERT INTO made.book_parts VALUES (7, 1)")
            counters = run(conninfo, "TABLE made.book_counters ORDER BY slot")
            assert counters == [(slot, 0, []) for slot in range(SLOTS)]
            run(conninfo, "UPDATE made.book_counters SET value = 3")


def test_what_is_read_is_every_id_and_what_is_gone_has_none(whole: str) -> None:
    """Of the largest number too, and of a table that lies in a schema."""
    largest = 2**63 - 1
    run(whole, f"INSERT INTO book VALUES ({largest}, 'held'), (2, 'held')")
    expected = [1, 2, 2, SLOTS + 1, largest]
    for user_owned in (False, True):
        ids = ledger.read_ids(whole, "public.book", user_owned=user_owned)
        assert sorted(ids.tolist()) == expected
        assert ids.dtype == "int64"
        gone = ledger.read_ids(whole, "nowhere", user_owned=user_owned)
        assert gone.size == 0
        assert gone.dtype == "int64"
    held = ledger.rows_on(whole, TABLE)
    packed = struct.pack("<5q", *expected)
    assert held == ledger.Holding(5, hashlib.sha256(packed).hexdigest()[:16])
    newest = ledger.newest("public.book", 3).as_string(None)
    assert run(whole, f"SELECT {newest}") == [([largest, SLOTS + 1, 2],)]


def test_a_standby_is_no_place_to_read_a_users_ledger_from(
    scratch_postgres: ScratchPostgres, whole: str
) -> None:
    """It may lack rows of its primary; pgdrill compares its own members by it."""
    standby = scratch_postgres.standby()
    try:
        there = make_conninfo(whole, port=standby.port)
        assert ledger.read_ids(there, TABLE).size == 3
        with pytest.raises(BrokenEnvironmentError) as caught:
            ledger.read_ids(there, TABLE, user_owned=True)
        assert str(caught.value) == "a standby answers while reading ledger book"
    finally:
        standby.discard()


@pytest.mark.parametrize(
    ("change", "torn"),
    [
        pytest.param("SELECT", 0, id="nothing"),
        pytest.param("INSERT INTO book VALUES (1, 'twice')", 0, id="applied-twice-is-no-tear"),
        pytest.param("DELETE FROM book WHERE id = 1", 1, id="two-parts-alone"),
        pytest.param("DELETE FROM book_parts WHERE id = 1", 1, id="row-alone"),
        pytest.param("DELETE FROM book_parts WHERE part = 2", 3, id="one-part-each"),
        pytest.param("INSERT INTO book_parts VALUES (2, 2)", 1, id="three-parts"),
        pytest.param("TRUNCATE book", 3, id="no-rows"),
        pytest.param("DROP TABLE book", 3, id="no-table"),
        pytest.param("DROP TABLE book_parts", 3, id="no-parts"),
        pytest.param("DROP TABLE book, book_parts", 0, id="nothing-left"),
    ],
)
def test_a_transaction_is_torn_where_its_rows_are_not_all_there(
    whole: str, change: str, torn: int
) -> None:
    """Counted once, whatever is missing of it."""
    run(whole, change)
    assert ledger.torn(whole, TABLE) == torn


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        pytest.param("SELECT", 0, id="nothing"),
        pytest.param("UPDATE book_counters SET value = 1 WHERE slot = 1", 1, id="one-lost"),
        pytest.param("UPDATE book_counters SET value = 4 WHERE slot = 2", 3, id="three-made-up"),
        pytest.param("UPDATE book_counters SET value = 1", SLOTS - 1, id="many"),
        pytest.param("DELETE FROM book_counters WHERE slot = 1", 2, id="no-counter"),
        pytest.param("DELETE FROM book WHERE id = 2", 1, id="row-gone"),
        pytest.param("INSERT INTO book VALUES (7, 'x')", 1, id="row-more"),
        pytest.param("DROP TABLE book_counters", 3, id="no-counters"),
        pytest.param("DROP TABLE book", 0, id="no-rows-at-all"),
    ],
)
def test_an_update_is_lost_where_its_counter_differs_from_its_rows(
    whole: str, change: str, lost: int
) -> None:
    """In either direction: one too few does not make up for one too many."""
    run(whole, change)
    assert ledger.lost_updates(whole, TABLE) == lost


@pytest.mark.parametrize(
    ("change", "displaced"),
    [
        pytest.param("SELECT", 0, id="nothing"),
        pytest.param("UPDATE book_counters SET items = 9 || items WHERE slot = 1", 2, id="before"),
        pytest.param("UPDATE book_counters SET items = items || 9::bigint", 0, id="behind"),
        pytest.param("UPDATE book_counters SET items = '{1}' WHERE slot = 1", 1, id="one-gone"),
        pytest.param("UPDATE book_counters SET items = '{513, 1}' WHERE slot = 1", 2, id="turned"),
        pytest.param("UPDATE book_counters SET items = items || items", 3, id="twice"),
        pytest.param("DROP TABLE book_counters", 3, id="no-lists"),
    ],
)
def test_an_append_is_out_of_place_where_its_list_has_another_there(
    whole: str, change: str, displaced: int
) -> None:
    """Of those that were acknowledged: one without an answer may be anywhere, or nowhere."""
    rows = np.zeros(4, ATTEMPT)
    rows["id"], rows["position"] = [1, 2, SLOTS + 1, 8], [1, 1, 2, 0]
    rows["outcome"] = [*[Outcome.ACKED] * 3, Outcome.INDETERMINATE]
    attempts = Attempts(rows, ("fresh",), frozenset(), ("",), ("",))
    run(whole, change)
    assert ledger.displaced(whole, TABLE, attempts) == displaced


def test_an_address_where_nobody_answers_says_what_was_being_done(whole: str) -> None:
    """It is no ledger that is gone."""
    nobody = make_conninfo(whole, port=1)
    for doing, act in (
        ("creating ledger book", lambda: ledger.create_table(nobody, TABLE)),
        ("reading ledger book", lambda: ledger.read_ids(nobody, TABLE)),
        ("reading ledger book", lambda: ledger.rows_on(nobody, TABLE)),
        ("comparing ledger book with its parts", lambda: ledger.torn(nobody, TABLE)),
        ("comparing ledger book with its counters", lambda: ledger.lost_updates(nobody, TABLE)),
        ("reading the lists of ledger book", lambda: ledger.displaced(nobody, TABLE, NONE)),
    ):
        with pytest.raises(BrokenEnvironmentError, match=rf"^no connection to .* while {doing}:"):
            act()


def test_a_table_that_is_locked_ends_the_wait_for_it(whole: str) -> None:
    """After the seconds that the caller allows."""
    with psycopg.connect(whole) as holder:
        holder.execute("LOCK TABLE book")
        for act in (
            lambda: ledger.create_table(whole, TABLE, within=0.2),
            lambda: ledger.read_ids(whole, TABLE, within=0.2),
            lambda: ledger.rows_on(whole, TABLE, within=0.2),
            lambda: ledger.torn(whole, TABLE, within=0.2),
            lambda: ledger.lost_updates(whole, TABLE, within=0.2),
        ):
            with pytest.raises(BrokenEnvironmentError, match=r"not done within 0\.2 s"):
                act()
