"""The reference platform's archive: what it reads and requests, without a cluster."""

import runpy
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.archive import SEGMENT, Target
from pgdrill.platforms.kind import store
from pgdrill.platforms.kind.archive import recovery_target, why
from pgdrill.platforms.kind.state import plan
from pgdrill.platforms.restoring import demand_all_wal
from pgdrill.settings import ROOT

# As Barman 3.19 writes it, and what the volume adds.
SAID = {
    "id": "20261127T190501",
    "stored": "51000123",
    "status": "DONE",
    "begin_time": "2026-11-27 19:05:01.123456+00:00",
    "end_time": "2026-11-27 20:05:04.500000+01:00",
    "begin_xlog": "0/7000028",
    "end_xlog": "0/7000158",
    "size": "None",
    "cluster_size": "123456789",
    "xlog_segment_size": "4194304",
}


def test_a_backups_record_is_read_as_barman_writes_it() -> None:
    """Instants come with their zone and go on in UTC; the size is what the databases take."""
    read = store.backup(SAID)
    assert read.ended == datetime(2026, 11, 27, 19, 5, 4, 500000, tzinfo=UTC)
    assert (read.first_lsn, read.last_lsn, read.size) == ("0/7000028", "0/7000158", 123456789)
    zoneless = store.backup(SAID | {"begin_time": "2026-11-27 19:05:01"})
    assert zoneless.began == datetime(2026, 11, 27, 19, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize("key", ["end_time", "begin_xlog", "stored"])
def test_a_damaged_record_is_named(key: str) -> None:
    """A record without one of its parts names the backup that it is of."""
    damaged = {name: value for name, value in SAID.items() if name != key}
    with pytest.raises(BrokenEnvironmentError, match=SAID["id"]):
        store.backup(damaged)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("2026-11-27T20:06:00+01:00", {"targetTime": "2026-11-27T19:06:00.000000+00:00"}),
        ("0/7FFFFFF", {"targetLSN": "0/7FFFFFF"}),
        ("before_the_migration", {"targetName": "before_the_migration"}),
    ],
)
def test_a_point_is_asked_for_in_the_operators_words(text: str, asked: dict[str, str]) -> None:
    """Every kind of point names the backup to begin with; the latest needs no name."""
    chosen = store.backup(SAID)
    assert recovery_target(Target.parse(text), chosen) == asked | {"backupID": chosen.label}
    assert recovery_target(Target.parse("latest"), chosen) == {}


def test_an_archive_is_kept_from_when_it_is_asked_for(tmp_path: Path) -> None:
    """There is no archive by default; on a second request the store's credentials stay."""
    made = plan(tmp_path, "node:1", True, 2)
    assert made.archive_secret == ""
    kept = made.archived()
    assert kept.archive_secret
    assert kept.archived() == kept


def test_the_reason_of_a_failed_recovery_is_postgresqls_own() -> None:
    """PostgreSQL's last FATAL is the reason, or else the last error of the job."""
    fatal = (
        '{"level":"info","record":{"message":"x"}}\n'
        '{"level":"info","msg":"FATAL:  recovery ended before configured recovery target was'
        ' reached"}\n'
    )
    assert "recovery ended before configured" in why(fatal)
    assert "no such bucket" in why('{"level":"error","msg":"no such bucket"}\n{"level":"info"}')
    told = '{"level":"error","msg":"restore error","error":"while restoring: no such file"}\n{'
    assert why(told) == "while restoring: no such file"
    assert why("") == "its job left no log"


def test_a_recovery_that_stops_short_of_the_last_file_is_none() -> None:
    """A history that ends before the last stored file began indicates a hole."""
    history = "1\t0/7000158\tno recovery target specified\n"
    demand_all_wal(history, "000000010000000000000007", SEGMENT)
    demand_all_wal(history, "", SEGMENT)
    with pytest.raises(BrokenEnvironmentError, match="missing or damaged"):
        demand_all_wal(history, "000000010000000000000008", SEGMENT)


def test_small_wal_files_are_numbered_more_densely() -> None:
    """Of 4 MiB each the one that begins at 0/7000000 is the 28th of its gigabytes."""
    history = "1\t0/7000158\tno recovery target specified\n"
    demand_all_wal(history, "00000001000000000000001C", 4 * 2**20)
    with pytest.raises(BrokenEnvironmentError, match="missing or damaged"):
        demand_all_wal(history, "00000001000000000000001D", 4 * 2**20)


def test_the_store_counts_backups_that_are_there_and_complete(tmp_path: Path) -> None:
    """An unfinished one, and a bucket that was moved aside, are no backups; none at all is zero."""
    exporter = runpy.run_path(str(ROOT / "infra" / "helm" / "archive" / "metrics.py"))
    assert exporter["metrics"](tmp_path) == "pgdrill_archive_backups 0\n"
    for place, status, end in (
        ("pgdrill/pgdrill/base/1", "DONE", "2026-11-27 19:05:01.123456+00:00"),
        ("pgdrill/pgdrill/base/2", "DONE", "2026-11-27 20:05:01"),
        ("pgdrill/pgdrill/base/3", "STARTED", "None"),
        (".pgdrill/pgdrill/base/4", "DONE", "2026-11-28 19:05:01+00:00"),
    ):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "backup.info").write_text(f"status={status}\nend_time={end}\n")
    newest = datetime(2026, 11, 27, 20, 5, 1, tzinfo=UTC).timestamp()
    assert exporter["metrics"](tmp_path).split() == [
        "pgdrill_archive_backups", "2", "pgdrill_archive_newest_backup_seconds", f"{newest:.0f}",
    ]  # fmt: skip
