"""What attempts add up to, on schedules whose gaps and percentiles are known by construction."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.recfunctions import repack_fields

from pgdrill.attempt_log import AttemptLog, Lane, Outcome, TextTable
from pgdrill.workload import ledger
from pgdrill.workload.attempts import Attempts

STEP = 0.1  # seconds between attempts: 10/s
QUICK = 0.005  # seconds from due to the answer


class Story:
    """Writes attempts as a prober would have, at instants that the test chooses."""

    def __init__(self, path: Path, lanes: Sequence[str] = ("fresh",), direct: str = "") -> None:
        made = [Lane(name, "fresh", "", 1 / STEP, direct=name == direct) for name in lanes]
        self._log = AttemptLog(made, 2.0)
        self._path = path / "attempts.npz"
        self._number = 0

    def attempt(
        self,
        due: float,
        outcome: Outcome = Outcome.ACKED,
        *,
        took: float = QUICK,
        lane: int = 0,
        server: str = "a",
        timeline: int = 1,
        late: float = 0.0,
    ) -> None:
        """One attempt, due at some second."""
        self._number += 1
        begun = due + late
        instants = tuple(round(i * 1e9) for i in (due, begun, begun, due + took))
        acked = outcome is Outcome.ACKED
        self._log.add(
            self._number,
            lane,
            (instants[0], instants[1], instants[2], instants[3]),
            outcome,
            "" if acked else "deadline",
            server if acked else "",
            timeline if acked else 0,
        )

    def steady(self, start: float, end: float, lane: int = 0, server: str = "a") -> None:
        """Acknowledged attempts at the lane's rate."""
        for k in range(round((end - start) / STEP)):
            self.attempt(start + k * STEP, lane=lane, server=server)

    def told(self) -> Attempts:
        """Through the file, as the suites get them."""
        self._log.save(self._path)
        return Attempts.load(self._path)


def test_gap_is_the_pause_that_touches_the_fault(tmp_path: Path) -> None:
    """A longer pause outside of the window is not this fault's."""
    story = Story(tmp_path)
    story.steady(10, 12)
    story.steady(17, 20)  # 5 s of pause long before the fault
    for due in (20.0, 20.5, 21.0):
        story.attempt(due, Outcome.INDETERMINATE, took=2.0)
    story.steady(22, 25)
    result = story.told().lane_result("fresh", (19.97, 24))
    assert result.gap == pytest.approx(2.1)
    assert result.last_ack_before == pytest.approx(19.9 + QUICK)
    assert result.first_ack_after == pytest.approx(22 + QUICK)
    assert (result.attempts, result.acked, result.indeterminate, result.refused) == (83, 80, 3, 0)
    assert result.errors == {"deadline": 3}
    assert result.p50_ms == pytest.approx(QUICK * 1e3)


def test_a_pause_that_begins_after_the_trial_is_not_its_gap(tmp_path: Path) -> None:
    """However long it is: others were at work then."""
    story = Story(tmp_path)
    story.steady(10, 20)
    story.steady(27, 30)
    assert story.told().lane_result("fresh", (12, 18)).gap == pytest.approx(STEP)


def test_a_pause_that_ends_with_the_fault_or_begins_with_the_end_is_not_the_gap(
    tmp_path: Path,
) -> None:
    """An ack at the very instant of the fault is one before it."""
    story = Story(tmp_path)
    for answered in (10.5, 15.5, 18.5, 20.5, 30.5):
        story.attempt(answered - 0.5, took=0.5)
    found = story.told().lane_result("fresh", (15.5, 20.5))
    assert (found.last_ack_before, found.first_ack_after, found.gap) == (15.5, 18.5, 3.0)
    assert story.told().lane_result("fresh", (10.5, 12.0)).gap == 5.0


def test_a_lost_row_is_a_hole_if_one_begun_after_its_ack_is_there(tmp_path: Path) -> None:
    """Not one that was begun at that very instant: each may have come first."""
    story = Story(tmp_path)
    for due in (10.0, 10.5, 11.0):
        story.attempt(due, took=0.5)
    told = story.told()
    for lost, holes in ((1, 1), (2, 0), (3, 0)):
        found = ledger.loss(told, np.setdiff1d(told.rows["id"], [lost]), 12.0)
        assert (found.wanted, found.absent, found.holes) == (3, 1, holes)


def test_gap_without_a_fault_is_the_pace_of_the_lane(tmp_path: Path) -> None:
    """Where nothing happens the gap is one step, not nothing."""
    story = Story(tmp_path)
    story.steady(10, 20)
    assert story.told().lane_result("fresh", (15, 19)).gap == pytest.approx(STEP)


