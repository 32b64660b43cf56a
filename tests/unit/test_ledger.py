"""The ledger against a real table in which rows went missing, came twice, or never should be."""

import dataclasses
from pathlib import Path

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgdrill.attempt_log import Lane, Outcome
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.records import LedgerCount
from pgdrill.waiting import pause
from pgdrill.workload import ledger
from pgdrill.workload.attempts import NS, Attempts, Ints
from pgdrill.workload.prober import Prober
from tests.unit.conftest import ScratchPostgres

TABLE = "ledger"


@dataclasses.dataclass(frozen=True)
class Probed:
    """A table and the attempts that wrote it: some acknowledged, some refused."""

    conninfo: str
    attempts: Attempts

    def run(self, statement: str) -> None:
        """Change the table behind the ledger's back."""
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            connection.execute(statement)

    def count(self) -> LedgerCount:
        """Reconcile with what is in the table now."""
        return ledger.reconcile(self.attempts, ledger.read_ids(self.conninfo, TABLE))

    def one(self, outcome: Outcome) -> int:
        """The id of some attempt of that outcome."""
        return int(self.attempts.of(outcome)["id"][3])


@pytest.fixture(scope="module")
def template(scratch_postgres: ScratchPostgres, tmp_path_factory: pytest.TempPathFactory) -> Probed:
    """One second of probing a writable and a read-only address."""
    conninfo = scratch_postgres.database("ledger")
    ledger.create_table(conninfo, TABLE)
    read_only = make_conninfo(conninfo, options="-c default_transaction_read_only=on")
    lanes = [
        Lane("held", "held", conninfo, 100),
        Lane("fresh@standby", "fresh", read_only, 20, direct=True),
    ]
    with Prober(lanes, TABLE, tmp_path_factory.mktemp("probe")) as prober:
        pause(1.0)
    probed = Probed(conninfo, prober.result())
    probed.run(f"CREATE TABLE kept AS TABLE {TABLE}")
    return probed


@pytest.fixture
def probed(template: Probed) -> Probed:
    """The table as the prober left it."""
    template.run(f"TRUNCATE {TABLE}")
    template.run(f"INSERT INTO {TABLE} TABLE kept")
    return template


def test_untouched_table_has_every_acknowledged_row_and_no_refused_one(probed: Probed) -> None:
    """The classes add up to the attempts, and nothing is lost."""
    acked, refused = (probed.attempts.of(o).size for o in (Outcome.ACKED, Outcome.REFUSED))
    assert acked > 50
    assert refused > 5
    assert acked + refused == probed.attempts.rows.size
    assert probed.count() == LedgerCount(
        acked_present=acked,
        acked_lost=0,
        indeterminate_present=0,
        indeterminate_absent=0,
        refused_absent=refused,
        refused_present=0,
        duplicate=0,
    )


def changed(before: LedgerCount, after: LedgerCount) -> dict[str, int]:
    """The classes that differ, and by how much."""
    old, new = before.model_dump(), after.model_dump()
    return {name: new[name] - old[name] for name in old if new[name] != old[name]}


@pytest.mark.parametrize(
    ("outcome", "statement", "difference"),
    [
        pytest.param(
            Outcome.ACKED,
            "DELETE FROM {table} WHERE id = {id}",
            {"acked_present": -1, "acked_lost": 1},
            id="row-removed",
        ),
        pytest.param(
            Outcome.ACKED,
            "INSERT INTO {table} SELECT * FROM {table} WHERE id = {id}",
            {"duplicate": 1},
            id="row-doubled",
        ),
        pytest.param(
            Outcome.REFUSED,
            "INSERT INTO {table} VALUES ({id}, 'phantom')",
            {"refused_absent": -1, "refused_present": 1},
            id="row-of-a-refused-write",
        ),
    ],
)
def test_one_wrong_row_is_counted_as_one(
    probed: Probed, outcome: Outcome, statement: str, difference: dict[str, int]
) -> None:
    """Each way in which a row can be wrong moves exactly one count, by one."""
    before = probed.count()
    probed.run(statement.format(table=TABLE, id=probed.one(outcome)))
    assert changed(before, probed.count()) == difference


