"""The promises of backups and restores, and judging them."""

from collections.abc import Iterable, Sequence
from statistics import median_low

from pgdrill.judge.bench import Claim, check
from pgdrill.judge.budgets import P99, PROCESSORS, processors_of
from pgdrill.judge.verdicts import Verdicts, worst
from pgdrill.records import Budget, Fingerprint, Rebuild, Recovery, total
from pgdrill.rundir import Records

ABSENT = Budget(
    name="rows absent",
    limit=0,
    unit="rows",
    better="lower",
    because="acknowledged before the point, and so in the archive",
)
SURPLUS = Budget(
    name="rows too many",
    limit=0,
    unit="rows",
    better="lower",
    because="sent after the point, or refused: recovery ends before them",
)
DUPLICATE = Budget(
    name="duplicate rows", limit=0, unit="rows", better="lower", because="WAL is replayed once"
)
DIFFERING = Budget(
    name="tables that differ",
    limit=0,
    unit="tables",
    better="lower",
    because="their checksums were taken when they were loaded, and nothing writes to them",
)
IN_ORDER = Budget(
    name="defects",
    limit=0,
    unit="defects",
    better="lower",
    because="references, sequences, roles, and by amcheck every index and table",
)
DIVERGED = Budget(
    name="members that differ",
    limit=0,
    unit="members",
    better="lower",
    because="the restored cluster is as highly available as the first",
)


HOLES = Budget(
    name="rows absent before later ones",
    limit=0,
    unit="rows",
    better="lower",
    because="WAL is replayed in order: what is lost is the end",
)
FROM_ARCHIVE = Budget(
    name="standbys made from the primary",
    limit=0,
    unit="standbys",
    better="lower",
    because="the archive has a backup: the primary only sends what came since",
)
ARCHIVE_METHOD = {"patroni": "pgbackrest"}  # the name that Patroni uses


# By engine, for the million rows of the shop on two cores.
_BACK_UP = {
    "patroni": total(
        "time to back up",
        {"checkpoint": 5, "copy of 160 MB": 10, "last WAL": 1},
        margin=4,
    ),
    "cnpg": total(
        "time to back up",
        {"checkpoint": 5, "Barman's start and copy": 33, "older ones removed": 10},
        margin=12,
    ),
}
_FIRST_WRITE = {
    "patroni": total(
        "time to first accepted write",
        {"playbook": 20, "base copy": 10, "replay": 10, "promotion": 8},
        margin=12,
    ),
    "cnpg": total(
        "time to first accepted write",
        {
            "playbook": 30,
            "job and copy": 40,
            "replay": 30,
            "first instance": 20,
            "a standby, which has to acknowledge": 24,
        },
        margin=36,
    ),
}
_REDUNDANT = {
    "patroni": total(
        "time to full redundancy",
        {"first write": 60, "two members copied and streaming": 40},
        key="restored.time-to-full-redundancy",
        margin=20,
    ),
    "cnpg": total(
        "time to full redundancy",
        {"first write": 180, "the third instance": 30},
        key="restored.time-to-full-redundancy",
        margin=30,
    ),
}
_REBUILT = {
    "patroni": total(
        "time to stream again", {"restore": 20, "replay": 10, "Patroni's looks": 10}, margin=10
    ),
}
STORE = 10.0  # seconds for a WAL file to be stored


def loss(promised: float) -> Budget:
    """Return the budget for writes that are lost with every member and volume, in seconds."""
    return total(
        "writes lost with every volume",
        {"archive_timeout": promised - STORE, "to store the file": STORE},
    )


# On fewer processors nodes, members, clients and Barman share them. Measured on two: 170 to 180 %
# of 200 % are in use during a backup, up to 20 tasks wait for a processor, for as long as 0.4 s,
# and a commit needs some ten of them in turn. Compression, nice levels and a backup of the primary
# instead of a standby make no difference.
P99_CROWDED = Budget(
    name="p99 latency during a backup, on fewer than 4 processors",
    limit=2000,
    unit="ms",
    better="lower",
    because="a client waits 2 s: its commits wait for a processor, and it does not give up",
)


def client_latency(engine: str, processors: int) -> Budget:
    """Return what p99 may be while a backup runs beside the members on so many processors."""
    return P99_CROWDED if engine == "cnpg" and processors < PROCESSORS else P99


# The subject of verdicts, by the scenario's name in a record.
SUBJECTS = {
    "oops": "oops",
    "failover": "oops after a failover",
    "everything gone": "everything gone",
}
REBUILT = "new member"
LOSS = 70.0  # archive_timeout of 60 s on every platform, and STORE


