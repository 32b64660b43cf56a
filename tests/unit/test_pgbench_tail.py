"""Following a log that grows, and telling Prometheus of it, on lines written by hand."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from pgdrill.drills.publishing import exposition
from pgdrill.records import BOUNDS_MS
from pgdrill.workload import pgbench, pgbench_log
from pgdrill.workload.pgbench_tail import Tail, Tally

LIMIT_MS = 200
WORDS = ("skipped", "failed", "serialization", "deadlock")


def _lines(seed: int, count: int) -> str:
    """A thread's log: latencies from 0.1 ms to 30 s, one line in ten without any."""
    rng = np.random.default_rng(seed)
    latency = np.exp(rng.uniform(np.log(100), np.log(3e7), count)).astype(int)
    return "".join(
        f"0 {n} {WORDS[n % 4] if n % 10 == 0 else value} 0 {100 + n} 0 0\n"
        for n, value in enumerate(latency)
    )


def test_a_tail_counts_what_the_whole_log_holds(tmp_path: Path) -> None:
    """Read in pieces that end anywhere, two files give what the parser of whole logs finds."""
    texts = {tmp_path / f"pgbench_log.7{end}": _lines(n, 900) for n, end in enumerate(("", ".1"))}
    tail, seen = Tail(tmp_path, LIMIT_MS), [0]
    for start in range(0, max(map(len, texts.values())), 4096):
        for file, text in texts.items():
            with file.open("a") as growing:
                growing.write(text[start : start + 4096])
        seen.append(tail.tally().due)
    assert seen == sorted(seen)
    assert len(set(seen)) > 5, "it counted only at the end"
    log = pgbench_log.read(list(texts))
    whole = pgbench_log.script_result(
        "all", log.latency_us, seconds=60, limit_ms=LIMIT_MS, unsent=0, aborted=0
    )
    counted = tail.tally()
    assert counted.bad == whole.late + whole.skipped + whole.failed
    assert counted.good == whole.transactions - whole.late
    assert counted.within == tuple(
        int((log.latency_us[log.answered] <= ms * 1000).sum()) for ms in BOUNDS_MS
    )
    assert counted.answering == pytest.approx(log.latency_us[log.answered].sum() / 1e6)


def test_the_objective_is_a_bound_of_a_bucket(tmp_path: Path) -> None:
    """At the objective: good, and inside its bucket; a microsecond more: neither."""
    lines = "".join(f"0 1 {latency} 0 100 0 0\n" for latency in (199_999, 200_000, 200_001))
    (tmp_path / "pgbench_log.7").write_text(lines)
    counted = Tail(tmp_path, LIMIT_MS).tally()
    assert counted.within[BOUNDS_MS.index(LIMIT_MS)] == counted.good == 2


def test_what_no_log_names_is_bad_once(tmp_path: Path) -> None:
    """Transactions that were never sent are added to the bad, and not a second time."""
    (tmp_path / "pgbench_log.7").write_text("0 1 1000 0 100 0 0\n")
    tail = Tail(tmp_path, LIMIT_MS)
    assert [(tail.tally(3).good, tail.tally(3).bad) for _ in range(2)] == [(1, 3), (1, 3)]


def test_a_foreign_word_is_refused(tmp_path: Path) -> None:
    """A line that no pgbench writes is an error with the file's name, not a number."""
    (tmp_path / "pgbench_log.7").write_text("0 1 cancelled 0 100 0 0\n")
    with pytest.raises(ValueError, match=r"pgbench_log\.7 is no pgbench transaction log"):
        Tail(tmp_path, LIMIT_MS).tally()


def test_prometheus_accepts_the_metrics() -> None:
    """promtool finds nothing to object to in what is published."""
    text = exposition(Tally(3, 2, (1,) * len(BOUNDS_MS), 0.25), "20261124-local")
    done = subprocess.run(
        ["/usr/bin/promtool", "check", "metrics"], input=text, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_commits_of_each_script() -> None:
    """What BEGIN binds is one commit; without it every statement is one of its own."""
    found = {script.name: pgbench.commits(script.name) for script in pgbench.MIX}
    assert found == {"tpcb": 1, "shop_browse": 4, "shop_cart": 1}
