"""What a fault may cost: budgets by edition of the engine and timing, each with its arithmetic.

Keyed by both because the arithmetic is theirs: detection, lease, shutdown, routing. An edition is
an engine, with its version where the promises differ by that.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pgdrill.judge.promises import total
from pgdrill.records import Budget


@dataclass(frozen=True)
class FaultBudgets:
    """The promises of one fault: the write gap (max of all trials, each lane) and redundancy."""

    gap: Budget
    redundancy: Budget


RECOVER = 120.0  # seconds we are willing to look for recovery, at least
REDUNDANCY = total(
    "time to full redundancy",
    {"restart": 10, "pg_rewind, or a copy of one small member": 30, "stream": 10},
    margin=10,
)
LOST = Budget(
    name="acknowledged writes lost",
    limit=0,
    unit="rows",
    better="lower",
    because="synchronous replication: an acknowledged write is on two members",
)
PHANTOM = Budget(
    name="refused writes present",
    limit=0,
    unit="rows",
    better="lower",
    because="an error that precedes the commit must leave no row",
)
DUPLICATE = Budget(
    name="duplicate rows",
    limit=0,
    unit="rows",
    better="lower",
    because="no attempt is ever sent twice",
)
TWO_WRITERS = Budget(
    name="time with two writable members",
    limit=0,
    unit="s",
    better="lower",
    because="the old primary must stop before the new one accepts",
)
DIVERGED = Budget(
    name="members that differ",
    limit=0,
    unit="members",
    better="lower",
    because="after recovery every member holds the same rows",
)

TUNED = "tuned"  # the timing whose promises are the suite's own; any other is a comparison

REPLAYS = "what a new primary has to replay first"
SHARED = "members, clients and monitoring share the processors"


def _gap(
    fault: str, terms: Mapping[str, float], *, margin: float = 0.0, why: str = ""
) -> dict[str, Budget]:
    """Return the promise of a fault's write gap, by the name of the fault."""
    return {fault: total("write gap", terms, key=f"{fault}.write-gap", margin=margin, why=why)}


def _unnoticed(fault: str) -> dict[str, Budget]:
    """Return the promise of a fault that hits a standby: the other one acknowledges."""
    terms = {"no commit waits for it; a session that was on its way to it": 1}
    return _gap(fault, terms, margin=1, why=SHARED)