def rejudge(records: Records, verdicts: Verdicts) -> None:
    """Judge again every restore, and every standby that was rebuilt."""
    where = records.one(Fingerprint)
    if where is None or where.engine not in _BACK_UP:
        return
    processors = processors_of(where)
    for scenario, subject in SUBJECTS.items():
        found = [r for r in records.all(Recovery) if r.scenario == scenario]
        if found and scenario == "everything gone":
            check(claims_of_loss(where.engine, processors, LOSS, found), subject, verdicts)
        elif found:
            check(claims(where.engine, processors, found), subject, verdicts)
    rebuilt = records.all(Rebuild)
    if rebuilt and where.engine in _REBUILT:
        check(claims_of_rebuild(where.engine, rebuilt), REBUILT, verdicts)


def claims(engine: str, processors: int, found: Sequence[Recovery]) -> list[Claim]:
    """Judge the worst of all restores to a point; without rows to restore there is no evidence."""
    wanted, late = sum(r.wanted for r in found), sum(r.late for r in found)
    real = all(r.wanted and r.late for r in found)
    rows = f"of {wanted:,} before the points and {late:,} after them"
    return [
        Claim(ABSENT, _sum(real, [r.absent for r in found]), rows),
        Claim(SURPLUS, _sum(real, [r.surplus + r.refused for r in found]), rows),
        *_in_order(real, found),
        *_times(engine, processors, found),
    ]


def claims_of_loss(
    engine: str, processors: int, promised: float, found: Sequence[Recovery]
) -> list[Claim]:
    """Judge the worst of all losses of a whole cluster; promised: seconds that may be lost."""
    wanted, absent = sum(r.wanted for r in found), sum(r.absent for r in found)
    real = all(r.wanted > r.absent for r in found)
    lost = [r.lost_seconds for r in found]
    return [
        Claim(
            loss(promised),
            worst(lost) if real else None,
            f"{absent:,} of {wanted:,} rows; {_spread(lost)}".rstrip("; "),
        ),
        Claim(HOLES, _sum(real, [r.holes for r in found]), f"of {wanted:,} rows"),
        Claim(SURPLUS, _sum(real, [r.refused for r in found]), f"of {wanted:,} rows"),
        *_in_order(real, found),
        *_times(engine, processors, found),
    ]


def claims_of_rebuild(engine: str, found: Sequence[Rebuild]) -> list[Claim]:
    """Judge the slowest rebuild of a standby, and the clients' latency during it."""
    others = sorted({r.method or "unknown" for r in found} - {ARCHIVE_METHOD[engine]})
    return [
        Claim(
            FROM_ARCHIVE,
            len([r for r in found if r.method != ARCHIVE_METHOD[engine]]),
            ", ".join(others),
        ),
        Claim(_REBUILT[engine], max(r.seconds for r in found), _spread([r.seconds for r in found])),
        Claim(P99, worst([r.p99_ms for r in found]), "clients of the prober meanwhile"),
    ]


def _in_order(real: bool, found: Sequence[Recovery]) -> list[Claim]:
    checked = ", ".join(f"{n} {what}" for what, n in found[0].checked.items())
    return [
        Claim(DUPLICATE, _sum(real, [r.duplicate for r in found])),
        Claim(DIFFERING, sum(len(r.differing) for r in found), _first(r.differing for r in found)),
        Claim(
            IN_ORDER,
            _sum(all(_looked(r) for r in found), [len(r.complaints) for r in found]),
            _first(r.complaints for r in found) or checked,
        ),
        Claim(DIVERGED, _sum(real, [len(r.diverged) for r in found])),
    ]


def _times(engine: str, processors: int, found: Sequence[Recovery]) -> list[Claim]:
    backups = [r.backup.seconds for r in found]
    p99s = [p99 for r in found for p99 in (r.backup.load_p99_ms, r.backup.p99_ms)]
    writes, redundant = ([r.step(step) for r in found] for step in ("first write", "redundancy"))
    return [
        Claim(_BACK_UP[engine], max(backups), _spread(backups)),
        Claim(
            client_latency(engine, processors),
            worst(p99s),
            "clients while the backup ran: the shop's load, and the ledger's",
        ),
        Claim(_FIRST_WRITE[engine], worst(writes), _spread(writes)),
        Claim(_REDUNDANT[engine], worst(redundant), _spread(redundant)),
    ]


def _looked(recovery: Recovery) -> bool:
    return bool(recovery.checked) and all(recovery.checked.values())


def _sum(real: bool, counts: Sequence[int]) -> int | None:
    """Return the sum; None if it is zero and nothing was written, which proves nothing."""
    total = sum(counts)
    return total if real or total else None


def _first(found: Iterable[Sequence[str]]) -> str:
    return next((lines[0] for lines in found if lines), "")


def _spread(values: Sequence[float | None]) -> str:
    seen = sorted(value for value in values if value is not None)
    if len(seen) < 2:
        return ""
    return f"min {seen[0]:.1f}, p50 {median_low(seen):.1f} of {len(seen)} restores"
