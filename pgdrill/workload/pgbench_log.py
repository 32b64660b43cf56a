"""Reading pgbench's per-transaction logs: exact percentiles, and everything that went wrong.

The log's `time` is the latency from the *scheduled* start when pgbench runs with --rate, so a
stall is charged to every transaction that was due in it (pgbench manual, option --rate).
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pgdrill.records import ScriptResult, Slice

# Codes for the words in the time column of a transaction that has no latency.
SKIPPED: Final = -1
FAILED: Final = -2
WORDS: Final = {
    b" skipped ": SKIPPED,
    b" failed ": FAILED,
    b" serialization ": FAILED,
    b" deadlock ": FAILED,
    b" other ": FAILED,  # of version 19 on, with --continue-on-error
}
# Longest gap of a Poisson schedule that chance still explains, in mean gaps: e^-14 < 1e-6.
LONGEST_GAP: Final = 14

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Log:
    """Transactions in no particular order, one array for each column.

    latency_us holds SKIPPED or FAILED where there is no latency; due_us is the scheduled start
    (of those two: the moment they were given up) in microseconds of Unix time.
    """

    latency_us: Ints
    script: Ints
    due_us: Ints
    thread: Ints

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Which transactions were committed."""
        return self.latency_us >= 0

    @property
    def done_us(self) -> Ints:
        """When each was answered or given up, in microseconds of Unix time."""
        return self.due_us + np.maximum(self.latency_us, 0)


def read(files: Sequence[Path]) -> Log:
    """Read the log of a run: one file for each pgbench thread.

    Raises:
        ValueError: a file is not such a log.
    """
    found = [columns(file.read_bytes(), file) for file in files]
    latency, script, seconds, micros = np.concatenate(found, axis=1)
    done = seconds * 1_000_000 + micros
    thread = np.repeat(np.arange(len(files)), [c.shape[1] for c in found])
    return Log(latency, script, done - np.maximum(latency, 0), thread)


def schedule_lag(file: Path) -> Ints:
    """Read the microseconds from each answered transaction's scheduled start until it was sent.

    Raises:
        ValueError: the file is no such log.
    """
    found = _parse(file.read_bytes(), file)
    lag: Ints = found[6][found[2] >= 0]
    return lag


def columns(text: bytes, file: Path) -> Ints:
    """Parse the whole lines of a log: latency, script, seconds and microseconds of the end.

    Raises:
        ValueError: it is no such log; the message names the file.
    """
    return _parse(text, file)[2:6]


def _parse(text: bytes, file: Path) -> Ints:
    """Parse the whole lines of a log, every column of them.

    Raises:
        ValueError: it is no such log; the message names the file.
    """
    text = text[: text.rfind(b"\n") + 1]  # a killed pgbench leaves half a line
    if not text:
        return np.empty((7, 0), dtype=np.int64)
    rows = text.count(b"\n")
    try:
        if b"-" in text or text.isspace():
            raise ValueError("it holds negative numbers, or none")
        for word, code in WORDS.items():
            text = text.replace(word, b" %d " % code)
        # Columns: client, number, time, script, epoch seconds, microseconds, lag, and with
        # --max-tries the number of retries. Aggregated logs have fewer, or more.
        found = np.loadtxt(io.BytesIO(text), np.int64, comments=None, ndmin=2).T
        if found.shape[0] not in (7, 8) or found.shape[1] != rows:
            raise ValueError(f"{found.shape[1]} transactions of {found.shape[0]} columns")
        if np.delete(found, 2, axis=0).min() < 0 or found[5].max() >= 1_000_000:
            raise ValueError("a word, or more than a second, where it cannot be")
    except ValueError as error:
        raise ValueError(f"{file} is no pgbench transaction log: {error}") from None
    return found


