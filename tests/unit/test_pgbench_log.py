"""The log parser and its arithmetic, on lines written by hand."""

from pathlib import Path

import numpy as np
import pytest

from pgdrill.judge import bench as judged
from pgdrill.records import Bench
from pgdrill.workload import pgbench_log

SECOND = 1_000_000


def _log(directory: Path, *files: str) -> pgbench_log.Log:
    paths = [directory / f"pgbench_log.7.{number}" for number in range(len(files))]
    for path, text in zip(paths, files, strict=True):
        path.write_text(text)
    return pgbench_log.read(paths)


def _steady(seconds: float, rate: float, latency_us: int = 1000) -> str:
    """One thread's log: evenly due transactions from Unix second 100 on."""
    due = [100 * SECOND + int(n * SECOND / rate) for n in range(int(seconds * rate))]
    lines = (
        f"0 {n} {latency_us} 0 {(at + latency_us) // SECOND} {(at + latency_us) % SECOND} 3\n"
        for n, at in enumerate(due)
    )
    return "".join(lines)


def test_words_stand_for_transactions_without_latency(tmp_path: Path) -> None:
    """skipped, failed, serialization and deadlock are told apart from answered transactions."""
    log = _log(
        tmp_path,
        "0 1 4200 1 100 5000 7\n0 2 skipped 0 101 0 0\n1 1 failed 0 101 1 0\n",
        "2 1 serialization 1 102 0 0\n2 2 deadlock 1 102 5 0\n3 1 800 0 103 0 1",
    )
    assert log.latency_us.tolist() == [4200, -1, -2, -2, -2]
    assert log.script.tolist() == [1, 0, 0, 1, 1]
    assert log.thread.tolist() == [0, 0, 0, 1, 1]


def test_a_transaction_belongs_to_its_scheduled_start(tmp_path: Path) -> None:
    """The logged end less the latency, lag included; the end itself where there is no latency."""
    log = _log(tmp_path, "0 1 1500000 0 102 250000 1400000\n0 2 skipped 0 103 0 0\n")
    assert log.due_us.tolist() == [100 * SECOND + 750_000, 103 * SECOND]


def test_a_foreign_word_is_refused_by_file_name(tmp_path: Path) -> None:
    """A word that no pgbench writes is an error that names the file, not a number."""
    for line in ("0 1 cancelled 0 100 0 0\n", "0 1 4200 0 100 0 0 # 7\n"):
        with pytest.raises(ValueError, match=r"pgbench_log\.7\.0 is no pgbench transaction log"):
            _log(tmp_path, line)


@pytest.mark.parametrize(
    ("per_mille", "expected"),
    [
        pytest.param(500, 50, id="p50"),
        pytest.param(990, 99, id="p99"),
        pytest.param(999, 100, id="p99.9"),
        pytest.param(1000, 100, id="max"),
        pytest.param(1, 1, id="least"),
    ],
)
def test_percentiles_are_nearest_rank(per_mille: int, expected: int) -> None:
    """A percentile is the value at rank ceil(p x n), exactly, never an interpolation."""
    assert pgbench_log.percentile(np.arange(1, 101), 0, per_mille) == expected


def test_percentiles_of_the_union_match_a_plain_count(tmp_path: Path) -> None:
    """p99 over several files is the smallest value that 99 % of all values do not exceed."""
    values = np.random.default_rng(5).integers(100, 90_000, 3001)
    texts = [
        "".join(f"0 {n} {v} 0 100 0 0\n" for n, v in enumerate(part))
        for part in np.array_split(values, 3)
    ]
    log = _log(tmp_path, *texts)
    by_hand = min(v for v in values if (values <= v).sum() >= 0.99 * values.size)
    assert pgbench_log.percentile(np.sort(log.latency_us), 0, 990) == by_hand