_PATRONI = {
    **_gap(
        "primary_kill",
        {"the restarted owner gives its lock up: loop": 1, "election": 2, "checks": 1},
        margin=6,
        why=REPLAYS,
    ),
    **_gap(
        "postmaster_kill",
        {"primary_start_timeout 0: loop": 1, "demotion": 1, "election": 2, "checks": 1},
        margin=5,
        why=REPLAYS,
    ),
    **_gap(
        "primary_away",
        {"nobody gives the lock up: ttl": 20, "loop": 1, "election": 2, "checks": 1},
        margin=6,
    ),
    **_gap(
        "primary_freeze",
        {"a frozen owner keeps the lock: ttl": 20, "loop": 1, "election": 2, "checks": 1},
        margin=6,
    ),
    **_gap(
        "switchover",
        {
            "clean stop, looked at every second": 2,
            "promotion": 1,
            "pause of the other standby, which has to acknowledge, before it follows": 2,
        },
        margin=1,
    ),
    **_unnoticed("standby_kill"),
    **_unnoticed("standby_freeze"),
}
# The operator asks the silent primary for its status before it fails over. Over a connection that
# is still open from the last time it waits 30 s for the answer, otherwise 2 s.
_UNANSWERED = {"unanswered status": 31, "promotion": 5, "endpoint and address": 8}
# infra/helm/postgres-cnpg/values.tuned.yaml: every phase of a fail-over is bounded. With 1.30.0 a
# killed primary keeps its lease until that runs out; one that is told to stop gives it back.
_LEASE = {"named": 1, "lease": 5, "promotion": 3, "endpoint and address": 2}
_CNPG_TUNED = {
    **_gap("primary_kill", _LEASE, margin=4, why=SHARED),
    **_gap("primary_grace_1", {"grace": 1, **_LEASE}, margin=3),
    **_gap(
        "primary_delete",
        {"named": 1, "clean stop": 5, "promotion": 3, "endpoint and address": 2},
        margin=4,
        why=SHARED,
    ),
    **_gap(
        "postmaster_kill",
        {"restart in place: back-off": 10, "recovery": 3, "ready": 5, "endpoint": 2},
    ),
    **_gap("primary_away", {"node grace": 16, "poll": 5, "lease": 10, **_UNANSWERED}, margin=5),
    **_gap(
        "primary_freeze",
        {
            "4 liveness probes of 5 s": 20,
            "time-out of the last one": 4,
            "kill": 1,
            "start": 5,
            "ready": 5,
            "endpoint": 2,
        },
        margin=8,
    ),
    **_gap(
        "switchover",
        {"seen after": 1, "switchoverDelay": 5, "promotion": 2, "endpoint and address": 4},
    ),
    **_unnoticed("standby_kill"),
    **_unnoticed("standby_freeze"),
}
# infra/helm/postgres-cnpg/values.default.yaml: what differs when nobody tunes anything.
_SMART = {"promotion": 2, "slots": 10, "endpoint": 4}
_UNTUNED = {
    **_gap(
        "primary_kill",
        {"smart shutdown, for open sessions and not for new ones": 180, **_SMART},
        margin=44,
    ),
    **_gap("primary_delete", {"smart shutdown for open sessions": 180, **_SMART}, margin=44),
    **_gap(
        "primary_freeze",
        {"3 probes of 10 s": 30, "time-out of the last one": 5, **_UNANSWERED},
        margin=11,
    ),
    **_gap("switchover", {"clean stop": 5, **_SMART}, margin=5),
}
# 1.25.4 has no lease, so a primary that hangs is replaced.
_CNPG_1_25_TUNED = {
    **_CNPG_TUNED,
    **_gap(
        "primary_freeze",
        {"3 probes of 5 s": 15, "time-out of the last one": 3, **_UNANSWERED},
        margin=13,
    ),
    **_gap("primary_kill", {"seen": 5, "promotion": 3, "endpoint and address": 4}, margin=3),
    **_gap("primary_grace_1", {"grace": 1, "seen": 5, "promotion": 3, "endpoint": 4}, margin=3),
    **_gap(
        "primary_delete",
        {"stopDelay": 10, "seen": 1, "promotion": 2, "endpoint and address": 4},
        margin=3,
    ),
    **_gap(
        "postmaster_kill",
        {"restart in place: back-off": 10, "recovery": 5, "ready": 5, "endpoint": 4},
        margin=6,
    ),
    **_gap(
        "switchover",
        {"seen after": 1, "switchoverDelay": 5, "promotion": 2, "endpoint and address": 4},
        margin=3,
    ),
}
_PROMISED = {
    ("patroni", TUNED): _PATRONI,
    ("cnpg 1.30.0", TUNED): _CNPG_TUNED,
    ("cnpg 1.30.0", "default"): _CNPG_TUNED | _UNTUNED,
    ("cnpg 1.25.4", TUNED): _CNPG_1_25_TUNED,
    ("cnpg 1.25.4", "default"): _CNPG_1_25_TUNED | _UNTUNED,
}


def promised() -> list[Budget]:
    """Return every promise of a write gap, under any engine and timing."""
    return [budget for table in _PROMISED.values() for budget in table.values()]


def longest_gap(edition: str, timing: str) -> float:
    """Return the longest write gap that any fault is allowed there, seconds."""
    return max(budget.limit for budget in _PROMISED[edition, timing].values())


def other_timing(timing: str) -> str:
    """Return the name of settings that are compared with the suite's own; '' for its own."""
    return "" if timing == TUNED else timing


def patience(edition: str, timing: str) -> float:
    """Return for how long to look for recovery, seconds: a broken promise is measured, too."""
    return max(RECOVER, 1.5 * longest_gap(edition, timing))


def budgets(edition: str, timing: str, fault: str) -> FaultBudgets:
    """Return the promises of a fault on an engine with these fail-over settings.

    Raises:
        KeyError: nobody has promised anything: a fault without budgets proves nothing.
    """
    gap = _PROMISED[edition, timing][fault]
    away = fault in ("primary_away", "primary_freeze") or gap.limit > REDUNDANCY.limit
    return FaultBudgets(gap, _after(gap) if away else REDUNDANCY)


def _after(gap: Budget) -> Budget:
    """Return redundancy's promise where the old primary is not taken back before a new one is."""
    terms = {t.name: t.seconds for t in REDUNDANCY.terms}
    margin = terms.pop("margin")
    return total(REDUNDANCY.name, {"write gap, at most": gap.limit, **terms}, margin=margin)
