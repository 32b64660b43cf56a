"""What holds of gaps, percentiles and reigns whatever a prober saw."""

import dataclasses
from itertools import pairwise
from statistics import median_low

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pgdrill.attempt_log import AttemptLog, Lane, Outcome
from pgdrill.records import LaneResult
from pgdrill.workload.attempts import NS, Attempts
from pgdrill.workload.pgbench_log import percentile
from tests.unit import made

FOR_EVER = 1e6  # seconds
values = st.lists(st.integers(0, 10**7), min_size=1, max_size=60)
per_mille = st.integers(1, 1000)


@given(values, per_mille, st.integers(0, 60))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(
    found: list[int], share: int, unanswered: int
) -> None:
    """And the value before it is exceeded by too many; unanswered ones exceed everything."""
    ascending = np.sort(np.array(found, np.int64))
    whole = len(found) + unanswered
    at = percentile(ascending, unanswered, share)
    if at is None:
        assert len(found) * 1000 < share * whole
        return
    assert at in found
    assert 1000 * int((ascending <= at).sum()) >= share * whole
    assert 1000 * int((ascending < at).sum()) < share * whole


@given(values, per_mille, per_mille, st.integers(0, 60))
def test_percentiles_rise_with_their_share_and_with_what_was_not_answered(
    found: list[int], one: int, other: int, unanswered: int
) -> None:
    """None, among the unanswered, counts as more than any value."""

    def at(share: int, missing: int) -> float:
        value = percentile(np.sort(np.array(found, np.int64)), missing, share)
        return np.inf if value is None else value

    assert at(min(one, other), unanswered) <= at(max(one, other), unanswered)
    assert at(one, unanswered) <= at(one, unanswered + 1)


@given(values)
def test_the_p50_of_latencies_is_the_p50_of_everything_else(found: list[int]) -> None:
    """Trials and restores are summed up by median_low: the same nearest rank."""
    assert percentile(np.sort(np.array(found, np.int64)), 0, 500) == median_low(found)


def at_least(lane: LaneResult) -> float:
    """For how long nobody was acknowledged, as far as that is known."""
    if lane.gap is not None:
        return lane.gap
    return FOR_EVER if lane.silence is None else lane.silence


@given(made.attempts, made.instants, st.data())
def test_a_gap_never_shrinks_when_an_ack_is_taken_away(
    attempts: Attempts, fault: float, data: st.DataObject
) -> None:
    """Nor does a silence; and where there is no gap any more, no budget can be met by it."""
    acked = attempts.of(Outcome.ACKED)
    assume(acked.size)
    gone = data.draw(st.sampled_from(list(acked)))
    fewer = made.with_outcome(attempts, int(gone["id"]), Outcome.INDETERMINATE)
    for lane in made.LANES:
        before, after = (of.lane_result(lane, (fault, FOR_EVER)) for of in (attempts, fewer))
        assert at_least(after) >= at_least(before)


@given(made.attempts, made.instants, made.instants)
def test_a_gap_lies_between_two_acks_that_follow_each_other(
    attempts: Attempts, one: float, other: float
) -> None:
    """It touches the time after the fault, and no pause that does is longer."""
    fault, end = min(one, other), max(one, other)
    for lane in made.LANES:
        found = attempts.lane_result(lane, (fault, end))
        if found.gap is None or found.last_ack_before is None or found.first_ack_after is None:
            assert found.gap is None
            continue
        assert found.silence is None
        assert found.gap >= 0
        assert abs(found.first_ack_after - found.last_ack_before - found.gap) < 1e-6
        assert found.first_ack_after > fault
        assert found.last_ack_before < max(end, fault + 1e-9)
        rows = attempts.lane_rows(lane)
        acks = np.sort(rows["ended"][rows["outcome"] == Outcome.ACKED]) / NS
        assert acks[0] <= fault, "a gap that nobody knows the beginning of"
        between = (acks > found.last_ack_before) & (acks < found.first_ack_after)
        assert not between.any()
        for before, after in pairwise(acks):
            if after > fault and before < end:
                assert after - before <= found.gap + 1e-6


@given(made.attempts, made.instants, made.instants)
def test_a_silence_is_given_only_where_acks_ended_for_good(
    attempts: Attempts, one: float, other: float
) -> None:
    """It begins with the last ack of all, and lasts no longer than somebody tried."""
    fault, end = min(one, other), max(one, other)
    for lane in made.LANES:
        rows = attempts.lane_rows(lane)
        found = attempts.lane_result(lane, (fault, end))
        if found.silence is not None:
            assert found.last_ack_before is not None
            last = max(rows["ended"][rows["outcome"] == Outcome.ACKED]) / NS
            assert found.last_ack_before == last
            tried = min(end, max(rows["ended"]) / NS)
            assert abs(found.silence - (tried - last)) < 1e-6


@given(made.attempts)
def test_a_lane_counts_each_of_its_attempts_once(attempts: Attempts) -> None:
    """By outcome, by reason, and second by second."""
    seconds = attempts.per_second()
    for lane in made.LANES:
        found = attempts.lane_result(lane, (0.0, FOR_EVER))
        size = attempts.lane_rows(lane).size
        assert found.attempts == found.acked + found.refused + found.indeterminate == size
        assert sum(found.errors.values()) == found.refused + found.indeterminate
        own = [second for second in seconds if second.lane == lane]
        assert sum(second.acks for second in own) == found.acked
        assert sum(second.refused for second in own) == found.refused
        assert sum(second.indeterminate for second in own) == found.indeterminate
        starts = [second.at for second in own]
        assert starts == sorted(set(starts))
    assert sum(s.acks + s.refused + s.indeterminate for s in seconds) == attempts.rows.size