def test_unanswered_transactions_weigh_as_the_slowest() -> None:
    """With 2 % unanswered, p95 is a measured value and p99 is the length of the run."""
    latency = np.array([1000] * 98 + [pgbench_log.FAILED, pgbench_log.SKIPPED])
    result = pgbench_log.script_result(
        "all", latency, seconds=60, limit_ms=200, unsent=0, aborted=0
    )
    assert (result.p95_ms, result.p99_ms) == (1.0, 60_000.0)
    assert (result.transactions, result.skipped, result.failed) == (98, 1, 1)


def test_late_means_above_the_limit() -> None:
    """A transaction at the limit is in time, one microsecond more is late."""
    latency = np.array([200_000, 200_001, 199_999])
    result = pgbench_log.script_result("all", latency, seconds=1, limit_ms=200, unsent=0, aborted=0)
    assert result.late == 1


def test_the_silent_tail_is_counted(tmp_path: Path) -> None:
    """What was due after the last transaction of a dead run is unsent: 6 s at 100/s."""
    log = _log(tmp_path, _steady(4, 50), _steady(4, 50))
    window = pgbench_log.Window(100 * SECOND, 110 * SECOND, rate=100, threads=2)
    unsent = window.unsent(log, limit_ms=200)
    assert unsent.size == pytest.approx(600, abs=4)
    bad = [s.bad for s in pgbench_log.slices(log, unsent, window, 200)]
    assert bad[:4] == [0, 0, 0, 0]
    assert bad[4:] == pytest.approx([100] * 6, abs=4)


def test_a_thread_without_a_line_sent_nothing(tmp_path: Path) -> None:
    """An empty file counts as a thread whose whole schedule was unsent."""
    log = _log(tmp_path, _steady(10, 50), "")
    window = pgbench_log.Window(100 * SECOND, 110 * SECOND, rate=100, threads=2)
    assert window.unsent(log, limit_ms=200).size == 500


def test_a_whole_run_has_no_tail(tmp_path: Path) -> None:
    """A run that reached its end has nothing unsent: gaps that chance explains are no loss."""
    log = _log(tmp_path, _steady(9.8, 50), _steady(10, 50))
    window = pgbench_log.Window(100 * SECOND, 110 * SECOND, rate=100, threads=2)
    assert window.unsent(log, limit_ms=200).size == 0


def test_slices_cover_every_second(tmp_path: Path) -> None:
    """A second in which nothing was due still has its slice, without percentiles."""
    text = "0 1 1000 0 100 1000 0\n0 2 300000 0 102 800000 0\n"
    log = _log(tmp_path, text)
    window = pgbench_log.Window(100 * SECOND, 103 * SECOND, rate=1, threads=1)
    found = pgbench_log.slices(log, np.empty(0, np.int64), window, 200)
    assert [(s.transactions, s.bad, s.p99_ms) for s in found] == [
        (1, 0, 1.0),
        (0, 0, None),
        (1, 1, 300.0),
    ]


def test_a_script_is_summed_up_in_milliseconds() -> None:
    """Unsent ones count as skipped, those of aborted clients as failed; all of them as slowest."""
    latency = np.array([*range(1000, 101_000, 1000), pgbench_log.SKIPPED, pgbench_log.FAILED])
    found = pgbench_log.script_result("x", latency, seconds=50, limit_ms=90, unsent=3, aborted=4)
    assert found.model_dump() == {
        "script": "x",
        "transactions": 100,
        "tps": 2,
        "mean_ms": 50.5,
        "p50_ms": 55,
        "p95_ms": 50_000,
        "p99_ms": 50_000,
        "p999_ms": 50_000,
        "late": 10,
        "skipped": 4,
        "failed": 5,
    }
    many = np.arange(1000, 1_001_000, 1000)
    found = pgbench_log.script_result("x", many, seconds=50, limit_ms=1, unsent=0, aborted=0)
    assert (found.p50_ms, found.p95_ms, found.p99_ms, found.p999_ms) == (500, 950, 990, 999)
    none = pgbench_log.script_result(
        "x", np.array([pgbench_log.FAILED]), seconds=50, limit_ms=1, unsent=0, aborted=0
    )
    assert (none.mean_ms, none.p50_ms, none.tps, none.transactions) == (50_000, 50_000, 0, 0)


