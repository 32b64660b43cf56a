"""Points to restore to, and the judgement of what came back."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pgdrill.drills.failover import DrillContext
from pgdrill.errors import BadUsageError
from pgdrill.judge import recovery as judged
from pgdrill.judge.bench import Claim
from pgdrill.judge.budgets import P99
from pgdrill.platforms.archive import Target
from pgdrill.records import Budget, Rebuild, Recovery
from tests.unit.fake_run import recovery


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("2026-11-27T09:30:00Z", "time"),
        ("2026-11-27 09:30:00.25+02:00", "time"),
        ("0/3000060", "lsn"),
        ("1A/ff000028", "lsn"),
        ("before_the_release", "name"),
        ("latest", "latest"),
    ],
)
def test_a_point_is_read_for_what_it_is(text: str, kind: str) -> None:
    """Instants, LSNs, names and the end are told apart by their looks."""
    assert Target.parse(text).kind == kind


def test_an_instant_is_given_to_the_database_in_utc_and_to_the_microsecond() -> None:
    """A zone that PostgreSQL could read otherwise never reaches it."""
    target = Target.parse("2026-11-27T11:30:00.250001+02:00")
    assert target.at == datetime(2026, 11, 27, 9, 30, 0, 250001, UTC)
    assert target.text == "2026-11-27 09:30:00.250001+00:00"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2026-11-27T09:30:00", "names no time zone"),
        ("2026-02-30T09:30:00Z", "is no instant"),
        ("yesterday at noon", "is no point in time"),
        ("0/XYZ", "is no point in time"),
        ("", "is no point in time"),
        ("'; DROP TABLE orders", "is no point in time"),
    ],
)
def test_what_is_no_point_is_refused(text: str, why: str) -> None:
    """One line says what is wrong with it."""
    with pytest.raises(BadUsageError, match=why):
        Target.parse(text)


def outcomes(*found: Recovery) -> dict[Budget, str]:
    """Each claim as a verdict on it would come out."""
    return {
        claim.budget: "invalid"
        if claim.observed is None
        else "met"
        if claim.budget.allows(claim.observed)
        else "broken"
        for claim in judged.claims("patroni", 2, found)
    }


def test_a_restore_that_brought_all_back_keeps_every_promise() -> None:
    """Nothing is broken, nothing without evidence."""
    assert set(outcomes(recovery(1), recovery(2)).values()) == {"met"}


@pytest.mark.parametrize(
    ("changes", "budget"),
    [
        ({"absent": 1}, judged.ABSENT),
        ({"surplus": 1}, judged.SURPLUS),
        ({"refused": 1}, judged.SURPLUS),
        ({"duplicate": 1}, judged.DUPLICATE),
        ({"differing": ("shop.orders is missing",)}, judged.DIFFERING),
        ({"complaints": ("3 rows of shop.orders break orders_fk",)}, judged.IN_ORDER),
        ({"diverged": ("restored2",)}, judged.DIVERGED),
    ],
)
def test_one_bad_restore_among_good_ones_breaks_its_promise(
    changes: dict[str, object], budget: Budget
) -> None:
    """The worst of all restores decides."""
    found = outcomes(recovery(1), recovery(2, **changes), recovery(3))
    assert found[budget] == "broken"
    assert [b for b, outcome in found.items() if outcome != "met"] == [budget]


@pytest.mark.parametrize("changes", [{"wanted": 0}, {"late": 0}])
def test_a_restore_with_nothing_to_bring_back_proves_nothing(changes: dict[str, object]) -> None:
    """Zero rows absent of none is no evidence; nor is it that none came too late."""
    found = outcomes(recovery(1), recovery(2, **changes))
    assert {found[judged.ABSENT], found[judged.SURPLUS]} == {"invalid"}


def test_a_database_that_was_not_looked_through_is_not_in_order() -> None:
    """No complaint about no index is no evidence."""
    checked = {"references": 19, "sequences": 2, "indexes": 0, "tables": 19, "roles": 5}
    assert outcomes(recovery(1, checked=checked))[judged.IN_ORDER] == "invalid"


def test_a_restore_that_never_took_a_write_has_no_time() -> None:
    """One step that is missing in one restore takes the evidence from all."""
    steps = tuple(part for part in recovery(1).steps if part.name != "first write")
    found = outcomes(recovery(1, steps=steps), recovery(2))
    assert [budget.name for budget, outcome in found.items() if outcome == "invalid"] == [
        "time to first accepted write"
    ]


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"p99_ms": 201.0}, "broken"),
        ({"load_p99_ms": 201.0}, "broken"),
        ({"load_p99_ms": float("inf")}, "broken"),
        ({"load_p99_ms": None}, "invalid"),
    ],
)
def test_a_backup_is_paid_by_whoever_waits_longest(
    changes: dict[str, object], outcome: str
) -> None:
    """The service level is the load's and the ledger's; a load that did not run proves nothing."""
    dear = recovery(2)
    dear = dear.model_copy(update={"backup": dear.backup.model_copy(update=changes)})
    assert outcomes(recovery(1), dear)[P99] == outcome


def test_a_cluster_that_was_lost_loses_the_promised_seconds_and_no_more() -> None:
    """Absent rows at the end are the promise's; older ones, or one in between, break it."""
    lost = recovery(1, absent=300, lost_seconds=62.0, late=0)

    def found(**changes: object) -> dict[str, bool | None]:
        claims = judged.claims_of_loss("patroni", 2, 70, [lost, lost.model_copy(update=changes)])
        return {
            c.budget.name: None if c.observed is None else c.budget.allows(c.observed)
            for c in claims
        }

    assert all(found().values())
    assert found(lost_seconds=70.1)["writes lost with every volume"] is False
    assert found(holes=1)["rows absent before later ones"] is False
    assert found(absent=2100)["writes lost with every volume"] is None


def test_a_standby_that_was_copied_from_the_primary_is_not_from_the_archive() -> None:
    """Patroni's second choice breaks the promise, and so does one that nobody saw."""
    made = Rebuild(
        number=1,
        member="pg2",
        method="pgbackrest",
        began=1.0,
        seconds=9.0,
        p99_ms=30.0,
        attempts_file="raw/rebuild-1/ledger.npz",
    )
    for method, kept in (("pgbackrest", True), ("basebackup", False), ("", False)):
        claim = judged.claims_of_rebuild("patroni", [made.model_copy(update={"method": method})])[0]
        assert claim.observed is not None
        assert claim.budget.allows(claim.observed) is kept
    others = [made.model_copy(update={"method": method}) for method in ("", "basebackup", "")]
    assert judged.claims_of_rebuild("patroni", [made, *others])[0] == Claim(
        judged.FROM_ARCHIVE, 3, "basebackup, unknown"
    )


def test_a_cluster_that_was_made_again_is_looked_up_again() -> None:
    """After everything was lost its addresses may be another's: a standby had the primary's."""
    clusters = iter(("before", "after"))
    platform = SimpleNamespace(cluster=lambda: next(clusters))
    context = DrillContext(cast("Any", platform), *cast("Any", [None] * 4))
    assert [str(context.cluster), str(context.cluster)] == ["before", "after"]
