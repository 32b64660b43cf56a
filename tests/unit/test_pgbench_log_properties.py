"""What holds of pgbench's logs of every version, whole, cut off, or of another kind."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdrill.records import ScriptResult
from pgdrill.workload import pgbench_log
from pgdrill.workload.pgbench_log import FAILED, SKIPPED
from pgdrill.workload.pgbench_tail import Tail

SECOND = 1_000_000
FILE = Path("pgbench_log.7")
# The words that each version writes in the place of a latency; all with --failures-detailed but the
# second (pgbench manual, Per-Transaction Logging).
WORDS = {
    14: {"skipped": SKIPPED},
    15: {"skipped": SKIPPED, "failed": FAILED, "serialization": FAILED, "deadlock": FAILED},
    19: {
        "skipped": SKIPPED,
        "failed": FAILED,
        "serialization": FAILED,
        "deadlock": FAILED,
        "other": FAILED,
    },
}


@dataclass(frozen=True)
class Line:
    """One transaction as pgbench knows it."""

    client: int
    number: int
    time: int | str  # microseconds, or a word
    script: int
    done: int  # microseconds of Unix time
    lag: int
    retries: int

    def text(self, *, retried: bool) -> str:
        """Return it as pgbench writes it; retried: with --max-tries, of version 15 on."""
        shown = [self.client, self.number, self.time, self.script]
        shown += [self.done // SECOND, self.done % SECOND, self.lag]
        return " ".join(map(str, [*shown, self.retries] if retried else shown)) + "\n"


def lines(version: int) -> st.SearchStrategy[Line]:
    """Return transactions that a version may log."""
    latency = st.integers(0, 10**9)
    return st.builds(
        Line,
        client=st.integers(0, 500),
        number=st.integers(0, 10**7),
        time=latency | st.sampled_from(sorted(WORDS[version])),
        script=st.integers(0, 9),
        done=st.integers(10**15, 2 * 10**15),
        lag=st.integers(0, 10**8),
        retries=st.integers(0, 5),
    )


logs = st.sampled_from(sorted(WORDS)).flatmap(
    lambda version: st.tuples(
        st.just(version),
        st.booleans() if version > 14 else st.just(False),
        st.lists(lines(version), max_size=30),
    )
)
Drawn = tuple[int, bool, list[Line]]


def render(drawn: Drawn) -> bytes:
    """Return the log's text."""
    _, retried, found = drawn
    return "".join(line.text(retried=retried) for line in found).encode()


def read_back(text: bytes) -> list[tuple[int, ...]]:
    """Parse, one tuple a transaction: latency or code, script, end."""
    latency, script, seconds, micros = pgbench_log.columns(text, FILE)
    return [
        *zip(latency.tolist(), script.tolist(), (seconds * SECOND + micros).tolist(), strict=True)
    ]


def meant(drawn: Drawn) -> list[tuple[int, ...]]:
    """The same of what pgbench meant."""
    version, _, found = drawn
    words = WORDS[version]
    return [
        (line.time if isinstance(line.time, int) else words[line.time], line.script, line.done)
        for line in found
    ]


@given(logs)
def test_what_a_version_writes_is_what_is_read(drawn: Drawn) -> None:
    """Of every version, with retries or without."""
    assert read_back(render(drawn)) == meant(drawn)


@given(logs, st.data())
def test_a_log_that_was_cut_off_keeps_its_whole_lines(drawn: Drawn, data: st.DataObject) -> None:
    """Wherever it was cut: half a line is no transaction."""
    text = render(drawn)
    part = text[: data.draw(st.integers(0, len(text)))]
    assert read_back(part) == meant(drawn)[: part.count(b"\n")]


