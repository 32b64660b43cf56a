"""What holds of a ledger whatever was attempted and whatever is in its table."""

import dataclasses
from random import Random

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pgdrill.attempt_log import Outcome
from pgdrill.workload import ledger
from pgdrill.workload.attempts import NS, Attempts
from tests.unit import made

Held = tuple[Attempts, ledger.Ids]

CLASSES = {
    (Outcome.ACKED, True): "acked_present",
    (Outcome.ACKED, False): "acked_lost",
    (Outcome.INDETERMINATE, True): "indeterminate_present",
    (Outcome.INDETERMINATE, False): "indeterminate_absent",
    (Outcome.REFUSED, True): "refused_present",
    (Outcome.REFUSED, False): "refused_absent",
}


@given(made.held())
def test_every_attempt_is_in_one_class_and_every_row_is_accounted_for(held: Held) -> None:
    """The six classes add up to the attempts; those present and the duplicates, to the rows."""
    attempts, ids = held
    count = ledger.reconcile(attempts, ids).model_dump()
    assert sum(count[name] for name in CLASSES.values()) == attempts.rows.size
    there = [count[name] for (_, present), name in CLASSES.items() if present]
    assert sum(there) + count["duplicate"] == ids.size


@given(made.held(), st.data())
def test_one_more_row_moves_its_own_attempt_and_no_other(held: Held, data: st.DataObject) -> None:
    """It turns from absent to present, or is a duplicate: no row ever adds a loss."""
    attempts, ids = held
    row = data.draw(st.sampled_from(list(attempts.rows)))
    before = ledger.reconcile(attempts, ids).model_dump()
    after = ledger.reconcile(attempts, np.append(ids, row["id"])).model_dump()
    moved = {name: after[name] - before[name] for name in before if after[name] != before[name]}
    if row["id"] in ids:
        assert moved == {"duplicate": 1}
    else:
        outcome = Outcome(row["outcome"])
        assert moved == {CLASSES[outcome, True]: 1, CLASSES[outcome, False]: -1}


@given(made.held(), st.randoms(use_true_random=False))
def test_no_order_matters(held: Held, random: Random) -> None:
    """Neither that of the rows in the table nor that of the attempts."""
    attempts, ids = held
    places = list(range(attempts.rows.size))
    random.shuffle(places)
    shuffled = dataclasses.replace(attempts, rows=attempts.rows[places])
    mixed = np.array(random.sample(ids.tolist(), ids.size), np.int64)
    assert ledger.reconcile(shuffled, mixed) == ledger.reconcile(attempts, ids)
    point = (made.BEGIN / NS + 1, made.BEGIN / NS + 1.1)
    assert ledger.as_of(shuffled, mixed, point) == ledger.as_of(attempts, ids, point)
    assert ledger.loss(shuffled, mixed, point[0]) == ledger.loss(attempts, ids, point[0])


@given(made.held())
def test_those_named_are_those_counted(held: Held) -> None:
    """Every lost write and every phantom is named once, with its own lane, server and instants."""
    attempts, ids = held
    count = ledger.reconcile(attempts, ids)
    lost, phantoms = ledger.lost(attempts, ids), ledger.phantoms(attempts, ids)
    assert (len(lost), len(phantoms)) == (count.acked_lost, count.refused_present)
    rows = {int(row["id"]): row for row in attempts.rows}
    for one in [*lost, *phantoms]:
        row = rows.pop(one.id)
        assert (one.lane, one.server) == (made.LANES[row["lane"]], made.SERVERS[row["server"]])
        assert (one.reason, one.timeline) == (made.REASONS[row["reason"]], row["timeline"])
        assert (one.due, one.ended) == (row["due"] / NS, row["ended"] / NS)


@given(made.held(), st.integers(10_000, 10**12))
def test_a_row_that_nobody_attempted_is_an_error_and_never_a_count(
    held: Held, stranger: int
) -> None:
    """By every way of counting."""
    attempts, ids = held
    foreign = np.append(ids, stranger)
    counts = (
        lambda: ledger.reconcile(attempts, foreign),
        lambda: ledger.as_of(attempts, foreign, (1.0, 2.0)),
        lambda: ledger.loss(attempts, foreign, 1.0),
    )
    for count in counts:
        with pytest.raises(ledger.StrangerError, match=f"1 ids in the ledger .*: {stranger}$"):
            count()


@given(made.held(), made.instants, made.instants)
def test_a_point_divides_the_attempts_and_judges_each_once(
    held: Held, one: float, other: float
) -> None:
    """Wanted, late, refused and uncertain are the attempts, none twice; wrong ones are of them."""
    attempts, ids = held
    point = (min(one, other), max(one, other))
    found = ledger.as_of(attempts, ids, point)
    refused = int(np.count_nonzero(attempts.rows["outcome"] == Outcome.REFUSED))
    late_refused = np.count_nonzero(
        (attempts.rows["outcome"] == Outcome.REFUSED)
        & (attempts.rows["started"] > int(point[1] * NS))
    )
    assert (
        found.wanted + found.late + found.uncertain + refused - late_refused == attempts.rows.size
    )
    assert 0 <= found.absent <= found.wanted
    assert 0 <= found.surplus <= found.late
    assert 0 <= found.refused <= refused


