"""One restore: back up, write, destroy, restore to just before, and compare row by row."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from psycopg.sql import SQL, Composed, Identifier

from pgdrill import timeouts
from pgdrill.attempt_log import Lane
from pgdrill.drills import background_load
from pgdrill.drills.background_load import shop_load
from pgdrill.drills.failover import DEADLINE, DrillContext
from pgdrill.drills.seeding import seed_cluster
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.faults.base import FaultNotRealError
from pgdrill.judge.failover import patience
from pgdrill.platforms.archive import (
    Archive,
    HasArchive,
    HasRebuild,
    Restored,
    Target,
    archiver_of,
)
from pgdrill.platforms.base import Cluster, wait_healthy, wait_settled, where
from pgdrill.platforms.checkpoints import write_out
from pgdrill.progress import Update
from pgdrill.records import BackupTaken, NearbyWrite, Part, Rebuild, Recovery
from pgdrill.waiting import DeadlineError, eventually, pause
from pgdrill.workload import dataset, integrity, ledger
from pgdrill.workload.attempts import Attempts
from pgdrill.workload.dataset import DatasetError
from pgdrill.workload.pgbench_program import Program
from pgdrill.workload.prober import Prober

KINDS = ("time", "lsn", "name")  # how the point is named, restore by restore
ACKS = 40  # acknowledged writes of each lane before the point, and as many after it
FRESH_RATE, HELD_RATE = 5.0, 40.0  # attempts a second
SPREAD = 5.0  # seconds in which the point is chosen at random
LOOK_WITHIN = 120.0  # seconds for one check of the restored database
REBUILT_WITHIN = 120.0  # seconds for a standby to be rebuilt
NEAR = 1.0  # seconds around the point: these attempts are kept one by one, for the report

# Mistakes of a user on the wrong host: a table is dropped with what refers to it, and another one
# is overwritten.
DESTRUCTION = (
    "DROP TABLE shop.orders CASCADE",
    "UPDATE shop.products SET name = 'oops'",
)


@dataclass(frozen=True)
class Point:
    """A point in time, as a person would name it, and where it lies on the run's clock."""

    kind: str
    text: str
    between: tuple[float, float]  # the server read it between these instants


@dataclass(frozen=True)
class RestoredContent:
    """The contents of a restored cluster."""

    rows: ledger.AsOf
    neighbours: tuple[NearbyWrite, ...]
    differing: tuple[str, ...]
    checked: dict[str, int]
    complaints: tuple[str, ...]
    diverged: tuple[str, ...]


def run_point_in_time(context: DrillContext, number: int, *, failover: bool = False) -> Recovery:
    """Restore to the moment before destructive statements, and keep the record.

    The prober writes during all of this, and the shop's load runs until its tables are gone.
    failover: the primary is killed between backup and point, so that recovery has to follow the
    timeline. The restored cluster is removed again and the dataset loaded again, whatever happens.

    Raises:
        BrokenEnvironmentError: there is no usable archive, or the restore failed.
        DeadlineError: the cluster was not healthy before, or clients never wrote again.
    """
    platform, cluster = context.platform, context.cluster
    scene = _prepare(context, "failover" if failover else "oops", number)
    archive, prober, table = scene.archive, scene.prober, scene.table
    phase = scene.random.uniform(0, SPREAD)
    try:
        with _backed_up(context, scene) as (update, taken):
            if failover:
                update(1, "primary killed")
                _fail_over(context, prober)
            roles = integrity.roles(cluster.conninfo(), within=LOOK_WITHIN)
            pause(phase)
            point = _point(cluster, KINDS[(number - 1) % len(KINDS)], table)
            context.events.record("test", f"point {point.text}", cluster.name, point.between[0])
            prober.wait_for_acks(ACKS, within=timeouts.FIRST_ACKS)
            destroyed_at = _destroy(cluster)
            context.events.record("fault", "; ".join(DESTRUCTION), cluster.name, destroyed_at)
            prober.wait_for_acks(ACKS, within=timeouts.FIRST_ACKS)
            started = time.monotonic()
            restored = archive.restore(
                Target.parse(point.text), lambda done, note="": update(2, note)
            )
            context.events.record("test", f"restored to {point.text}", restored.cluster.name)
        attempts = prober.result()
        with context.reporter.task("every row, on every member of the restored cluster"):
            came = _look(restored, attempts, table, point, roles)
    finally:
        archive.discard()
        # This destruction is intentional, so it is not a finding.
        seed_cluster(platform, cluster, context.settings, context.reporter, reseed=True)
    recovery = _record(
        scene.name,
        number,
        "; ".join(DESTRUCTION),
        point,
        destroyed_at,
        taken(attempts),
        started,
        restored,
        came,
        str(prober.file.relative_to(context.run.path)),
    )
    context.run.keep(recovery)
    return recovery


