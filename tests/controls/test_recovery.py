"""A restore that is not one: each way has to be refused, or found by the rows."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

import pytest
from kubernetes import client
from psycopg.sql import SQL, Identifier

from pgdrill import process_environment, timeouts
from pgdrill.drills.failover import DrillContext
from pgdrill.drills.recovery import run_point_in_time
from pgdrill.engines.patroni import PatroniEngine
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.judge import recovery
from pgdrill.observe.archiver import switch_wal
from pgdrill.platforms.archive import Archive, HasArchive, Restored, Target
from pgdrill.platforms.base import Cluster, Platform
from pgdrill.platforms.kind import KindPlatform, nodes, store
from pgdrill.platforms.kind.state import CONTROL_PLANE, RESTORED
from pgdrill.platforms.local import LocalPlatform
from pgdrill.progress import Update
from pgdrill.records import Seed
from pgdrill.waiting import eventually
from tests.controls.control import Control
from tests.controls.inventory import breaks

PROCESSORS = process_environment.processors()


class Tampered:
    """An archive that reports a restore, and holds other rows."""

    def __init__(self, inner: Archive, source: Cluster) -> None:
        self.promised_loss = inner.promised_loss
        self.backups, self.range, self.back_up = inner.backups, inner.range, inner.back_up
        self.restored, self.discard = inner.restored, inner.discard
        self._inner = inner
        self._source = source

    def restore(self, target: Target, update: Update, *, replace: bool = False) -> Restored:
        """Restore, and change what came back: rows go, double, appear, and change."""
        restored = self._inner.restore(target, update, replace=replace)
        with restored.cluster.connect() as session, self._source.connect() as source:
            found = session.execute(
                r"SELECT relname FROM pg_class WHERE relname ~ '^ledger_oops_\d+_\d+$'"
                " ORDER BY oid DESC LIMIT 1"
            ).fetchone()
            assert found is not None
            table = Identifier(found[0])
            late = source.execute(SQL("SELECT max(id) FROM {}").format(table)).fetchone()
            assert late is not None
            changes = (
                SQL("DELETE FROM {0} WHERE id = (SELECT min(id) FROM {0})").format(table),
                SQL("INSERT INTO {0} SELECT * FROM {0} ORDER BY id LIMIT 1").format(table),
                SQL("INSERT INTO {0} VALUES ({1}, 'late')").format(table, late[0]),
                SQL("UPDATE shop.products SET name = 'another' WHERE id = 1"),
                SQL("ALTER TABLE {} ALTER id RESTART WITH 7").format(
                    Identifier(f"{found[0]}_numbered")
                ),
            )
            for change in changes:
                session.execute(change)
        return restored


@breaks("rows-absent", "rows-too-many", "duplicate-rows", "tables-that-differ", "defects")
def test_other_rows_than_were_written_are_found(
    require_capability: Callable[[str], None],
    sabotaged: DrillContext,
    seeded: Seed,
    control: Control,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A restore that reports success with other rows breaks the promises about them."""
    require_capability("backup")
    platform = sabotaged.platform
    assert isinstance(platform, HasArchive)
    archive = Tampered(platform.archive, sabotaged.cluster)
    monkeypatch.setattr(type(platform), "archive", property(lambda _: archive))
    budgets = (
        recovery.ABSENT,
        recovery.SURPLUS,
        recovery.DUPLICATE,
        recovery.DIFFERING,
        recovery.IN_ORDER,
    )
    with control.must_be("broken", "restored rows tampered with", *budgets) as verdicts:
        found = run_point_in_time(sabotaged, 1)
        with verdicts.together():
            for claim in recovery.claims(platform.engine.name, PROCESSORS, [found]):
                verdicts.check(claim.budget, claim.observed, "oops", claim.note)