@given(made.attempts)
def test_p99_within_everything_is_the_lanes_own(attempts: Attempts) -> None:
    """One definition, whichever way it is asked for; it is between the extremes."""
    for lane in made.LANES:
        found = attempts.lane_result(lane, (0.0, FOR_EVER))
        assert attempts.p99_ms(lane, (0.0, FOR_EVER)) == found.p99_ms
        rows = attempts.lane_rows(lane)
        acked = rows[rows["outcome"] == Outcome.ACKED]
        latency = (acked["ended"] - acked["due"]) / 1e6
        if acked.size:
            assert found.p50_ms == median_low(latency.tolist())
            assert (found.p50_ms or 0) <= (found.p99_ms or 0)
            assert found.p99_ms in latency
        else:
            assert (found.p50_ms, found.p99_ms) == (None, None)


@given(made.attempts)
def test_latencies_are_those_of_attempts_due_in_the_time(attempts: Attempts) -> None:
    """Due at its end is no longer in it."""
    due = sorted({int(d) for d in attempts.rows["due"]})
    middle = due[len(due) // 2]
    for lane in made.LANES:
        rows = attempts.lane_rows(lane)
        acked = rows[(rows["outcome"] == Outcome.ACKED) & (rows["due"] < middle)]
        found = attempts.p99_ms(lane, (0.0, middle / NS))
        assert (found is None) == (acked.size == 0)
        later = attempts.p99_ms(lane, (middle / NS, FOR_EVER))
        rest = rows[(rows["outcome"] == Outcome.ACKED) & (rows["due"] >= middle)]
        assert (later is None) == (rest.size == 0)


@given(made.attempts, st.data())
def test_one_more_ack_never_makes_two_writers_fewer(
    attempts: Attempts, data: st.DataObject
) -> None:
    """Nor do names or order matter, and one server alone is never two."""
    found = attempts.two_writers()
    assert found >= 0
    acked = attempts.of(Outcome.ACKED)
    assume(acked.size)
    gone = data.draw(st.sampled_from(list(acked)))
    fewer = made.with_outcome(attempts, int(gone["id"]), Outcome.INDETERMINATE)
    assert fewer.two_writers() <= found
    renamed = attempts.rows.copy()
    names = np.array([0, 2, 1])
    renamed["server"] = names[renamed["server"]]
    assert dataclasses.replace(attempts, rows=renamed).two_writers() == found
    assert dataclasses.replace(attempts, rows=attempts.rows[::-1]).two_writers() == found
    alone = attempts.rows.copy()
    alone["server"] = np.minimum(alone["server"], 1)
    assert dataclasses.replace(attempts, rows=alone).two_writers() == 0


@given(made.attempts, made.instants, st.floats(10, 500), st.floats(0, 1), st.data())
def test_steady_is_never_earlier_when_an_attempt_goes_wrong(
    attempts: Attempts, fault: float, limit_ms: float, window: float, data: st.DataObject
) -> None:
    """It begins after the fault with a good attempt, and a whole window was watched."""
    after = attempts.steady_after(fault, limit_ms, window)
    gone = data.draw(st.sampled_from(list(attempts.rows)))
    worse = made.with_outcome(attempts, int(gone["id"]), Outcome.REFUSED)
    then = worse.steady_after(fault, limit_ms, window)
    if after is None:
        assert then is None
        return
    assert then is None or then >= after
    assert after >= 0
    rows = attempts.rows[attempts.rows["lane"] < 2]  # the third is direct
    begins = fault + after
    first = rows[np.abs(rows["due"] / NS - begins) < 1e-6]
    good = (first["outcome"] == Outcome.ACKED) & (first["ended"] - first["due"] <= limit_ms * 1e6)
    assert good.any()
    assert max(rows["due"]) / NS >= begins + window - 1e-6


@given(made.attempts)
def test_the_schedule_error_is_one_of_an_attempt(attempts: Attempts) -> None:
    """And of a hundred attempts at most one was later."""
    late = (attempts.rows["started"] - attempts.rows["due"]) / 1e6
    found = attempts.schedule_error_p99_ms()
    assert found in late
    assert (late > found).sum() <= 0.01 * late.size


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.lists(st.integers(0, 10**12), min_size=4, max_size=4),
            st.sampled_from(Outcome),
            st.sampled_from(made.REASONS),
            st.text(max_size=5),
            st.integers(0, 2**32 - 1),
            st.integers(0, 2**32 - 1),
        ),
        max_size=20,
    )
)
def test_what_a_prober_writes_down_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: list[tuple[int, list[int], Outcome, str, str, int, int]],
) -> None:
    """Every attempt comes back from the file as it was, in the order in which it was due."""
    path = tmp_path_factory.mktemp("attempts") / "attempts.npz"
    lanes = [Lane(name, "fresh", "", 1, direct="@" in name) for name in made.LANES]
    log = AttemptLog(lanes, 2.0)
    for number, (lane, at, outcome, reason, server, timeline, position) in enumerate(drawn):
        instants = (at[0], at[1], at[2], at[3])
        log.add(number, lane, instants, outcome, reason, server, timeline, position)
    log.save(path)
    read = Attempts.load(path)
    assert read.lanes == made.LANES
    assert read.direct == {"fresh@a"}
    assert (np.diff(read.rows["due"]) >= 0).all()
    back = {
        int(row["id"]): (
            int(row["lane"]),
            [int(row[name]) for name in ("due", "started", "sent", "ended")],
            Outcome(row["outcome"]),
            read.reasons[row["reason"]],
            read.servers[row["server"]],
            int(row["timeline"]),
            int(row["position"]),
        )
        for row in read.rows
    }
    assert back == dict(enumerate(drawn))
