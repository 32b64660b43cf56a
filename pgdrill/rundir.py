"""The run directory: one file name for each kind of record, raw first."""

from dataclasses import dataclass
from pathlib import Path

from pgdrill.errors import BadUsageError
from pgdrill.records import Clock, write


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
        write(run.clock, Clock.now())
        return run

    @property
    def clock(self) -> Path:
        """records.Clock."""
        return self.path / "clock.json"

    @property
    def fingerprint(self) -> Path:
        """records.Fingerprint."""
        return self.path / "fingerprint.json"

    @property
    def collected(self) -> Path:
        """records.Collected."""
        return self.path / "collected.json"

    @property
    def outcomes(self) -> Path:
        """records.TestEnd, one a line."""
        return self.path / "outcomes.jsonl"

    @property
    def ended(self) -> Path:
        """records.RunEnd."""
        return self.path / "ended.json"

    @property
    def verdicts(self) -> Path:
        """records.Verdict, one a line."""
        return self.path / "verdicts.jsonl"

    @property
    def events(self) -> Path:
        """records.Event, one a line."""
        return self.path / "events.jsonl"

    @property
    def trials(self) -> Path:
        """records.Trial, one a line."""
        return self.path / "trials.jsonl"

    @property
    def watch(self) -> Path:
        """records.Watch."""
        return self.path / "watch.json"

    @property
    def kept(self) -> Path:
        """records.Kept."""
        return self.path / "kept.json"

    @property
    def alerts(self) -> Path:
        """records.AlertLife, one a line."""
        return self.path / "alerts.jsonl"

    @property
    def scaling(self) -> Path:
        """records.Scaling, one a line."""
        return self.path / "scaling.jsonl"

    @property
    def recoveries(self) -> Path:
        """records.Recovery, one a line."""
        return self.path / "recoveries.jsonl"

    @property
    def rebuilds(self) -> Path:
        """records.Rebuild, one a line."""
        return self.path / "rebuilds.jsonl"

    @property
    def detections(self) -> Path:
        """records.Detection, one a line."""
        return self.path / "detections.jsonl"

    @property
    def seed(self) -> Path:
        """records.Seed."""
        return self.path / "seed.json"

    @property
    def bench(self) -> Path:
        """records.Bench."""
        return self.path / "bench.json"

    @property
    def machine(self) -> Path:
        """records.MachineSecond, one a line."""
        return self.path / "machine.jsonl"

    @property
    def waits(self) -> Path:
        """records.WaitLook, one a line."""
        return self.path / "waits.jsonl"

    @property
    def slos(self) -> Path:
        """records.SloComparison, one a line."""
        return self.path / "slos.jsonl"

    @property
    def benchmark(self) -> Path:
        """pytest-benchmark's own JSON."""
        return self.path / "benchmark.json"

    @property
    def dashboards(self) -> Path:
        """dashboards.panels.Snapshot, one a line."""
        return self.path / "dashboards.jsonl"

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
