"""Following pgbench's logs while it writes them: how many were good, how slow they were.

Live figures lack what pgbench has not flushed: at most 4 KiB, some 110 transactions, of each
thread. Once it has exited, they are complete.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pgdrill.records import BOUNDS_MS
from pgdrill.workload.pgbench_log import columns


@dataclass(frozen=True)
class Tally:
    """The transactions of a run so far; whatever is not good is late, skipped or failed."""

    good: int
    bad: int
    within: tuple[int, ...]  # for each of BOUNDS_MS: answered within it
    answering: float  # seconds that all answered ones took together

    @property
    def due(self) -> int:
        """All that were due."""
        return self.good + self.bad


class Tail:
    """Reads what each log in one run's directory has gained since the last call."""

    def __init__(self, directory: Path, limit_ms: float) -> None:
        self._directory = directory
        self._limit_us = limit_ms * 1e3
        self._read: dict[Path, int] = {}  # bytes of each file
        self._good = self._bad = 0
        self._buckets = np.zeros(len(BOUNDS_MS) + 1, dtype=np.int64)
        self._answering_us = 0

    def tally(self, unlogged: int = 0) -> Tally:
        """Count what was written since the last call; unlogged are bad ones that no log names.

        Raises:
            ValueError: a file is not such a log.
        """
        for file in sorted(self._directory.glob("pgbench_log.*")):
            self._count(file)
        within = np.cumsum(self._buckets[:-1])
        return Tally(
            good=self._good,
            bad=self._bad + unlogged,
            within=tuple(within.tolist()),
            answering=self._answering_us / 1e6,
        )

    def _count(self, file: Path) -> None:
        with file.open("rb") as log:
            log.seek(self._read.get(file, 0))
            text = log.read()
        text = text[: text.rfind(b"\n") + 1]
        latency_us = columns(text, file)[0]
        self._read[file] = self._read.get(file, 0) + len(text)
        answered = latency_us[latency_us >= 0]
        good = int((answered <= self._limit_us).sum())
        self._good += good
        self._bad += latency_us.size - good
        bounds_us = np.array(BOUNDS_MS) * 1000
        self._buckets += np.bincount(
            np.searchsorted(bounds_us, answered), minlength=self._buckets.size
        )
        self._answering_us += int(answered.sum())