@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_a_wal_file_that_cannot_be_had_is_no_restore(
    require_capability: Callable[[str], None], sabotaged: DrillContext, how: str
) -> None:
    """Where one WAL file is damaged or missing, a restore past it is refused, latest or not."""
    require_capability("backup")
    platform, cluster = sabotaged.platform, sabotaged.cluster
    assert isinstance(platform, HasArchive)
    archive = platform.archive
    archive.discard()
    archive.back_up(_quiet)
    with cluster.connect() as session:
        switch_wal(session)  # the backup itself may need the file that it was taken in
        _, file = switch_wal(session)
        lsn, later = switch_wal(session)
        switch_wal(session)
    with _spoilt(platform, file, how):
        # A damaged file may be noticed by pgBackRest ([...]), or by PostgreSQL as the end of WAL.
        for target, why in (
            (lsn, r"restore failed: (\[\d+\]|recovery ended before configured)"),
            ("latest", rf"restore failed: \[\d+\]|archive goes on to WAL file {later[:8]}"),
        ):
            with pytest.raises(BrokenEnvironmentError, match=why):
                archive.restore(Target.parse(target), _quiet)
            assert archive.restored() is None
            assert _nothing_is_left(platform)
    archive.restore(Target.parse(lsn), _quiet)  # the same file, whole again
    archive.discard()


def test_an_archive_that_forgets_what_it_took_is_refused(
    require_capability: Callable[[str], None], sabotaged: DrillContext
) -> None:
    """PostgreSQL trusts an archive_command that stores nothing; a restore looks for the file."""
    require_capability("backup")
    require_capability("processes")  # looks into the repository as this platform keeps it
    platform = _local(sabotaged.platform)
    archive, engine = platform.archive, platform.engine
    archive.discard()
    try:
        with _forgetful(engine, sabotaged.cluster):
            with pytest.raises(
                BrokenEnvironmentError, match=r"did not take the last of \d+ WAL files"
            ):
                archive.restore(Target.parse("latest"), _quiet)
            assert archive.restored() is None
    finally:
        archive.back_up(_quiet)  # no restore gets past the hole


@contextmanager
def _forgetful(engine: PatroniEngine, cluster: Cluster) -> Iterator[None]:
    """Store nothing, and report success."""

    def command() -> str:
        with cluster.connect() as session:
            row = session.execute("SHOW archive_command").fetchone()
        assert row is not None
        return str(row[0])

    before = command()
    change = {"postgresql": {"parameters": {"archive_command": "/bin/true"}}}
    engine.configure(change)
    try:
        eventually(
            "the command in force", command, lambda c: c == "/bin/true", within=timeouts.WAL_STORED
        )
        yield
    finally:
        engine.configure({"postgresql": {"parameters": {"archive_command": before}}})
        eventually(
            "the old command in force", command, lambda c: c == before, within=timeouts.WAL_STORED
        )


@contextmanager
def _spoilt(platform: Platform, file: str, how: str) -> Iterator[None]:
    """Damage a stored WAL file, or take it away, while the block lasts.

    Both archives keep it as one plain file: in the members' repository, or in the store's volume.
    """

    def shell(script: str) -> str:
        if isinstance(platform, LocalPlatform):
            command = ["sh", "-c", script]
            return subprocess.run(
                command, check=True, capture_output=True, text=True, timeout=timeouts.WAL_STORED
            ).stdout
        return nodes.run(CONTROL_PLANE, "sh", "-c", script)

    if isinstance(platform, LocalPlatform):
        pattern = f"{platform.layout.repository}/archive/pgdrill/*/*/{file}-*"
    else:
        pattern = f"{store.PLACE}/wals/*/{file}*"
    at = eventually(
        f"{file} in the archive",
        lambda: shell(f"ls {pattern} 2> /dev/null || true").strip(),
        within=timeouts.WAL_STORED,
    )
    kept = str(PurePosixPath(at).with_name(".kept"))
    over = f"dd if=/dev/urandom of={at} bs=64 count=1 seek=1 conv=notrunc"
    try:
        # With owner and extended attributes, in which the store keeps the metadata of an object.
        shell(f"cp -a {at} {kept} && {over if how == 'damaged' else f'rm {at}'}")
        yield
    finally:
        shell(f"mv {kept} {at}")


def _nothing_is_left(platform: Platform) -> bool:
    """Whether neither a process nor a namespace of the restored cluster is there."""
    if isinstance(platform, LocalPlatform):
        return not any(name.startswith("patroni-restored") for name in platform.supervisor.states())
    assert isinstance(platform, KindPlatform)
    found = client.CoreV1Api(platform.api).list_namespace(
        field_selector=f"metadata.name={RESTORED}", _request_timeout=10
    )
    return not found.items


def _quiet(done: float, note: str = "") -> None:
    """Show nothing."""


def _local(platform: Platform) -> LocalPlatform:
    assert isinstance(platform, LocalPlatform)
    return platform