@given(logs, st.data())
def test_following_a_log_counts_what_reading_it_whole_does(
    tmp_path_factory: pytest.TempPathFactory, drawn: Drawn, data: st.DataObject
) -> None:
    """Whatever was flushed when somebody looked."""
    directory = tmp_path_factory.mktemp("logs")
    text = render(drawn)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    tail = Tail(directory, 200)
    for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        with (directory / "pgbench_log.7").open("ab") as file:
            file.write(text[begin:end])
        seen = tail.tally()
    latencies = [latency for latency, _, _ in meant(drawn)]
    good = [one for one in latencies if 0 <= one <= 200_000]
    assert (seen.good, seen.due) == (len(good), len(latencies))
    assert seen.answering == pytest.approx(sum(max(0, one) for one in latencies) / 1e6)
    assert list(seen.within) == sorted(seen.within)


def aggregated(numbers: list[int], *, version: int, paced: bool) -> str:
    """Return a line of --aggregate-interval: no transaction, but a sum of some."""
    start, count, total, squares, least, most, *rest = numbers
    shown = [start, count, total, squares, least, most]
    if version > 14:  # lag, skipped, retried, retries, serialization, deadlock: all always there
        shown += rest[:9]
    elif paced:
        shown += rest[:4]
    return " ".join(map(str, shown)) + "\n"


@given(
    st.integers(1_600_000_000, 1_900_000_000),
    st.lists(st.integers(0, 10**6), min_size=14, max_size=14),
    st.sampled_from([14, 15, 19]),
    st.booleans(),
)
def test_an_aggregated_log_is_refused(
    start: int, numbers: list[int], version: int, paced: bool
) -> None:
    """Its sums would be read as latencies."""
    text = aggregated([start, *numbers], version=version, paced=paced)
    with pytest.raises(ValueError, match=r"^pgbench_log\.7 is no pgbench transaction log"):
        pgbench_log.columns(text.encode(), FILE)


HOSTILE: dict[str, Callable[[str], str]] = {
    "a word in another column": lambda line: line.replace(" 0 ", " skipped "),
    "a negative latency": lambda line: line.replace("1500", "-1"),
    "a fraction": lambda line: line.replace("1500", "1.5"),
    "microseconds of more than a second": lambda line: line.replace("250000", "1000000"),
    "a comment": lambda line: "#" + line,
    "the end of the line commented out": lambda line: line.replace(" 700", " #700"),
    "a word in the first column": lambda line: line.replace("3 12", "3 failed"),
    "a number too large": lambda line: line.replace("1500", "9" * 30),
    "an empty line": lambda line: "\n" + line,
    "too few columns": lambda line: line.replace(" 250000 700", ""),
    "too many columns": lambda line: line.replace("\n", " 1 2\n"),
    "no number at all": lambda line: line.replace("1500", "\x00\x00\x00"),
}


@pytest.mark.parametrize("how", HOSTILE)
def test_a_line_that_no_pgbench_writes_is_refused(how: str) -> None:
    """In the midst of good ones, each is an error that names the file, and no transaction."""
    good = "3 12 1500 0 1700000000 250000 700\n"
    assert len(read_back((good * 3).encode())) == 3
    bad = HOSTILE[how](good)
    assert bad != good
    with pytest.raises(ValueError, match=r"^pgbench_log\.7 is no pgbench transaction log"):
        pgbench_log.columns(f"{good}{bad}{good}".encode(), FILE)


@given(st.binary(max_size=80), logs)
def test_bytes_of_any_kind_are_transactions_or_an_error(noise: bytes, drawn: Drawn) -> None:
    """Nothing else: no warning, no other exception, no negative latency but the two codes."""
    try:
        found = read_back(render(drawn) + noise + b"\n")
    except ValueError as error:
        assert str(error).startswith("pgbench_log.7 is no pgbench transaction log")  # noqa: PT017
        return
    assert found[: len(drawn[2])] == meant(drawn)
    assert all(latency >= FAILED and script >= 0 for latency, script, _ in found)


