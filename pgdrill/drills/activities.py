"""The activities of the experiments: thin chaostoolkit wrappers of the platform's faults.

They also work under plain `chaos run FILE`, against whatever platform is up.
"""

import time

import psycopg

from pgdrill.engines.base import NoPrimaryError
from pgdrill.judge import failover
from pgdrill.platforms.base import Platform, where
from pgdrill.platforms.select import choose
from pgdrill.settings import resolve
from pgdrill.waiting import DeadlineError, eventually

NOBODY = "nobody"  # the result if no member took over

_bound: list[Platform] = []
_hit: dict[str, str] = {}  # the member that each fault hit last


def bind(platform: Platform) -> None:
    """Use this platform object, with the state of its faults, for every later activity."""
    _bound[:] = [platform]


def _platform() -> Platform:
    if not _bound:
        bind(choose(resolve({}))[0])
    return _bound[0]


def inject(fault: str) -> dict[str, object]:
    """Break something; name the member that was hit and when (monotonic seconds)."""
    before = time.monotonic()
    member = _hit[fault] = _platform().faults[fault].inject()
    return {"member": member, "at": before, "done": time.monotonic()}


def verify_injected(fault: str) -> str:
    """Return evidence that the fault is real; no evidence raises, which fails the activity."""
    return _platform().faults[fault].verify_injected()


def heal(fault: str) -> dict[str, object]:
    """Undo it, whatever the state of the database, and verify that it is undone."""
    at = time.monotonic()
    _platform().faults[fault].heal()
    return {"at": at, "evidence": _platform().faults[fault].verify_healed()}


def accepts_writes() -> bool:
    """Whether the read-write address reaches a server that accepts writes, sooner or later."""
    cluster = _platform().cluster()

    def writable() -> bool:
        with cluster.connect(statement_timeout=2) as session:
            row = session.execute("SELECT NOT pg_is_in_recovery()").fetchone()
            return bool(row and row[0])

    try:
        return eventually(
            "the read-write address accepts writes",
            writable,
            within=_longest_wait(),
            every=0.2,
            not_yet=(psycopg.Error,),
        )
    except DeadlineError:
        return False


def _longest_wait() -> float:
    """Return how long to wait: a fixed number would be shorter than the promise of some outages.

    With the operator's defaults a deleted primary may cause an outage of minutes, and it is chance
    whether it already refuses new sessions when it is checked right after the fault.
    """
    return failover.patience(where(_platform()))


def primary_moved(from_fault: str) -> str:
    """Wait until a member other than the one that was hit is primary; return its name.

    NOBODY after that time: a failover that never comes is a broken promise, not an invalid
    fault, so the fault is healed and the write gap judged.
    """
    platform = _platform()
    hit = _hit[from_fault]
    with platform.observers() as observers:
        try:
            return eventually(
                f"a primary other than {hit}",
                observers["promoted"],
                lambda name: bool(name) and name != hit and "," not in name,
                within=_longest_wait(),
                every=0.1,
            )
        except DeadlineError:
            return NOBODY


def primary_replaced(from_fault: str) -> str:
    """Wait until a primary answers that is not the process that was hit; return its name.

    Another member, or the same one restarted in place. NOBODY after that time: a primary that
    never comes is a broken promise, not an invalid fault.
    """
    platform = _platform()
    engine = platform.engine
    hit = _hit[from_fault]
    before = next(member.incarnation for member in engine.members() if member.name == hit)

    def replaced() -> str:
        primary = engine.primary()
        return primary.name if (primary.name, primary.incarnation) != (hit, before) else ""

    try:
        return eventually(
            f"a primary in place of {hit}",
            replaced,
            bool,
            within=_longest_wait(),
            every=1.0,
            not_yet=(NoPrimaryError,),
        )
    except DeadlineError:
        return NOBODY
