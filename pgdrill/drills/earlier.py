"""The last green run that a load can be compared with."""

from pgdrill.records import Bench, EarlierLoad, Fingerprint, RunEnd, Verdict
from pgdrill.rundir import Records, RunDir

# Settings that change the capacity, or the work that is done meanwhile.
SAME = ("profile", "clients", "rows", "timing", "archive")


def earlier_load(run: RunDir) -> EarlierLoad | None:
    """Return the load of the newest green run beside this one; None where there is no such run.

    Green: it ended, and no verdict of it was broken or invalid. It must have run on the same
    machine and platform, with the same engine, its settings and those of SAME.
    """
    here = Records(run).one(Fingerprint)
    if here is None:
        return None
    loads = run.path.parent.glob(f"*/{Bench.FILE}")
    for file in sorted(loads, key=lambda file: file.stat().st_mtime, reverse=True):
        if file.parent == run.path:
            continue
        records = Records(RunDir(file.parent))
        there, bench = records.one(Fingerprint), records.one(Bench)
        if there and bench and bench.calibration_tps and _alike(here, there) and _green(records):
            return EarlierLoad(run=file.parent.name, capacity_tps=bench.calibration_tps)
    return None


def _alike(one: Fingerprint, other: Fingerprint) -> bool:
    def facts(of: Fingerprint) -> tuple[object, ...]:
        return (
            of.platform,
            of.engine,
            of.edition,
            of.machine,
            of.tuning,
            [of.settings.get(key) for key in SAME],
        )

    return facts(one) == facts(other)


def _green(records: Records) -> bool:
    ended = records.one(RunEnd)
    if ended is None or ended.exit_status:
        return False
    return all(v.outcome == "met" or v.expected != "met" for v in records.all(Verdict))
