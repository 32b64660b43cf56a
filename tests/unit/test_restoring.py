"""The backup that a restore begins with, and that a failed restore leaves nothing."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest

from pgdrill.engines.base import Engine
from pgdrill.errors import BadUsageError, BrokenEnvironmentError
from pgdrill.platforms.archive import Backup, Target
from pgdrill.platforms.base import Cluster, Endpoint
from pgdrill.platforms.restoring import Over, RestoringArchive
from pgdrill.progress import Reporter, Update

FIRST = datetime(2025, 11, 27, 5, 0, tzinfo=UTC)


def backup(number: int) -> Backup:
    """One an hour, each 16 MB further on."""
    ended = FIRST + timedelta(hours=number)
    return Backup(
        f"b{number}", ended, ended, f"0/{number + 1}000028", f"0/{number + 1}000100", 1, 1
    )


class Shelf(RestoringArchive):
    """Holds three backups, of a cluster that does not answer."""

    promised_loss = 70.0
    look_every = 0.01

    def __init__(self, directory: Path, *, fails: bool = False, number: int = 3) -> None:
        super().__init__(_nobody, directory / "restored.json")
        self.used = ""
        self.discarded = 0
        self._fails = fails
        self._number = number

    def backups(self) -> tuple[Backup, ...]:
        """All of them."""
        return tuple(map(backup, range(self._number)))

    def back_up(self, update: Update, *, differential: bool = False) -> Backup:
        """Take the first one."""
        self._number = 1
        return backup(0)

    def repair_store(self) -> None:
        """Nothing was done to it."""

    def discard(self) -> None:
        """Count, and forget."""
        self.discarded += 1
        self._record.unlink(missing_ok=True)

    def _holds(self, file: str) -> bool:
        return True

    def _demand_room(self, backup: Backup) -> None:
        """There is room."""

    def _make(self, target: Target, backup: Backup, over: Over, update: Update) -> None:
        self.used = backup.label
        self._await("base copy", lambda: True, update)
        over("base copy")

    def _failure(self) -> str:
        return "the disk is on fire" if self._fails else ""

    def _beside(self) -> tuple[Cluster, Engine]:
        at = Endpoint("127.0.0.1", 1)
        return Cluster("r", at, at, {}, "shop", "pgdrill", Path("/none")), None  # type: ignore[return-value]


def _nobody() -> NoReturn:
    raise psycopg.OperationalError("nobody answers")


def quiet(done: float, note: str = "") -> None:
    """Show nothing."""


@pytest.mark.parametrize(
    ("point", "used"),
    [
        ("2025-11-27T05:00:01Z", "b0"),
        ("2025-11-27T06:00:00Z", "b0"),  # b1 ends at this very moment: it may be too late
        ("2025-11-27T08:00:01+01:00", "b2"),
        ("0/2000100", "b0"),
        ("0/2000101", "b1"),
        ("0/FFFFFFFF", "b2"),
        ("latest", "b2"),
        ("some_name", "b0"),
    ],
)
def test_a_restore_begins_with_the_last_backup_before_its_point(
    tmp_path: Path, point: str, used: str
) -> None:
    """Later ones cannot be replayed back; a name may lie anywhere, so the first is taken for it."""
    shelf = Shelf(tmp_path)
    restored = shelf.restore(Target.parse(point), quiet)
    assert (shelf.used, restored.backup) == (used, used)
    found = shelf.restored()
    assert found is not None
    assert found.steps == restored.steps


@pytest.mark.parametrize(
    ("point", "why"),
    [
        ("2025-11-27T04:59:59Z", "before the end of the oldest backup.*from 2025-11-27T05:00:00Z"),
        ("0/1000100", "before the end of the oldest backup"),
        ("2926-11-27T04:59:59Z", "in the future"),
    ],
)
def test_a_point_out_of_reach_is_refused_with_the_range(
    tmp_path: Path, point: str, why: str
) -> None:
    """Nothing is begun, and the message names what is possible."""
    shelf = Shelf(tmp_path)
    with pytest.raises(BadUsageError, match=why):
        shelf.restore(Target.parse(point), quiet)
    assert (shelf.used, list(tmp_path.iterdir())) == ("", [])


def test_without_a_backup_no_point_can_be_had(tmp_path: Path) -> None:
    """An archive of WAL alone restores nothing."""
    with pytest.raises(BadUsageError, match="no backup has ever been taken"):
        Shelf(tmp_path, number=0).restore(Target.parse("latest"), quiet)
    assert "make backup" in Shelf(tmp_path, number=0).range()


def test_a_restore_that_fails_is_discarded(tmp_path: Path) -> None:
    """Its reason is passed on, and no record of it stays."""
    shelf = Shelf(tmp_path, fails=True)
    with pytest.raises(BrokenEnvironmentError, match=r"^the restore failed: the disk is on fire$"):
        shelf.restore(Target.parse("latest"), quiet)
    assert shelf.discarded == 1
    assert shelf.restored() is None


def test_a_restore_that_was_killed_is_discarded_by_the_next(tmp_path: Path) -> None:
    """A record without steps is of one that never ended."""
    (tmp_path / "restored.json").write_text(
        json.dumps({"target": "latest", "backup": "b2", "steps": None})
    )
    shelf = Shelf(tmp_path)
    assert shelf.restored() is None
    shelf.restore(Target.parse("latest"), quiet)
    assert shelf.discarded == 1


def test_a_second_restore_is_refused(tmp_path: Path) -> None:
    """A restored cluster may be in use: only its owner discards it."""
    shelf = Shelf(tmp_path)
    shelf.restore(Target.parse("latest"), quiet)
    with pytest.raises(BrokenEnvironmentError, match="make discard"):
        shelf.restore(Target.parse("latest"), quiet)
    assert shelf.discarded == 0


def test_a_restored_cluster_is_replaced_when_that_is_asked_for(tmp_path: Path) -> None:
    """A replacement needs a valid point: a mistyped one removes nothing."""
    shelf = Shelf(tmp_path)
    shelf.restore(Target.parse("latest"), quiet)
    with pytest.raises(BadUsageError, match="in the future"):
        shelf.restore(Target.parse("2926-11-27T04:59:59Z"), quiet, replace=True)
    assert shelf.discarded == 0
    shelf.restore(Target.parse("some_name"), quiet, replace=True)
    found = shelf.restored()
    assert found is not None
    assert (shelf.discarded, found.target) == (1, "some_name")


def test_a_backup_is_taken_where_there_is_none(tmp_path: Path) -> None:
    """The first restore is done, a second is refused, and an interrupted one is removed first."""
    shelf = Shelf(tmp_path, number=0)
    record = tmp_path / "restored.json"
    record.write_text(json.dumps({"target": "latest", "backup": "b2", "steps": None}))
    shelf.demand_backup(Reporter())
    assert (len(shelf.backups()), shelf.discarded) == (1, 1)
    shelf.demand_backup(Reporter())
    assert (len(shelf.backups()), shelf.discarded) == (1, 1)