def run_total_loss(context: DrillContext, number: int) -> Recovery:
    """Lose every member and volume under load, restore the latest, and keep the record.

    Afterwards the platform is taken down, brought up again and seeded.

    Raises:
        BrokenEnvironmentError: there is no usable archive, or the restore failed.
        DeadlineError: the cluster was not healthy before.
    """
    platform, cluster = context.platform, context.cluster
    assert isinstance(platform, HasArchive), f"{platform.name} has no archive"
    scene = _prepare(context, "everything", number)
    archive, prober, table = scene.archive, scene.prober, scene.table
    # Long enough that a WAL file is stored because of its age, plus a random part of the next one.
    phase = scene.random.uniform(1, 2) * archive.promised_loss
    try:
        with _backed_up(context, scene) as (update, taken):
            roles = integrity.roles(cluster.conninfo(), within=LOOK_WITHIN)
            update(1, f"writing for {phase:.0f} s")
            pause(phase)
            prober.wait_for_acks(1, within=timeouts.FIRST_ACKS)
            destroyed_at = time.monotonic()
            platform.lose_members()
            context.events.record(
                "fault", "every member and volume lost", cluster.name, destroyed_at
            )
        attempts = prober.result()
        with context.reporter.task(f"everything {number}: restore") as update:
            started = time.monotonic()
            restored = archive.restore(
                Target.parse("latest"), lambda done, note="": update(2, note)
            )
        context.events.record("test", "restored the latest", restored.cluster.name)
        with context.reporter.task("every row, on every member of the restored cluster"):
            ids = ledger.read_ids(restored.cluster.conninfo(), table)
            missing = ledger.loss(attempts, ids, destroyed_at)
            point = Point("latest", "latest", (destroyed_at, destroyed_at))
            came = _look(restored, attempts, table, point, roles)
    finally:
        archive.discard()
        with context.reporter.task("down and up again"):
            platform.down()
            platform.up(context.settings)
        seed_cluster(platform, platform.cluster(), context.settings, context.reporter)
    recovery = _record(
        "everything gone",
        number,
        "every member and volume removed",
        point,
        destroyed_at,
        taken(attempts),
        started,
        restored,
        came,
        str(prober.file.relative_to(context.run.path)),
    ).model_copy(
        update={
            "wanted": missing.wanted,
            "absent": missing.absent,
            "lost_seconds": missing.seconds,
            "holes": missing.holes,
        }
    )
    context.run.keep(recovery)
    return recovery


def run_rebuild(context: DrillContext, number: int) -> Rebuild:
    """Remove a standby's volume while clients write, and record how the standby comes back.

    Raises:
        DeadlineError: it did not come back, or the cluster was not healthy before.
    """
    platform, cluster = context.platform, context.cluster
    assert isinstance(platform, HasRebuild), f"{platform.name} cannot rebuild a member"
    member = next(
        m.name
        for m in wait_settled(platform.engine, within=timeouts.REDUNDANT_BEFORE)
        if m.role == "standby"
    )
    table = f"ledger_rebuild_{number}_{int(time.time())}"
    raw = context.run.raw / f"rebuild-{number}"
    ledger.create_table(cluster.conninfo(), table)
    with (
        context.reporter.task(f"rebuild {number}/{context.settings.trials}") as update,
        Prober(_lanes(cluster), table, raw, deadline=DEADLINE) as prober,
    ):
        prober.wait_for_acks(ACKS, within=timeouts.FIRST_ACKS)
        began = time.monotonic()
        made_from = platform.rebuild(member)
        context.events.record("fault", "volume taken away", member, began)
        update(1, f"{member} has lost its volume")
        wait_healthy(platform.engine, within=REBUILT_WITHIN)
        seconds = time.monotonic() - began
    attempts = prober.result()
    found = Rebuild(
        number=number,
        member=member,
        method=made_from(),
        began=began,
        seconds=seconds,
        p99_ms=attempts.p99_ms("held", (began, began + seconds)),
        attempts_file=str(prober.file.relative_to(context.run.path)),
    )
    context.run.keep(found)
    return found