@given(made.held(), made.instants, made.instants, st.data())
def test_a_row_that_comes_back_is_never_worse_before_a_point_nor_better_after(
    held: Held, one: float, other: float, data: st.DataObject
) -> None:
    """One more distinct row can only heal an absence, or be one too many."""
    attempts, ids = held
    missing = sorted(set(attempts.rows["id"].tolist()) - set(ids.tolist()))
    assume(missing)
    point = (min(one, other), max(one, other))
    more = np.append(ids, data.draw(st.sampled_from(missing)))
    before, after = ledger.as_of(attempts, ids, point), ledger.as_of(attempts, more, point)
    worse = (after.surplus + after.refused) - (before.surplus + before.refused)
    better = before.absent - after.absent
    assert (better, worse) in {(1, 0), (0, 1), (0, 0)}
    assert (before.wanted, before.late, before.uncertain, before.duplicate) == (
        after.wanted,
        after.late,
        after.uncertain,
        after.duplicate,
    )
    was, now = (ledger.loss(attempts, of, point[0]) for of in (ids, more))
    assert now.absent in (was.absent, was.absent - 1)
    assert now.seconds <= was.seconds


@given(made.held(), made.instants)
def test_a_loss_is_no_longer_than_since_the_first_acknowledged_row(held: Held, at: float) -> None:
    """Nothing absent is no loss; holes are among the absent; seconds begin with an absent row."""
    attempts, ids = held
    found = ledger.loss(attempts, ids, at)
    assert 0 <= found.holes <= found.absent <= found.wanted
    acked = attempts.of(Outcome.ACKED)
    earlier = [
        row for row in acked if row["ended"] <= int(at * NS) and row["id"] not in ids.tolist()
    ]
    assert found.absent == len(earlier)
    longest = max((at - int(row["ended"]) / NS for row in earlier), default=0.0)
    assert found.seconds == pytest.approx(longest)
    if found.absent == found.wanted:
        assert found.holes == 0, "nothing is there that could be later"


@given(made.held(), made.instants, st.floats(0, 1))
def test_neighbours_were_under_way_near_the_instant(held: Held, at: float, reach: float) -> None:
    """All of those and no others, in order; all of them where the reach has no end."""
    attempts, ids = held
    found = ledger.near(attempts, ids, at, reach)
    assert all(one.ended >= -reach and one.began <= reach for one in found)
    assert [one.began for one in found] == sorted(one.began for one in found)
    everything = ledger.near(attempts, ids, at, 1e6)
    assert len(everything) == attempts.rows.size
    assert sum(one.there for one in everything) == np.unique(ids).size
    assert len(found) == sum(one.ended >= -reach and one.began <= reach for one in everything)


@given(made.held(), made.instants, made.instants)
def test_a_point_is_judged_as_by_a_plain_count_row_by_row(
    held: Held, one: float, other: float
) -> None:
    """What ended at the first instant is wanted, what began at the second is not late."""
    attempts, ids = held
    before, after = (int(at * NS) for at in sorted((one, other)))
    there = set(ids.tolist())
    counts = dict.fromkeys(("wanted", "absent", "late", "surplus", "refused", "uncertain"), 0)
    for row in attempts.rows:
        present = int(row["id"]) in there
        late = row["started"] > after
        wanted = row["outcome"] == Outcome.ACKED and row["ended"] <= before
        refused = row["outcome"] == Outcome.REFUSED and not late
        counts["wanted"] += bool(wanted)
        counts["absent"] += bool(wanted and not present)
        counts["late"] += bool(late)
        counts["surplus"] += bool(late and present)
        counts["refused"] += bool(refused and present)
        counts["uncertain"] += not (wanted or late or refused)
    found = ledger.as_of(attempts, ids, (before / NS, after / NS))
    assert dataclasses.asdict(found) == counts | {"duplicate": len(ids) - len(there)}


@given(made.held(), made.instants)
def test_a_loss_is_counted_as_by_a_plain_count_row_by_row(held: Held, at: float) -> None:
    """A hole was acknowledged before a row began that is there, and not in the same instant."""
    attempts, ids = held
    there = set(ids.tolist())
    acked = [
        row for row in attempts.rows if row["outcome"] == Outcome.ACKED and row["ended"] <= at * NS
    ]
    absent = [row for row in acked if int(row["id"]) not in there]
    last = max((row["started"] for row in acked if int(row["id"]) in there), default=0)
    found = ledger.loss(attempts, ids, at)
    assert (found.wanted, found.absent) == (len(acked), len(absent))
    assert found.holes == sum(row["ended"] < last for row in absent)


@given(made.held(), made.instants, st.integers(0, 30))
def test_neighbours_are_told_as_they_were(held: Held, at: float, ticks: int) -> None:
    """From the instant, with their outcome; one that only touches the reach is one of them."""
    attempts, ids = held
    reach = ticks * made.TICK
    middle = int(at * NS)
    rows = [
        row
        for row in attempts.rows
        if row["ended"] >= middle - reach and row["started"] <= middle + reach
    ]
    told = [
        (
            (int(row["started"]) - middle) / NS,
            (int(row["ended"]) - middle) / NS,
            Outcome(row["outcome"]).name.lower(),
            int(row["id"]) in set(ids.tolist()),
        )
        for row in rows
    ]
    found = ledger.near(attempts, ids, at, reach / NS)
    assert sorted((n.began, n.ended, n.outcome, n.there) for n in found) == sorted(told)


def test_what_is_strange_about_a_ledger_is_told_with_examples() -> None:
    """Five of the ids that no attempt has; and how many ids there are for the attempts."""
    attempts = made.attempts_of([made.acked(due) for due in range(3)])
    with pytest.raises(ledger.StrangerError) as caught:
        ledger.reconcile(attempts, np.arange(1, 11))
    assert str(caught.value) == "7 ids in the ledger are no attempt's: 4, 5, 6, 7, 8"
    doubled = dataclasses.replace(attempts, rows=np.concatenate([attempts.rows, attempts.rows[:1]]))
    with pytest.raises(ValueError, match=r"^4 attempts, but 3 ids$"):
        ledger.reconcile(doubled, np.empty(0, np.int64))