def test_gap_counts_when_answers_came_not_when_writes_were_due(tmp_path: Path) -> None:
    """Attempts that waited out a stall and were answered in the end are a gap all the same."""
    story = Story(tmp_path)
    story.steady(10, 15)
    for k in range(15):
        story.attempt(15 + k * STEP, took=1.5 - k * STEP + QUICK)
    story.steady(16.5, 20)
    assert story.told().lane_result("fresh", (15, 19)).gap == pytest.approx(1.6)


@pytest.mark.parametrize(
    ("parts", "failing"),
    [
        pytest.param([(16, 20)], [15.2, 15.6], id="none-before"),
        pytest.param([(10, 15)], [15.2, 16.2, 18.0], id="none-after"),
        pytest.param([(10, 15), (15.2, 16)], [16.5, 18.0], id="again-but-not-for-good"),
        pytest.param([], [14.0, 16.0], id="none-at-all"),
    ],
)
def test_gap_without_an_end_is_unknown(
    tmp_path: Path, parts: list[tuple[float, float]], failing: list[float]
) -> None:
    """A missing ack before or after is no gap at all, so that no budget can be met by it."""
    story = Story(tmp_path)
    for start, end in parts:
        story.steady(start, end)
    for due in failing:
        story.attempt(due, Outcome.REFUSED, took=1.0)
    assert story.told().lane_result("fresh", (15.1, 30)).gap is None


def test_silence_at_the_end_is_measured_as_far_as_it_was_tried(tmp_path: Path) -> None:
    """From the last ack to the last attempt's end; there is none where a gap has ended."""
    story = Story(tmp_path)
    story.steady(10, 15)
    for due in (15.2, 18.0, 44.0):
        story.attempt(due, Outcome.REFUSED, took=1.0)
    result = story.told().lane_result("fresh", (15.1, 60))
    assert result.silence == pytest.approx(30.0, abs=0.1)
    ended = Story(tmp_path)
    ended.steady(10, 15)
    ended.steady(18, 30)
    assert ended.told().lane_result("fresh", (15.1, 30)).silence is None


def test_percentiles_cover_acknowledged_attempts_from_when_they_were_due(tmp_path: Path) -> None:
    """Nearest rank: of 200 acknowledged, the 198th is the 99th percentile."""
    story = Story(tmp_path)
    for k in range(200):
        story.attempt(10 + k * STEP, took=(k + 1) / 1000)
    story.attempt(40, Outcome.REFUSED, took=2.0)
    result = story.told().lane_result("fresh", (15, 20))
    assert result.p50_ms == pytest.approx(100)
    assert result.p99_ms == pytest.approx(198)


def test_two_writers_overlap_is_measured(tmp_path: Path) -> None:
    """The old primary acknowledges writes that were sent after the new one's first ack."""
    story = Story(tmp_path, ("fresh", "fresh@a"))
    story.steady(10, 15, server="a")
    for k in range(50):
        story.attempt(14 + k * STEP, lane=1, server="b", timeline=2)
    assert story.told().two_writers() == pytest.approx(0.9 - QUICK)


def test_late_answer_of_the_old_primary_proves_no_second_writer(tmp_path: Path) -> None:
    """A write sent before the new primary's first ack may also have been committed before it."""
    story = Story(tmp_path)
    story.steady(10, 15, server="a")
    story.attempt(15, took=2.0, server="a")
    for k in range(20):
        story.attempt(16 + k * STEP, server="b", timeline=2)
    assert story.told().two_writers() == 0


def test_primary_that_comes_back_later_is_no_second_writer(tmp_path: Path) -> None:
    """A, then B, then A again on a third timeline: three reigns, one after the other."""
    story = Story(tmp_path)
    for number, server in enumerate("aba"):
        for k in range(20):
            story.attempt(10 + 5 * number + k * STEP, server=server, timeline=number + 1)
    assert story.told().two_writers() == 0


def test_an_overlap_that_is_longer_than_may_go_unseen_is_seen(tmp_path: Path) -> None:
    """Two servers take writes at once for just that long, at any phase of their lanes."""
    for phase in (0.0, 0.03, 0.07):
        story = Story(tmp_path, ("fresh", "held@a", "held@b"), direct="held@a")
        story.steady(10, 15, lane=1, server="a")
        blind = story.told().unseen_overlap() or 0.0
        assert blind == pytest.approx(2 * STEP + QUICK)
        begins = 15 - STEP - blind + phase
        for k in range(5):
            story.attempt(begins + k * STEP, lane=2, server="b", timeline=2)
        overlap = story.told().two_writers()
        assert overlap == pytest.approx(15 - STEP - begins - QUICK)
    none = Story(tmp_path, ("fresh", "held@a"), direct="held@a")
    none.steady(10, 12)
    none.attempt(11, Outcome.REFUSED, lane=1)
    none.attempt(12, Outcome.REFUSED, lane=1)
    assert none.told().unseen_overlap() is None, "it was refused everything: nobody looked"