def test_indeterminate_writes_may_be_there_or_not(probed: Probed) -> None:
    """A write without an answer counts by whether its row is there, never as lost."""
    rows = probed.attempts.rows.copy()
    acked = rows["outcome"] == Outcome.ACKED
    rows["outcome"][acked] = Outcome.INDETERMINATE
    unknown = dataclasses.replace(probed.attempts, rows=rows)
    probed.run(f"DELETE FROM {TABLE} WHERE id = {probed.one(Outcome.ACKED)}")
    count = ledger.reconcile(unknown, ledger.read_ids(probed.conninfo, TABLE))
    assert (count.indeterminate_present, count.indeterminate_absent) == (acked.sum() - 1, 1)
    assert (count.acked_present, count.acked_lost) == (0, 0)


def test_suspects_are_named(probed: Probed) -> None:
    """A lost write tells who acknowledged it and when; a phantom, how it was refused."""
    gone, phantom = probed.one(Outcome.ACKED), probed.one(Outcome.REFUSED)
    probed.run(f"DELETE FROM {TABLE} WHERE id = {gone}")
    probed.run(f"INSERT INTO {TABLE} VALUES ({phantom}, 'phantom')")
    ids = ledger.read_ids(probed.conninfo, TABLE)
    (lost,) = ledger.lost(probed.attempts, ids)
    assert (lost.id, lost.lane, lost.timeline) == (gone, "held", 1)
    assert lost.server.startswith("127.0.0.1:")
    assert 0 < lost.ended - lost.due < 5
    (found,) = ledger.phantoms(probed.attempts, ids)
    assert (found.id, found.lane, found.reason) == (phantom, "fresh@standby", "25006")


def test_stranger_in_the_table_is_an_error(probed: Probed) -> None:
    """Rows that no attempt wrote mean that this is another prober's table."""
    probed.run(f"INSERT INTO {TABLE} VALUES (1000000000, 'stranger')")
    with pytest.raises(ledger.StrangerError, match=r"1 ids .* 1000000000"):
        probed.count()


def test_attempts_of_one_id_are_an_error(probed: Probed) -> None:
    """Ids must be unique, or a lost row could hide behind another's."""
    rows = np.concatenate([probed.attempts.rows, probed.attempts.rows[:1]])
    doubled = dataclasses.replace(probed.attempts, rows=rows)
    with pytest.raises(ValueError, match="ids"):
        ledger.reconcile(doubled, np.array([], dtype=np.int64))


def test_empty_table_has_lost_everything(probed: Probed) -> None:
    """No row at all is total loss, not an error and not a pass."""
    probed.run(f"TRUNCATE {TABLE}")
    assert probed.count().acked_lost == probed.attempts.of(Outcome.ACKED).size


@pytest.mark.parametrize(
    ("statement", "same"),
    [
        pytest.param("INSERT INTO {t} SELECT * FROM kept ORDER BY id DESC", True, id="order"),
        pytest.param("INSERT INTO {t} SELECT * FROM kept OFFSET 1", False, id="one-missing"),
        pytest.param("INSERT INTO {t} SELECT id + 1, lane FROM kept", False, id="other-ids"),
    ],
)
def test_holdings_are_equal_only_for_the_same_rows(
    probed: Probed, statement: str, same: bool
) -> None:
    """Members agree whatever the order of their rows, and disagree on one row's difference."""
    before = ledger.rows_on(probed.conninfo, TABLE)
    probed.run(f"TRUNCATE {TABLE}")
    probed.run(statement.format(t=TABLE))
    assert (ledger.rows_on(probed.conninfo, TABLE) == before) is same


def test_creating_a_ledger_again_empties_it(probed: Probed) -> None:
    """A ledger of an earlier trial never mixes with the next one's."""
    ledger.create_table(probed.conninfo, "again")
    probed.run("INSERT INTO again VALUES (1, 'old')")
    ledger.create_table(probed.conninfo, "again")
    assert ledger.rows_on(probed.conninfo, "again").rows == 0


