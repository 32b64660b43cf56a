"""Each alert comes for a real reason, in time, reaches a person, and goes when the reason goes.

What each scenario does is in plays.py. Those that this run selects are played beside each other as
far as they fit; each test judges its own.
"""

from collections.abc import Callable

import pytest

from pgdrill.observe.overlap import Overlap, Played

Require = Callable[[str], None]
Judge = Callable[[Played], None]


def test_replication_lag(overlap: Overlap, judge_played: Judge) -> None:
    """A standby that stops replaying pages as lagging, and no longer once it has caught up."""
    judge_played(overlap.played("replication_lag"))


def test_disk_filling(require: Require, overlap: Overlap, judge_played: Judge) -> None:
    """A volume filled to 85 % pages before it is full, and no longer once there is room."""
    require("real-disk-limit")
    judge_played(overlap.played("disk_filling"))


def test_standby_away(overlap: Overlap, judge_played: Judge) -> None:
    """A standby that stays away pages as down, and as nothing worse, until it is back."""
    judge_played(overlap.played("standby_away"))


def test_short_outage(overlap: Overlap, judge_played: Judge) -> None:
    """A fail-over of seconds, over before any `for` has passed, is reported all the same."""
    judge_played(overlap.played("short_outage"))


def test_frozen_primary(overlap: Overlap, judge_played: Judge) -> None:
    """A primary that hangs pages as no primary until another one serves, or it was restarted."""
    judge_played(overlap.played("frozen_primary"))


def test_operator_away(overlap: Overlap, judge_played: Judge) -> None:
    """What would fail the cluster over pages when it is away, before it is missed, until back.

    Patroni's primary cannot keep its lease without its store, and steps down some 5 s later: there
    PgNoPrimary may follow. CNPG's primary works on: nothing worse may be seen.
    """
    judge_played(overlap.played("operator_away"))


def test_archive_away(require: Require, overlap: Overlap, judge_played: Judge) -> None:
    """An archive that takes no WAL pages, though no client notices, until it takes it again."""
    require("backup")
    judge_played(overlap.played("archive_away"))


@pytest.mark.thorough
def test_backup_failed(require: Require, overlap: Overlap, judge_played: Judge) -> None:
    """A backup that fails pages, until one succeeds."""
    require("backup")
    judge_played(overlap.played("backup_failed"))


def test_stalled_load(require: Require, overlap: Overlap, judge_played: Judge) -> None:
    """A load that waits for a lock pages as a burning budget, though nothing is down."""
    require("pushgateway")
    judge_played(overlap.played("stalled_load"))