def test_steady_begins_where_a_whole_window_is_in_time(tmp_path: Path) -> None:
    """Failures and slow answers both count; a relapse inside the window starts it anew."""
    story = Story(tmp_path, ("fresh", "fresh@b"), direct="fresh@b")
    story.steady(10, 15)
    for k in range(10):
        story.attempt(15 + k * STEP, Outcome.REFUSED, took=1.0)
    for k in range(10):
        story.attempt(16 + k * STEP, took=0.3)
    story.steady(17, 18)
    story.attempt(18, took=0.3)
    story.steady(18.1, 25)
    for k in range(100):  # a standby's refusals are no client's
        story.attempt(15 + k * STEP, Outcome.REFUSED, lane=1)
    attempts = story.told()
    assert attempts.steady_after(14.95, 200, 3) == pytest.approx(18.1 - 14.95)
    assert attempts.steady_after(14.95, 400, 3) == pytest.approx(16 - 14.95)
    assert attempts.steady_after(14.95, 200, 7.5) is None, "nobody watched for so long"
    assert attempts.steady_after(30, 200, 3) is None


def test_steady_waits_for_an_outage_that_begins_late_and_not_for_one_late_answer(
    tmp_path: Path,
) -> None:
    """A fault that strikes after a whole good window is not over before its outage is."""
    story = Story(tmp_path)
    story.steady(10, 16)
    for k in range(10):
        story.attempt(16 + k * STEP, Outcome.REFUSED)
    story.steady(17, 25)
    story.attempt(25, took=0.3)
    story.steady(25.1, 27)
    assert story.told().steady_after(10, 200, 5) == pytest.approx(7)


def test_service_is_counted_by_the_second_in_which_attempts_were_due(tmp_path: Path) -> None:
    """Refused and late ones are not in time; direct lanes and the cut last second are left out."""
    story = Story(tmp_path, ("fresh", "fresh@b"), direct="fresh@b")
    story.steady(9, 12)
    for k in range(10):
        story.attempt(12 + k * STEP, Outcome.REFUSED)
        story.attempt(12 + k * STEP, lane=1)
        story.attempt(14 + k * STEP, took=0.3 if k < 4 else QUICK)
    story.steady(15, 15.5)
    attempts = story.told()
    service = attempts.service(11, 200, 5)
    assert service.shares == (100, 0, None, 60)
    assert attempts.service(20, 200, 5).shares == ()


def test_steady_allows_one_in_a_hundred(tmp_path: Path) -> None:
    """The limit is on the 99th percentile: one slow attempt of a hundred is within it."""
    story = Story(tmp_path)
    story.steady(10, 15)
    story.attempt(15, took=0.3)
    story.steady(15.1, 40)
    attempts = story.told()
    assert attempts.steady_after(10, 200, 10) == pytest.approx(0)
    assert attempts.steady_after(10, 200, 9) == pytest.approx(5.1)


