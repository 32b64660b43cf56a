"""What a fault may cost: budgets by edition of the engine and timing, each with its arithmetic.

Keyed by both because the arithmetic is theirs: detection, lease, shutdown, routing. An edition is
an engine, with its version where the promises differ by that.
"""

from dataclasses import dataclass

from pgdrill.records import Budget


def _seconds(name: str, limit: float, because: str) -> Budget:
    return Budget(name=name, limit=limit, unit="s", better="lower", because=because)


@dataclass(frozen=True)
class FaultBudgets:
    """The promises of one fault: the write gap (max of all trials, each lane) and redundancy."""

    gap: Budget
    redundancy: Budget


RECOVER = 120.0  # seconds we are willing to look for recovery, at least
REDUNDANCY = _seconds(
    "time to full redundancy", 60, "restart, pg_rewind or re-clone of one small member, and stream"
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
TWO_WRITERS = _seconds(
    "time with two writable members", 0, "the old primary must stop before the new one accepts"
)
DIVERGED = Budget(
    name="members that differ",
    limit=0,
    unit="members",
    better="lower",
    because="after recovery every member holds the same rows",
)

TUNED = "tuned"  # the timing whose promises are the suite's own; any other is a comparison

_PATRONI = {
    "primary_kill": _seconds(
        "write gap", 10, "restarted Patroni gives its own lock up: loop 1 + election 2 + checks 1"
    ),
    "postmaster_kill": _seconds(
        "write gap", 10, "primary_start_timeout 0: loop 1 + demote + election 2 + checks 1"
    ),
    "primary_away": _seconds(
        "write gap", 30, "nobody gives the lock up: ttl 20 + loop 1 + election 2 + checks 1"
    ),
    "primary_freeze": _seconds(
        "write gap", 30, "a frozen owner keeps the lock: ttl 20 + loop 1 + election 2 + checks 1"
    ),
    "switchover": _seconds(
        "write gap",
        6,
        "Patroni polls the shutdown every 1 s, and the standby left over pauses 2 s"
        " before it follows the new primary, which needs it to acknowledge; twice that",
    ),
    "standby_kill": _seconds(
        "write gap", 2, "the other standby acknowledges: no commit waits for the dead one"
    ),
    "standby_freeze": _seconds(
        "write gap", 2, "the other standby acknowledges: no commit waits for the frozen one"
    ),
}
# The operator asks the silent primary for its status before it fails over. Over a connection that
# is still open from the last time it waits 30 s for the answer, otherwise 2 s.
_UNANSWERED = "unanswered status 31 + promotion 5 + endpoint and address 8, with margin"
# infra/helm/postgres-cnpg/values.tuned.yaml: every phase of a fail-over is bounded. With 1.30.0 a
# killed primary keeps its lease until that runs out; one that is told to stop gives it back.
_CNPG_TUNED = {
    "primary_kill": _seconds(
        "write gap", 15, "named 1 + lease 5 + promotion 3 + endpoint and address 2, with margin"
    ),
    "primary_grace_1": _seconds(
        "write gap", 15, "named 1 + lease 5 + promotion 3 + endpoint and address 2, with margin"
    ),
    "primary_delete": _seconds(
        "write gap",
        15,
        "named 1 + clean stop 5 + promotion 3 + endpoint and address 2, with margin",
    ),
    "postmaster_kill": _seconds(
        "write gap", 20, "restart in place: back-off 10 + recovery 3 + ready 5 + endpoint 2"
    ),
    "primary_away": _seconds("write gap", 80, f"node grace 16 + poll 5 + lease 10 + {_UNANSWERED}"),
    "primary_freeze": _seconds(
        "write gap",
        45,
        "4 liveness probes of 5 s + the last one's time-out 4 + kill 1 + start 5 + ready 5"
        " + endpoint 2, with margin",
    ),
    "switchover": _seconds(
        "write gap", 12, "switchoverDelay 5 + promotion 2 + endpoint and address 4, seen after 1"
    ),
    "standby_kill": _seconds(
        "write gap", 2, "the other standby acknowledges: no commit waits for the dead one"
    ),
    "standby_freeze": _seconds(
        "write gap", 2, "the other standby acknowledges: no commit waits for the frozen one"
    ),
}
# infra/helm/postgres-cnpg/values.default.yaml: what differs when nobody tunes anything.
_UNTUNED = {
    "primary_kill": _seconds(
        "write gap",
        240,
        "a smart shutdown serves open sessions for 180, new ones not at all"
        " + promotion 2 + slots 10 + endpoint 4, with margin",
    ),
    "primary_delete": _seconds(
        "write gap",
        240,
        "smart shutdown waits 180 for open sessions"
        " + promotion 2 + slots 10 + endpoint 4, with margin",
    ),
    "primary_freeze": _seconds(
        "write gap", 90, f"3 probes of 10 s + the last one's time-out 5 + {_UNANSWERED}"
    ),
    "switchover": _seconds(
        "write gap", 45, "clean stop 5 + promotion 2 + slots 10 + endpoint 4, twice that"
    ),
}
# 1.25.4 has no lease, so a primary that hangs is replaced. Its limits stay as they were drilled.
_CNPG_1_25_TUNED = _CNPG_TUNED | {
    "primary_freeze": _seconds(
        "write gap", 75, f"3 probes of 5 s + the last one's time-out 3 + {_UNANSWERED}"
    ),
    "primary_kill": _seconds("write gap", 20, "seen 5 + promotion 3 + endpoint and address 4"),
    "primary_grace_1": _seconds("write gap", 20, "grace 1 + seen 5 + promotion 3 + endpoint 4"),
    "primary_delete": _seconds(
        "write gap", 20, "stopDelay 10 + seen 1 + promotion 2 + endpoint and address 4"
    ),
    "postmaster_kill": _seconds(
        "write gap", 30, "restart in place: back-off 10 + recovery 5 + ready 5 + endpoint 4"
    ),
    "switchover": _seconds(
        "write gap", 15, "switchoverDelay 5 + promotion 2 + endpoint and address 4, with margin"
    ),
}
_PROMISED = {
    ("patroni", TUNED): _PATRONI,
    ("cnpg 1.30.0", TUNED): _CNPG_TUNED,
    ("cnpg 1.30.0", "default"): _CNPG_TUNED | _UNTUNED,
    ("cnpg 1.25.4", TUNED): _CNPG_1_25_TUNED,
    ("cnpg 1.25.4", "default"): _CNPG_1_25_TUNED | _UNTUNED,
}


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
    return REDUNDANCY.model_copy(
        update={
            "limit": gap.limit + REDUNDANCY.limit,
            "because": f"a write gap of {gap.limit:g} at most, then {REDUNDANCY.because}",
        }
    )