def _lanes(cluster: Cluster) -> list[Lane]:
    """Return both kinds of client, at rates that leave the processors to backup and restore.

    No gap is measured here, so there are few new sessions. Latency is that of
    kept sessions, as pgbench's are: the service level is about transactions.
    """
    return [
        Lane("fresh", "fresh", cluster.conninfo(), FRESH_RATE),
        Lane("held", "held", cluster.conninfo(), HELD_RATE),
    ]


def _prepare_load(context: DrillContext) -> Program:
    """Return the program of the shop's load, after its tables were prepared.

    Raises:
        BrokenEnvironmentError: there is no suitable pgbench, or the tables cannot be made.
    """
    program = context.platform.pgbench()
    background_load.prepare(program, context.cluster, context.settings, context.reporter.line)
    write_out(context.cluster, context.reporter)
    return program


def _wait_archived(cluster: Cluster) -> None:
    """Wait until the archive has the WAL of the dataset and of the load's tables.

    What is judged is the archive under its load, not a bulk load of some minutes before.

    Raises:
        DeadlineError: files still wait.
    """
    eventually(
        "the archive to have all WAL files",
        lambda: archiver_of(cluster).waiting,
        lambda files: files == 0,
        within=timeouts.ARCHIVE_CAUGHT_UP,
    )


@dataclass(frozen=True)
class _RestoreSetup:
    """The start of a restore: a settled cluster, an archive, an empty ledger."""

    name: str
    number: int
    archive: Archive
    random: random.Random
    table: str
    raw: Path
    prober: Prober
    program: Program


def _prepare(context: DrillContext, name: str, number: int) -> _RestoreSetup:
    """Let the cluster settle and make the ledger, the prober and the tables of the load.

    Raises:
        BrokenEnvironmentError: the ledger or the tables of the load cannot be made.
        DeadlineError: the cluster was not healthy.
    """
    platform, cluster = context.platform, context.cluster
    assert isinstance(platform, HasArchive), f"{platform.name} has no archive"
    wait_settled(platform.engine, within=timeouts.REDUNDANT_BEFORE)
    table = f"ledger_{name}_{number}_{int(time.time())}"
    raw = context.run.raw / f"recovery-{name}-{number}"
    prober = Prober(_lanes(cluster), table, raw, deadline=DEADLINE)
    program = _prepare_load(context)
    _wait_archived(cluster)
    ledger.create_table(cluster.conninfo(), table)
    platform.archive.discard()
    chance = random.Random(f"{name} {context.settings.seed * 1000 + number}")
    return _RestoreSetup(name, number, platform.archive, chance, table, raw, prober, program)


@contextmanager
def _backed_up(
    context: DrillContext, scene: _RestoreSetup
) -> Iterator[tuple[Update, Callable[[Attempts], BackupTaken]]]:
    """Let clients write for the time of the block, which begins after a backup.

    Yields a function for progress, and one that makes the backup's record after the attempts.
    """
    cluster = context.cluster
    with (
        context.reporter.task(f"{scene.name} {scene.number}/{context.settings.trials}") as update,
        shop_load(
            scene.program, cluster, context.settings, scene.raw / "load", context.reporter.line
        ) as load,
        scene.prober,
    ):
        scene.prober.wait_for_acks(ACKS, within=timeouts.FIRST_ACKS)
        update(1, "backing up")
        began = time.monotonic()
        backup = scene.archive.back_up(lambda done, note="": update(1, note))
        took = time.monotonic() - began
        context.events.record("test", f"backup {backup.label}", cluster.name, began + took)
        _number_rows(cluster, f"{scene.table}_numbered")

        def taken(attempts: Attempts) -> BackupTaken:
            return BackupTaken(
                label=backup.label,
                began=began,
                seconds=took,
                size=backup.size,
                stored=backup.stored,
                p99_ms=attempts.p99_ms("held", (began, began + took)),
                load_p99_ms=load.p99_ms((began, began + took)),
            )

        yield update, taken


def _record(
    scenario: str,
    number: int,
    destruction: str,
    point: Point,
    destroyed_at: float,
    backup: BackupTaken,
    began: float,
    restored: Restored,
    came: RestoredContent,
    attempts_file: str,
) -> Recovery:
    return Recovery(
        scenario=scenario,
        number=number,
        kind=point.kind,
        target=point.text,
        backup=backup,
        point=point.between[0],
        destroyed_at=destroyed_at,
        destruction=destruction,
        began=began,
        steps=tuple(Part(name=name, after=after) for name, after in restored.steps.items()),
        wanted=came.rows.wanted,
        absent=came.rows.absent,
        late=came.rows.late,
        surplus=came.rows.surplus,
        refused=came.rows.refused,
        duplicate=came.rows.duplicate,
        uncertain=came.rows.uncertain,
        neighbours=came.neighbours,
        differing=came.differing,
        checked=came.checked,
        complaints=came.complaints,
        diverged=came.diverged,
        attempts_file=attempts_file,
    )


