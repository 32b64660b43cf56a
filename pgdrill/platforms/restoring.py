"""The common part of all archives: the range of points, one restore at a time, its record."""

import json
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from pgdrill import timeouts
from pgdrill.engines.base import Engine
from pgdrill.errors import BadUsageError, BrokenEnvironmentError
from pgdrill.observe.archiver import archiver, switch_wal
from pgdrill.platforms.archive import Backup, Restored, Target
from pgdrill.platforms.base import Cluster
from pgdrill.progress import Reporter, Update
from pgdrill.waiting import DeadlineError, eventually

Over = Callable[[str], None]


class RestoringArchive(ABC):
    """Backups and WAL of one cluster, and at most one restored cluster.

    source returns the cluster; record is the file with the target of the restore.
    """

    promised_loss: float
    look_every: float  # seconds between two looks at how far a restore is

    def __init__(self, source: Callable[[], Cluster], record: Path) -> None:
        self._source = source
        self._record = record

    @abstractmethod
    def backups(self) -> tuple[Backup, ...]:
        """Every good backup that is kept, oldest first.

        Raises:
            BrokenEnvironmentError: the store does not answer, or is damaged.
        """

    @abstractmethod
    def back_up(self, update: Update, *, differential: bool = False) -> Backup:
        """Take a backup and return it: a full one, or what changed since the last full one.

        Raises:
            BadUsageError: no differential one can be taken here.
            BrokenEnvironmentError: it failed, with the reason.
        """

    @abstractmethod
    def repair_store(self) -> None:
        """Undo what a drill has done to the store, and may have been killed before it undid it."""

    def demand_backup(self, reporter: Reporter) -> None:
        """Make sure of one good backup, on a store that is in order.

        Raises:
            BrokenEnvironmentError: the store does not answer, or the backup failed.
        """
        self.repair_store()
        self.clear()
        if not self.backups():
            with reporter.task("first backup") as update:
                self.back_up(update)

    @abstractmethod
    def discard(self) -> None:
        """Remove the restored cluster; safe to repeat, and after an interrupted restore."""

    @abstractmethod
    def _holds(self, file: str) -> bool:
        """Whether a WAL file is in the archive itself, independent of PostgreSQL's own view."""

    @abstractmethod
    def _demand_room(self, backup: Backup) -> None:
        """Refuse where a restored cluster would not fit.

        Raises:
            BrokenEnvironmentError: with what is free and what is needed.
        """

    @abstractmethod
    def _make(self, target: Target, backup: Backup, over: Over, update: Update) -> None:
        """Make the restored cluster; over is called with the name of each step when it has ended.

        Raises:
            BrokenEnvironmentError: it failed, with the reason.
        """

    @abstractmethod
    def _failure(self) -> str:
        """Why recovery ended early, in one line of its own log; '' while it continues."""

    @abstractmethod
    def _beside(self) -> tuple[Cluster, Engine]:
        """Return the restored cluster's handle and engine, whether or not it is there."""

    def range(self) -> str:
        """Return the first and last point that can be restored, or that there is none."""
        backups = self.backups()
        if not backups:
            return "(there is none: no backup has ever been taken, `make backup` takes one)"
        first = backups[0]
        return (
            f"from {first.ended:%Y-%m-%dT%H:%M:%SZ} ({first.last_lsn})"
            f" to now, {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        )

    def restore(self, target: Target, update: Update, *, replace: bool = False) -> Restored:
        """Make a new, highly available cluster of what the archive holds up to a point.

        replace: remove the one that was restored before, if there is one.

        Raises:
            BadUsageError: that point cannot be restored, with the first and the last that can.
            BrokenEnvironmentError: it failed, with the reason; nothing of it is left.
        """
        self.clear()
        backup = self._begin_with(target)
        earlier = self.restored()
        if earlier and not replace:
            raise BrokenEnvironmentError(
                f"a cluster restored to {earlier.target} is here already: REPLACE=1 (--replace)"
                " puts another in its place, `make discard` removes it"
            )
        update(0, "storing the last WAL")
        last = self._store_what_was_written()
        if target.kind == "lsn" and last and position(target.text) > position(last):
            raise BadUsageError(f"{target} is not written yet: the cluster is at {last}")
        if earlier:
            update(0, "removing the earlier one")
            self.discard()
        self._demand_room(backup)
        steps: dict[str, float] = {}
        began = time.monotonic()

        def over(step: str) -> None:
            steps[step] = time.monotonic() - began

        try:
            self._write(target, backup, None)
            self._make(target, backup, over, update)
            self._write(target, backup, steps)
        except BaseException as error:
            self.discard()
            if target.kind == "name" and "recovery ended before" in str(error):
                raise BrokenEnvironmentError(
                    f"{error}: the archive has no restore point {target}"
                ) from None
            raise
        return Restored(*self._beside(), str(target), backup.label, steps)

    def restored(self) -> Restored | None:
        """Return the cluster that was restored before and is still there."""
        try:
            said = json.loads(self._record.read_text())
        except FileNotFoundError:
            return None
        if said["steps"] is None:
            return None
        return Restored(*self._beside(), said["target"], said["backup"], said["steps"])

    def clear(self) -> None:
        """Remove what an interrupted restore left."""
        if self._record.exists() and self.restored() is None:
            self.discard()

    def _await(self, what: str, true: Callable[[], bool], update: Update) -> None:
        """Wait for a step, or for a failure that recovery reports itself.

        Raises:
            BrokenEnvironmentError: with the line of the log that holds the reason.
        """

        def look() -> bool:
            update(0, f"waiting for {what}")
            failed = self._failure()
            if failed:
                raise BrokenEnvironmentError(f"the restore failed: {failed}")
            return true()

        try:
            eventually(what, look, within=timeouts.RESTORE_STEP, every=self.look_every)
        except DeadlineError:
            raise BrokenEnvironmentError(
                f"the restore was given up: no {what} within {timeouts.RESTORE_STEP:g} s"
            ) from None

    def _write(self, target: Target, backup: Backup, steps: Mapping[str, float] | None) -> None:
        draft = self._record.with_suffix(".part")
        said = {"target": str(target), "backup": backup.label, "steps": steps}
        draft.write_text(json.dumps(said))
        draft.replace(self._record)

    def _begin_with(self, target: Target) -> Backup:
        """Choose the latest backup that ends before a point.

        Raises:
            BadUsageError: there is none, or the point has not come yet.
        """
        backups = self.backups()
        if not backups:
            raise BadUsageError("no backup has ever been taken: `make backup` takes one")
        if target.at is not None and target.at > datetime.now(UTC):
            raise BadUsageError(f"{target} is in the future: points can be had {self.range()}")
        if target.kind == "latest":
            return backups[-1]
        if target.kind == "name":
            # Its position is unknown, so the search begins at the oldest backup.
            return backups[0]
        if target.at is not None:
            early = [backup for backup in backups if backup.ended < target.at]
        else:
            early = [b for b in backups if position(b.last_lsn) < position(target.text)]
        if not early:
            raise BadUsageError(
                f"{target} lies before the end of the oldest backup: points can be had"
                f" {self.range()}"
            )
        return early[-1]

    def _store_what_was_written(self) -> str:
        """Let the archive store everything up to now; return that LSN, '' if no primary runs.

        A commit closes it: recovery to an instant ends at the first commit after that, and fails if
        there is none.

        Raises:
            BrokenEnvironmentError: the archive did not take it.
        """
        try:
            with self._source().connect(statement_timeout=5) as session:
                lsn, file = switch_wal(session)
                waiting = archiver(session).waiting
        except psycopg.Error:
            return ""  # what is in the archive is all that there is
        within = timeouts.WAL_STORED + waiting * timeouts.WAL_FILE_STORED
        try:
            eventually(
                f"{file} in the archive, and {waiting} files before it",
                lambda: self._holds(file),
                within=within,
                every=0.1,
            )
        except DeadlineError:
            raise BrokenEnvironmentError(
                f"the archive did not take the last of {waiting} WAL files within {within:g} s: see"
                " pg_stat_archiver, and the primary's log"
            ) from None
        return lsn


def demand_all_wal(history: str, stored: str, segment: int) -> None:
    """Check that recovery reached the last WAL file that was stored when it began.

    PostgreSQL treats a missing or damaged file as the end of all WAL: it starts
    and does not report what lies behind it. history is its latest timeline history file,
    segment the bytes of a WAL file.

    Raises:
        BrokenEnvironmentError: it ended before.
    """
    ended = re.findall(r"^\d+\t(\S+)", history, re.M)[-1]
    if stored and position(ended) < _begins(stored, segment):
        raise BrokenEnvironmentError(
            f"recovery ended at {ended}, and the archive goes on to WAL file {stored}: a file"
            " between is missing or damaged; points before it can be restored"
        )


def _begins(file: str, segment: int) -> int:
    """Return the position at which a WAL file of so many bytes begins."""
    return (int(file[8:16], 16) << 32) + int(file[16:24], 16) * segment


def position(lsn: str) -> int:
    """Return an LSN as a number of bytes."""
    high, _, low = lsn.partition("/")
    return (int(high, 16) << 32) + int(low, 16)