def test_a_second_has_the_percentiles_of_what_was_due_in_it_and_answered() -> None:
    """By nearest rank; what was given up or came late is bad in the second it was due in."""
    due = [*(100 * SECOND + n for n in range(100)), *(101 * SECOND + n for n in range(3))]
    latency = [*((n + 1) * 1000 for n in range(100)), 200_000, 200_001, pgbench_log.FAILED]
    zero = np.zeros(len(due), np.int64)
    log = pgbench_log.Log(np.array(latency), zero, np.array(due), zero)
    window = pgbench_log.Window(100 * SECOND, 102 * SECOND + 1, rate=50, threads=1)
    unsent = np.array([99 * SECOND, 102 * SECOND, 200 * SECOND])
    found = pgbench_log.slices(log, unsent, window, 200)
    assert [s.model_dump() for s in found] == [
        {"second": 0, "transactions": 100, "bad": 1, "p50_ms": 50, "p99_ms": 99},
        {"second": 1, "transactions": 2, "bad": 2, "p50_ms": 200, "p99_ms": 200.001},
        {"second": 2, "transactions": 0, "bad": 2, "p50_ms": None, "p99_ms": None},
    ]
    short = pgbench_log.Window(100 * SECOND, 100 * SECOND, rate=50, threads=1)
    (whole,) = pgbench_log.slices(log, unsent, short, 200)
    assert (whole.second, whole.transactions, whole.bad) == (0, 102, 5)


@pytest.mark.parametrize(
    ("silent", "limit_ms", "unsent"),
    [(14.0, 200, 0), (14.1, 200, 14), (20.0, 20_000, 0), (20.1, 20_000, 20)],
)
def test_a_tail_is_unsent_where_neither_chance_nor_the_limit_explains_it(
    silent: float, limit_ms: float, unsent: int
) -> None:
    """Fourteen mean gaps, or the latency limit; its starts lie evenly up to the end."""
    last = 100 * SECOND
    log = pgbench_log.Log(*(np.array([value]) for value in (1000, 0, last, 0)))
    end = last + int(silent * SECOND)
    window = pgbench_log.Window(last - SECOND, end, rate=1, threads=1)
    found = window.unsent(log, limit_ms)
    assert found.size == unsent
    assert window.seconds == silent + 1
    if unsent:
        step = silent * SECOND / unsent
        assert found.tolist() == [int(end - n * step) for n in range(unsent)]


def test_bad_is_late_plus_skipped_plus_failed_of_all_due() -> None:
    """3 bad of 1000 due is 0.3 %: none of the three kinds is left out, none counted twice."""
    latency = np.array([1000] * 997 + [250_000, pgbench_log.FAILED])
    every = pgbench_log.script_result("all", latency, seconds=10, limit_ms=200, unsent=1, aborted=0)
    bench = Bench(
        started_at=0,
        duration=10,
        clients=1,
        scale=1,
        rate=100,
        calibration_tps=200,
        latency_limit_ms=200,
        scripts=(every,),
        aborted_clients=0,
        exit_status=0,
        slices=(),
    )
    claim = judged.bad_transactions(bench)
    assert claim.observed == pytest.approx(0.3)
    assert claim.note == "1 late, 1 skipped, 1 failed of 1000"


def test_the_lag_is_of_what_was_answered(tmp_path: Path) -> None:
    """The time from a scheduled start until it was sent, in microseconds, of each answer alone."""
    log = tmp_path / "log"
    log.write_text(
        "0 1 900 0 100 5 30\n0 2 skipped 0 100 6 9999\n1 1 800 1 100 7 50\n1 2 0 1 100 8 0\n"
    )
    assert pgbench_log.schedule_lag(log).tolist() == [30, 50, 0]
    log.write_text("0 1 cancelled 0 100 0 0\n")
    with pytest.raises(ValueError, match=f"{log} is no pgbench transaction log"):
        pgbench_log.schedule_lag(log)