@dataclass(frozen=True)
class Window:
    """The schedule of a run: from its first due transaction to its planned end."""

    start_us: int
    end_us: int
    rate: float  # transactions due per second, all threads together
    threads: int

    @property
    def seconds(self) -> float:
        """Length of the schedule."""
        return (self.end_us - self.start_us) / 1e6

    def unsent(self, log: Log, limit_ms: float) -> Ints:
        """Scheduled starts (Unix microseconds) of what was due and never sent.

        pgbench does not report what is still waiting at its planned end, nor what was due after its
        last client aborted. A thread works through its schedule in order:
        what lies between its last transaction and the end was not sent, unless that is less than
        the latency limit or a gap that chance explains.
        """
        rate = self.rate / self.threads
        allowed = max(limit_ms / 1e3, LONGEST_GAP / rate)
        parts = [np.empty(0, dtype=np.int64)]
        for thread in range(self.threads):
            due = log.due_us[log.thread == thread]
            last = int(due.max()) if due.size else self.start_us
            gap = (self.end_us - last) / 1e6
            if gap > allowed:
                starts = np.linspace(self.end_us, last, int(gap * rate), endpoint=False)
                parts.append(starts.astype(np.int64))
        return np.concatenate(parts)


def percentile(ascending: Ints, unanswered: int, per_mille: int) -> int | None:
    """Nearest-rank percentile of ascending values; None: it falls among the unanswered.

    Unanswered transactions count as slower than every answered one.
    """
    rank = -(-(ascending.size + unanswered) * per_mille // 1000)
    return int(ascending[rank - 1]) if 0 < rank <= ascending.size else None


def script_result(
    name: str, latency_us: Ints, *, seconds: float, limit_ms: float, unsent: int, aborted: int
) -> ScriptResult:
    """Sum up one script's transactions.

    A percentile that falls among unanswered transactions is given as the length of the run: the
    longest possible wait. The mean is over answered ones only. Unsent ones count as skipped, those
    of aborted clients as failed.
    """
    answered = np.sort(latency_us[latency_us >= 0])
    skipped = int((latency_us == SKIPPED).sum()) + unsent
    failed = int((latency_us == FAILED).sum()) + aborted

    def ms(per_mille: int) -> float:
        value = percentile(answered, skipped + failed, per_mille)
        return seconds * 1e3 if value is None else value / 1e3

    return ScriptResult(
        script=name,
        transactions=answered.size,
        tps=answered.size / seconds,
        mean_ms=float(answered.mean()) / 1e3 if answered.size else seconds * 1e3,
        p50_ms=ms(500),
        p95_ms=ms(950),
        p99_ms=ms(990),
        p999_ms=ms(999),
        late=int((answered > limit_ms * 1e3).sum()),
        skipped=skipped,
        failed=failed,
    )


def slices(log: Log, unsent: Ints, window: Window, limit_ms: float) -> tuple[Slice, ...]:
    """Each second of the run, by scheduled start; percentiles are of its answered transactions."""
    count = max(1, -(-(window.end_us - window.start_us) // 1_000_000))

    def second(due: Ints) -> Ints:
        return np.clip((due - window.start_us) // 1_000_000, 0, count - 1)

    at, answered = second(log.due_us), log.answered
    wrong = ~answered | (log.latency_us > limit_ms * 1e3)
    bad = np.bincount(np.concatenate([at[wrong], second(unsent)]), minlength=count)
    order = np.lexsort((log.latency_us[answered], at[answered]))
    latency, edges = (
        log.latency_us[answered][order],
        np.searchsorted(at[answered][order], np.arange(count + 1)),
    )
    found = []
    for number in range(count):
        within = latency[edges[number] : edges[number + 1]]
        p50, p99 = (percentile(within, 0, per_mille) for per_mille in (500, 990))
        found.append(
            Slice(
                second=number,
                transactions=within.size,
                bad=int(bad[number]),
                p50_ms=None if p50 is None else p50 / 1e3,
                p99_ms=None if p99 is None else p99 / 1e3,
            )
        )
    return tuple(found)