def test_attempts_that_were_due_at_once_stay_in_their_order(tmp_path: Path) -> None:
    """That in which the prober wrote them down, however many there are, and answered at once."""
    story = Story(tmp_path)
    for k in range(400):
        due, server = 10 + k % 2, f"s{k // 2 % 3}"
        story.attempt(due, took=12 - due, server=server, timeline=1 + k // 200)
    attempts = story.told()
    evens = [k + 1 for k in range(0, 400, 2)]
    assert attempts.rows["id"].tolist() == [*evens, *(k + 1 for k in evens)]
    assert [(c.before, c.after) for c in attempts.changes()] == [
        (("s0", 1), ("s1", 1)),
        (("s1", 1), ("s2", 1)),
        (("s0", 1), ("s1", 2)),
        (("s1", 2), ("s2", 2)),
        (("s2", 2), ("s0", 2)),
    ]


def test_a_pause_as_long_as_the_silence_after_it_is_the_gap(tmp_path: Path) -> None:
    """Only a silence that is longer may be a gap that has not ended."""
    for silent, gap in ((2.0, 2.0), (2.1, None)):
        story = Story(tmp_path)
        for due in (10.0, 12.0):
            story.attempt(due, took=0.0)
        story.attempt(12.0 + silent, Outcome.REFUSED, took=0.0)
        result = story.told().lane_result("fresh", (11, 60))
        assert result.gap == gap
        assert result.silence == (None if gap else pytest.approx(silent))
        assert result.last_ack_before == (10 if gap else 12)
        assert result.first_ack_after == (12 if gap else None)


def test_pauses_are_longer_than_what_is_asked_for(tmp_path: Path) -> None:
    """One that is as long is none; each lane has its own."""
    story = Story(tmp_path, ("fresh", "held"))
    for due in (10.0, 11.0, 13.0, 16.0):
        story.attempt(due, took=0.0)
        story.attempt(due + 0.5, took=0.0, lane=1)
    attempts = story.told()
    assert attempts.pauses("fresh", 1.0) == [(11, 13), (13, 16)]
    assert attempts.pauses("held", 2.0) == [(13.5, 16.5)]
    assert attempts.pauses("held", 3.0) == []


def test_percentiles_of_a_second_are_nearest_ranks(tmp_path: Path) -> None:
    """Of a hundred answers the fiftieth, and the ninety-ninth; as of an overlap unseen."""
    story = Story(tmp_path, ("held@a",), direct="held@a")
    for k in range(100):
        story.attempt(10 + k / 100, took=(k + 1) / 1000)
    attempts = story.told()
    (second,) = attempts.per_second()
    assert second.p50_ms == pytest.approx(50)
    assert second.p99_ms == pytest.approx(99)
    assert attempts.unseen_overlap() == pytest.approx(2 * 0.01 + 0.099)
    assert attempts.p99_ms("held@a", (10, 11)) == pytest.approx(99)
    assert attempts.p99_ms("held@a", (10, 10.99)) == pytest.approx(99)
    assert attempts.p99_ms("held@a", (10.01, 10.99)) == pytest.approx(99)
    assert attempts.p99_ms("held@a", (10.99, 11)) == pytest.approx(100)
    assert Story(tmp_path).told().per_second() == []


def test_any_two_of_several_servers_are_two_writers(tmp_path: Path) -> None:
    """The longest overlap counts; one server on two timelines is one."""
    story = Story(tmp_path, ("fresh", "fresh@b"), direct="fresh@b")
    for k in range(40):
        story.attempt(10 + k * STEP, server="a")
    for k in range(20):
        story.attempt(15 + k * STEP, server="b", timeline=2)
        story.attempt(16 + k * STEP, server="c", timeline=2, lane=1)
        story.attempt(16.5 + k * STEP, server="c", timeline=3, lane=1)
    assert story.told().two_writers() == pytest.approx(0.9 - QUICK)


def test_steady_service_may_end_once_in_twenty_after_its_window(tmp_path: Path) -> None:
    """At exactly that share it still is steady from the first attempt on."""
    for late, before in ((5, 0), (6, 0), (5, 10), (6, 10)):
        story = Story(tmp_path)
        for k in range(before):
            story.attempt(9 + k * STEP, Outcome.REFUSED)
        story.steady(10, 20 - late * STEP)
        for k in range(late):
            story.attempt(20 - (late - k) * STEP, Outcome.REFUSED)
        attempts = story.told()
        assert attempts.rows.size == before + 100
        assert attempts.steady_after(9, 200, 5) == (pytest.approx(1) if late == 5 else None)


def test_a_window_that_ends_with_the_last_attempt_was_watched(tmp_path: Path) -> None:
    """And an answer at the limit is in time; one that came 100 ns later is not."""
    for took, steady in ((0.2, 0), (0.2000001, None)):
        story = Story(tmp_path)
        for due in (10.0, 11.0, 12.0, 13.0):
            story.attempt(due, took=took)
        assert story.told().steady_after(10, 200, 3) == steady
    assert story.told().steady_after(10, 300, 3) == 0
    assert story.told().steady_after(10, 300, 3.1) is None


def test_a_second_in_which_nothing_was_due_or_in_time_has_its_place(tmp_path: Path) -> None:
    """At the end, too; without a client's attempt there is no second."""
    story = Story(tmp_path, ("fresh", "fresh@b"), direct="fresh@b")
    story.attempt(13, lane=1)
    assert story.told().service(10, 200, 5).shares == ()
    story.steady(10, 11)
    for k in range(10):
        story.attempt(11 + k * STEP, Outcome.REFUSED)
    story.attempt(13.5)
    assert story.told().service(10, 200, 5).shares == (100, 0, None)


def test_an_overlap_may_go_unseen_for_twice_the_interval_that_is_known(tmp_path: Path) -> None:
    """Of lanes straight to members that tried twice; of none, nothing is known."""
    story = Story(tmp_path, ("fresh", "held@a", "held@b"), direct="held@a")
    story.steady(10, 12)
    assert story.told().unseen_overlap() is None
    story.attempt(10, lane=1)
    assert story.told().unseen_overlap() is None
    story.attempt(10.4, lane=1)
    assert story.told().unseen_overlap() == pytest.approx(0.8 + QUICK)


def test_schedule_error_is_the_probers_own_lateness(tmp_path: Path) -> None:
    """99th percentile of begun minus due, not of how long the database took."""
    story = Story(tmp_path)
    for k in range(100):
        story.attempt(10 + k * STEP, took=1.0, late=k / 1000)
    assert story.told().schedule_error_p99_ms() == pytest.approx(98)


def test_nothing_attempted_is_no_perfect_schedule(tmp_path: Path) -> None:
    """An empty log raises instead of passing."""
    with pytest.raises(ValueError, match=r"^no attempts: the prober has no schedule error$"):
        Story(tmp_path).told().schedule_error_p99_ms()


def test_the_latency_of_a_lane_is_its_own_while_it_was_asked_for(tmp_path: Path) -> None:
    """Neither another lane nor what was due before or after counts; nothing at all is no zero."""
    story = Story(tmp_path, ["fresh", "held"])
    for k in range(100):
        story.attempt(10 + k * STEP, took=k / 1000, lane=1)
        story.attempt(10 + k * STEP, took=1.0)
        story.attempt(10 + (100 + k) * STEP, took=1.0, lane=1)
    attempts = story.told()
    assert attempts.p99_ms("held", (10, 10 + 100 * STEP)) == pytest.approx(98)
    assert attempts.p99_ms("held", (0, 5)) is None


def test_seconds_count_attempts_by_when_they_were_due(tmp_path: Path) -> None:
    """Each second of each lane is there, its percentiles those of its acknowledged attempts."""
    story = Story(tmp_path)
    story.steady(10, 11)
    story.attempt(11.2, Outcome.REFUSED, took=0.1)
    story.attempt(11.4, Outcome.INDETERMINATE, took=2.0)
    first, second = story.told().per_second()
    assert (first.lane, first.at, first.acks) == ("fresh", 10, 10)
    assert first.p99_ms == pytest.approx(5)
    assert (second.acks, second.refused, second.indeterminate) == (0, 1, 1)
    assert second.p50_ms is None


def test_log_keeps_every_attempt_across_its_chunks(tmp_path: Path) -> None:
    """Growing loses and repeats nothing."""
    story = Story(tmp_path)
    for k in range(70_000):
        story.attempt(float(k), Outcome.REFUSED)
    rows = story.told().rows
    assert (rows["id"] == range(1, 70_001)).all()
    assert (rows["due"] == [k * 10**9 for k in range(70_000)]).all()


def test_words_share_a_place_past_their_limit() -> None:
    """A server that makes every message different cannot fill the memory."""
    words = TextTable(limit=3)
    places = [words.place(text) for text in ("", "a", "b", "c", "d", "a")]
    assert places == [0, 1, 2, 3, 3, 1]
    assert words.all == ["", "a", "b", "others"]


def test_lane_with_a_bad_shape_is_refused() -> None:
    """A rate of zero would never be due."""
    with pytest.raises(ValueError, match="rate"):
        Lane("fresh", "fresh", "", 0)


def test_attempts_of_an_older_run_appended_to_no_list(tmp_path: Path) -> None:
    """Their file has no position; everything else is read as it was written."""
    log = AttemptLog([Lane("fresh", "fresh", "", 1)], 2.0)
    log.add(7, 0, (1, 2, 3, 4), Outcome.ACKED, "", "10.0.0.1:5432", 26, 5)
    path = tmp_path / "attempts.npz"
    log.save(path)
    with zipfile.ZipFile(path) as archive:
        meta, data = archive.read("attempts.json"), archive.read("attempts.npy")
    rows = np.load(io.BytesIO(data))
    kept = [name for name in rows.dtype.names if name != "position"]
    older = io.BytesIO()
    np.save(older, repack_fields(rows[kept]))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("attempts.json", meta)
        archive.writestr("attempts.npy", older.getvalue())
    (read,) = Attempts.load(path).rows
    assert [int(read[name]) for name in kept] == [int(rows[0][name]) for name in kept]
    assert (int(rows[0]["position"]), int(read["position"])) == (5, 0)