@st.composite
def runs(draw: st.DrawFn) -> tuple[pgbench_log.Log, pgbench_log.Window]:
    """Return a log of some threads within the schedule of its run."""
    start, seconds = 1_700_000_000 * SECOND, draw(st.integers(1, 20))
    threads = draw(st.integers(1, 3))
    shape = st.tuples(
        st.integers(0, seconds * SECOND - 1),
        st.integers(0, SECOND) | st.sampled_from([SKIPPED, FAILED]),
        st.integers(0, threads - 1),
    )
    found = np.array(draw(st.lists(shape, max_size=40)), np.int64).reshape(-1, 3)
    due, latency, thread = found.T
    log = pgbench_log.Log(latency, np.zeros_like(due), start + due, thread)
    rate = draw(st.integers(1, 100))
    return log, pgbench_log.Window(start, start + seconds * SECOND, float(rate), threads)


Run = tuple[pgbench_log.Log, pgbench_log.Window]


@given(runs(), st.integers(1, 500))
def test_every_transaction_is_in_the_second_in_which_it_was_due(
    run_directory: Run, limit: int
) -> None:
    """Slices add up to the whole: answered ones, and all that were bad, sent or not."""
    log, window = run_directory
    unsent = window.unsent(log, limit)
    slices = pgbench_log.slices(log, unsent, window, limit)
    whole = pgbench_log.script_result(
        "all", log.latency_us, seconds=9, limit_ms=limit, unsent=unsent.size, aborted=0
    )
    assert len(slices) == window.seconds
    assert [piece.second for piece in slices] == list(range(len(slices)))
    assert sum(piece.transactions for piece in slices) == whole.transactions
    assert sum(piece.bad for piece in slices) == whole.late + whole.skipped + whole.failed
    for piece in slices:
        due = (log.due_us - window.start_us) // SECOND == piece.second
        assert piece.transactions == int((due & (log.latency_us >= 0)).sum())
        assert (piece.p99_ms is None) == (piece.transactions == 0)
        assert piece.p50_ms is None or piece.p50_ms <= (piece.p99_ms or 0)


@given(runs(), st.integers(1, 500))
def test_what_was_never_sent_was_due_after_what_its_thread_sent_last(
    run_directory: Run, limit: int
) -> None:
    """A thread never sends more than its share of the rate; a transaction more is never worse."""
    log, window = run_directory
    unsent = window.unsent(log, limit)
    assert all(window.start_us <= due <= window.end_us for due in unsent)
    assert unsent.size <= window.rate * window.seconds
    late = pgbench_log.Log(
        np.append(log.latency_us, 0),
        np.append(log.script, 0),
        np.append(log.due_us, window.end_us),
        np.append(log.thread, 0),
    )
    assert window.unsent(late, limit).size <= unsent.size


@given(
    st.lists(st.integers(0, 10**7) | st.sampled_from([SKIPPED, FAILED]), min_size=1),
    st.integers(0, 50),
    st.integers(0, 50),
    st.randoms(use_true_random=False),
)
def test_a_script_counts_each_transaction_once(
    latencies: list[int], unsent: int, aborted: int, random: Random
) -> None:
    """Answered, skipped or failed; late ones are among the answered; no order matters."""

    def result(found: list[int], more: int = 0) -> ScriptResult:
        return pgbench_log.script_result(
            "all",
            np.array(found, np.int64),
            seconds=60,
            limit_ms=200,
            unsent=unsent + more,
            aborted=aborted,
        )

    one = result(latencies)
    due = one.transactions + one.skipped + one.failed
    assert due == len(latencies) + unsent + aborted
    assert one.skipped == latencies.count(SKIPPED) + unsent
    assert one.failed == latencies.count(FAILED) + aborted
    assert one.late == sum(latency > 200_000 for latency in latencies)
    assert one.tps * 60 == pytest.approx(one.transactions)
    shares = (one.p50_ms, one.p95_ms, one.p99_ms, one.p999_ms)
    assert list(shares) == sorted(shares)
    random.shuffle(latencies)
    assert result(latencies) == one
    worse = result(latencies, more=1)
    assert worse.p99_ms >= one.p99_ms