def _fail_over(context: DrillContext, prober: Prober) -> None:
    """Kill the primary; wait until clients write to the new one and the cluster is redundant again.

    Raises:
        FaultNotRealError: no member was hit, or no standby took over.
        DeadlineError: clients did not write again.
    """
    engine = context.platform.engine
    before = max(member.timeline for member in engine.members())
    fault = context.platform.faults["primary_kill"]
    target = fault.inject()
    context.events.record("fault", "primary_kill injected", target)
    within = patience(where(context.platform))
    prober.wait_for_acks(ACKS, within=within)
    fault.heal()
    members = wait_healthy(engine, within=within)
    if max(member.timeline for member in members) <= before:
        raise FaultNotRealError(f"{target} was killed and no standby took over")


def _number_rows(cluster: Cluster, table: str) -> None:
    """Make a table whose keys come from a sequence, so that a sequence can be checked."""
    with cluster.connect() as connection:
        connection.execute(
            SQL("CREATE TABLE {} (id bigint GENERATED ALWAYS AS IDENTITY, text text)").format(
                Identifier(table)
            )
        )
        connection.execute(
            SQL("INSERT INTO {} (text) SELECT 'row' FROM generate_series(1, 100)").format(
                Identifier(table)
            )
        )


def _point(cluster: Cluster, kind: str, name: str) -> Point:
    """Read the present from the server: its clock, its WAL position, or a restore point."""
    queries: dict[str, SQL | Composed] = {
        "time": SQL("SELECT to_json(clock_timestamp())::text"),
        "lsn": SQL("SELECT pg_current_wal_insert_lsn()::text"),
        "name": SQL("SELECT pg_create_restore_point({})::text").format(name),
    }
    with cluster.connect() as connection:
        connection.execute("SET timezone = 'UTC'")
        before = time.monotonic()
        row = connection.execute(queries[kind]).fetchone()
        after = time.monotonic()
    assert row is not None
    return Point(kind, name if kind == "name" else row[0].strip('"'), (before, after))


def _destroy(cluster: Cluster) -> float:
    """Execute the destructive statements; return when they were committed."""
    with cluster.connect(statement_timeout=60) as connection, connection.transaction():
        for statement in DESTRUCTION:
            connection.execute(statement)
    return time.monotonic()


def _look(
    restored: Restored, attempts: Attempts, table: str, point: Point, roles: frozenset[str]
) -> RestoredContent:
    """Compare what was restored with what was written, and check its integrity.

    roles: those of the cluster that was backed up.
    """
    cluster = restored.cluster
    ids = ledger.read_ids(cluster.conninfo(), table)
    found = integrity.inspect(cluster.conninfo(), within=LOOK_WITHIN)
    strange = sorted(roles ^ integrity.roles(cluster.conninfo(), within=LOOK_WITHIN))
    return RestoredContent(
        rows=ledger.as_of(attempts, ids, point.between),
        neighbours=ledger.near(attempts, ids, point.between[0], NEAR),
        differing=_differing(cluster),
        checked=found.checked | {"roles": len(roles)},
        complaints=(*found.complaints, *(f"role differs: {role}" for role in strange)),
        diverged=_diverged(cluster, table),
    )


def _differing(cluster: Cluster) -> tuple[str, ...]:
    """Name the tables of the dataset that are not as they were loaded."""
    members = {name: cluster.conninfo(at) for name, at in cluster.members.items()}
    try:
        seen = dataset.verify(cluster.conninfo(), members, within=LOOK_WITHIN)
    except DatasetError as error:
        return tuple(str(error).split("; "))
    except DeadlineError as error:
        return (str(error).splitlines()[0],)
    return () if seen else ("the dataset is not there at all",)


def _diverged(cluster: Cluster, table: str) -> tuple[str, ...]:
    """Name the members whose rows still differ from the primary's after the time for replay."""

    def differ() -> tuple[str, ...]:
        primary = ledger.rows_on(cluster.conninfo(), table)
        return tuple(
            name
            for name, at in cluster.members.items()
            if ledger.rows_on(cluster.conninfo(at), table) != primary
        )

    try:
        return eventually(
            "the same rows on every member",
            differ,
            lambda names: not names,
            within=timeouts.LEDGER_REPLAYED,
            not_yet=(BrokenEnvironmentError,),
        )
    except DeadlineError:
        return differ()
