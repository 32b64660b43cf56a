"""The run directory: one file for each kind of record, raw first."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

from pgdrill.errors import BadUsageError
from pgdrill.records import Clock, Record, append, read, read_lines, write

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class RunDir:
    """Paths inside reports/<run id>/; the report can be recomputed from them alone."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> "RunDir":
        """Make a new run directory.

        Raises:
            BadUsageError: it exists; a run never mixes its numbers with another's.
        """
        if path.exists() and any(path.iterdir()):
            raise BadUsageError(
                f"run directory {path} exists: choose another --run-id, or remove it"
            )
        path.mkdir(parents=True, exist_ok=True)
        run = cls(path)
        run.keep(Clock.now())
        return run

    def file(self, kind: type[Record]) -> Path:
        """Return the path of a kind's records."""
        return self.path / kind.FILE

    def keep(self, record: Record) -> None:
        """Write a record to the file of its kind, which may hold several."""
        file = self.file(type(record))
        (append if file.suffix == ".jsonl" else write)(file, record)

    @property
    def benchmark(self) -> Path:
        """pytest-benchmark's own JSON."""
        return self.path / "benchmark.json"

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.path / "report.html"

    @property
    def raw(self) -> Path:
        """Per-transaction and per-attempt logs."""
        return self.path / "raw"

    @property
    def journals(self) -> Path:
        """chaostoolkit journals, one file for each trial."""
        return self.path / "journals"

    @property
    def diagnostics(self) -> Path:
        """Logs and state, one folder for each failed test."""
        return self.path / "diagnostics"


class Records:
    """The records of a run by kind, each file read once.

    A damaged file becomes a complaint; of its lines, those before the damage count.
    """

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._kept: dict[type[Record], tuple[Record, ...]] = {}
        self.complaints: list[str] = []

    def all(self, kind: type[R]) -> tuple[R, ...]:
        """Return every record of a kind, in the order in which the run wrote them."""
        if kind not in self._kept:
            self._kept[kind] = tuple(self._read(kind))
        return cast("tuple[R, ...]", self._kept[kind])

    def one(self, kind: type[R]) -> R | None:
        """Return the record of a kind that a run has one of; None where it wrote none."""
        return next(iter(self.all(kind)), None)

    def replace(self, kind: type[R], records: tuple[R, ...]) -> None:
        """Replace the records of a kind, in memory only."""
        self._kept[kind] = records

    def _read(self, kind: type[R]) -> Iterator[R]:
        file = self._run.file(kind)
        try:
            if file.suffix == ".jsonl":
                yield from read_lines(file, kind)
            elif found := read(file, kind):
                yield found
        except ValueError as error:
            self.complaints.append(first_lines(error))


def first_lines(error: Exception) -> str:
    """Return an error's message, short enough for a page."""
    return "; ".join(str(error).splitlines()[:3])