def test_a_ledger_that_is_gone_has_lost_every_acknowledged_row(probed: Probed) -> None:
    """A missing table is a loss that is counted; an address where nobody answers is none."""
    ids = ledger.read_ids(probed.conninfo, "nowhere")
    found = ledger.reconcile(probed.attempts, ids)
    assert (found.acked_present, found.acked_lost) == (0, probed.attempts.of(Outcome.ACKED).size)
    nobody = psycopg.conninfo.make_conninfo(probed.conninfo, port=1)
    with pytest.raises(BrokenEnvironmentError, match="no connection"):
        ledger.read_ids(nobody, "nowhere")


def test_attempts_survive_the_file(probed: Probed, tmp_path: Path) -> None:
    """A file that no prober wrote is refused; an absent one too."""
    broken = tmp_path / "attempts.npz"
    with pytest.raises(ValueError, match="holds no attempts"):
        Attempts.load(broken)
    broken.write_bytes(b"no zip file")
    with pytest.raises(ValueError, match="holds no attempts"):
        Attempts.load(broken)


def between_two(instants: Ints) -> int:
    """Return an instant in the middle that is none of these: seconds round a nanosecond away."""
    ordered = np.sort(instants)
    middle = ordered.size // 2
    return int(ordered[middle - 1 : middle + 1].mean())


def test_a_database_as_of_a_point_is_held_against_both_sides_of_it(probed: Probed) -> None:
    """Rows acknowledged before have to be there, rows begun after must not, others may be."""
    acked = probed.attempts.of(Outcome.ACKED)
    cut = between_two(acked["ended"])
    point = (cut / NS, cut / NS + 0.01)
    keep = acked["id"][acked["ended"] <= cut]
    found = ledger.as_of(probed.attempts, keep, point)
    assert (found.absent, found.surplus, found.refused, found.duplicate) == (0, 0, 0, 0)
    assert found.wanted == keep.size
    assert found.late > 20
    assert found.uncertain < 10
    late = int(acked["id"][acked["started"] >= cut + 10_000_000][0])
    refused = probed.one(Outcome.REFUSED)
    wrong = np.concatenate([keep[1:], keep[1:2], [late, refused]])
    found = ledger.as_of(probed.attempts, wrong, point)
    assert (found.absent, found.surplus, found.duplicate) == (1, 1, 1)
    assert found.refused + found.surplus == 2


def test_writes_near_a_point_are_told_one_by_one(probed: Probed) -> None:
    """Each attempt under way then: when it was sent and answered, and whether it came."""
    acked = probed.attempts.of(Outcome.ACKED)
    cut = between_two(acked["ended"])
    keep = acked["id"][acked["ended"] <= cut]
    found = ledger.near(probed.attempts, keep, cut / NS, 0.2)
    assert len(found) > 10
    assert [n.began for n in found] == sorted(n.began for n in found)
    assert all(n.ended >= -0.2 and n.began <= 0.2 for n in found)
    assert {n.there for n in found if n.outcome == "acked" and n.ended <= 0} == {True}
    assert {n.there for n in found if n.began > 0} == {False}


def test_a_lost_end_is_counted_in_rows_and_seconds_and_a_hole_is_seen(probed: Probed) -> None:
    """What is absent at the end is a loss of seconds; a row absent in the middle is a hole."""
    acked = probed.attempts.of(Outcome.ACKED)
    acked = acked[np.argsort(acked["ended"])]
    at = int(acked["ended"][-1]) / NS + 0.5
    found = ledger.loss(probed.attempts, acked["id"], at)
    assert (found.wanted, found.absent, found.seconds, found.holes) == (acked.size, 0, 0.0, 0)
    found = ledger.loss(probed.attempts, acked["id"][:-10], at)
    assert (found.absent, found.holes) == (10, 0)
    assert found.seconds == pytest.approx(at - int(acked["ended"][-10]) / NS)
    found = ledger.loss(probed.attempts, np.delete(acked["id"], 5), at)
    assert (found.absent, found.holes) == (1, 1)
