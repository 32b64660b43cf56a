"""Every fault that is drilled: its target, its promises, and the alerts that must see it.

A new fault is an entry here, and a class in each platform that can do it (docs/extending.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from pgdrill.records import Budget, total

TUNED = "tuned"  # the timing that the suite's promises are for; any other is a comparison


class Where(NamedTuple):
    """Where a promise holds: detection, lease, shutdown and routing differ by these.

    An edition is an engine, with its version where the promises differ by that; a timing is a set
    of failover settings.
    """

    platform: str
    edition: str
    timing: str


LOCAL = Where("local", "patroni", TUNED)
KIND = Where("kind", "cnpg 1.30.0", TUNED)
KIND_DEFAULT = Where("kind", "cnpg 1.30.0", "default")
KIND_1_25 = Where("kind", "cnpg 1.25.4", TUNED)
KIND_1_25_DEFAULT = Where("kind", "cnpg 1.25.4", "default")
# An existing cluster on the operator's own failover settings, or on shorter ones; with longer ones
# nothing bounds an outage, and nothing is promised.
OWN, UNBOUNDED = "own", "unbounded"
KUBE = Where("kube", "cnpg", OWN)
# An existing cluster of Patroni's, by the loop_wait of its configuration: it bounds how late a
# standby looks at what happened. Beyond Patroni's default, 10 s, nothing is promised either.
LOOP_WAITS = range(1, 11)
PATRONI = {n: Where("patroni", "patroni", f"loop-wait-{n}") for n in LOOP_WAITS}
# Seconds that the lock of a silent primary is valid: Patroni's default. With more, nothing is
# promised where machines are reached.
TTL = 30
CNPG = (KIND, KIND_DEFAULT, KIND_1_25, KIND_1_25_DEFAULT)
UNTUNED = (KIND_DEFAULT, KIND_1_25_DEFAULT)
EVERYWHERE = (LOCAL, *CNPG)
UNSET = (*UNTUNED, KUBE)  # the operator's defaults bound an outage


@dataclass(frozen=True)
class Cost:
    """The parts of a write gap, in seconds, and one margin with its reason if large."""

    parts: Mapping[str, float]
    margin: float = 0.0
    why: str = ""


@dataclass(frozen=True)
class Excused:
    """Why no alert has to see a fault."""

    reason: str


Alerts = tuple[str, ...] | Excused
Fate = Literal["moves", "stays", "either"]


@dataclass(frozen=True)
class Compared:
    """A fault that is drilled on another timing as well, as a comparison."""

    claim: str
    profile: str = "laptop"


@dataclass(frozen=True)
class FaultSpec:
    """One fault. Its name is its key in `Platform.faults` and the name of its experiment."""

    name: str
    title: str  # of the experiment
    claim: str  # what its test proves, one sentence
    # Whether another member, or the same one on a new timeline, must be primary afterwards, must
    # not be, or may be.
    primary: Fate
    cost: Mapping[Where, Cost]
    alerts: Mapping[Where, Alerts]  # those that must see it, or why none has to
    # When it is healed: at once, or when another member is primary, or when a primary answers that
    # is not the process that was hit.
    healed: Literal["at once", "moved", "replaced"] = "at once"
    lasts: float = 0.0  # seconds before it is healed
    # Whether the member that was hit can come back only after a failover, or once it is healed.
    returns_late: bool = False
    needs: str = ""  # a capability of the platform, in addition to the fault
    profile: str = "quick"  # the smallest that drills it
    compared: Mapping[str, Compared] = field(default_factory=dict)  # by timing
    elsewhere: Mapping[Where, Fate] = field(default_factory=dict)  # where the fate is another
    # Seconds in which the primary that was hit still answers Prometheus: it is not missed before.
    answers: Mapping[Where, float] = field(default_factory=dict)

    def fate(self, where: Where) -> Fate:
        """Return what must, or may, happen to the primary there."""
        return self.elsewhere.get(where, self.primary)

    def gap(self, where: Where) -> Budget:
        """Return the promise of its write gap, for the worst of all trials on each lane.

        Raises:
            KeyError: nothing is promised there: a fault without budgets proves nothing.
        """
        cost = self.cost[where]
        key = f"{self.name}.write-gap"
        return total("write gap", cost.parts, key=key, margin=cost.margin, why=cost.why)


_REPLAYS = "what a new primary has to replay first"
_REPLAYED = "what was written since the last checkpoint is replayed"
_SHARED = "members, clients and monitoring share the processors"
# A standby is lost: the other one acknowledges.
_UNNOTICED = Cost(
    {"no commit waits for it; a session that was on its way to it": 1}, margin=1, why=_SHARED
)
# What leads clients to a Patroni cluster is the user's: HAProxy as Patroni's manual has it checks
# each member every 3 s, and takes it in after two answers.
_WAY_IN = {"the way in takes the primary in: two checks of 3 s": 6, "the second one's answer": 1}
# The operator asks the silent primary for its status before it fails over. Over a connection that
# is still open from the last time it waits 30 s for the answer, otherwise 2 s.
_UNANSWERED = {"unanswered status": 31, "promotion": 5, "endpoint and address": 8}
# infra/helm/postgres-cnpg/values.tuned.yaml: every phase of a failover is bounded. With 1.30.0 a
# killed primary keeps its lease until that runs out; one that is asked to stop releases it.
_LEASE = {"named": 1, "lease": 5, "promotion": 3, "endpoint and address": 2}
_HANDED_OVER = {"seen after": 1, "switchoverDelay": 5, "promotion": 2, "endpoint and address": 4}
# infra/helm/postgres-cnpg/values.default.yaml: what differs without any tuning.
_SMART = {"promotion": 2, "slots": 10, "endpoint": 4}

# infra/helm/postgres-cnpg/values.tuned-1.30.0.yaml
_ENDED = Cost(
    {
        "4 liveness probes of 5 s": 20,
        "time-out of the last one": 4,
        "kill": 1,
        "start": 5,
        "ready": 5,
        "endpoint": 2,
    },
    margin=8,
)
# A Patroni that hangs cannot release the lock, whether or not its PostgreSQL hangs as well.
_FROZEN_OWNER = Cost(
    {"a frozen owner keeps the lock: ttl": 20, "loop": 1, "election": 2, "checks": 1}, margin=6
)
_CUT_OFF = Cost({"its lease runs out: ttl": 20, "loop": 1, "election": 2, "checks": 1}, margin=6)
# Its requests still arrive: for a while they renew the lease, without an answer.
_HEARS_NOBODY = Cost({"it renews its lease: retry_timeout": 5, **_CUT_OFF.parts}, margin=6)
# Its liveness probe asks the API server and its peers: a primary that reaches none is ended.
_ENDS = {"4 liveness probes of 5 s": 20.0, "time-out of the last one": 4.0, "kill": 1.0}
# Nothing closes the connection over which the operator asks it last: seen in five of six trials.
_ISOLATED = Cost({**_ENDS, **_UNANSWERED}, margin=8, why=_SHARED)
# What it sends arrives, so the end of that connection does.
_ENDS_HEARD = Cost(
    {**_ENDS, "another one is named": 5, "promotion": 3, "endpoint and address": 4},
    margin=8,
    why=_SHARED,
)
# On the operator's own settings.
_PROBED = {"3 probes of 10 s": 30, "time-out of the last one": 5}
_SMARTLY = {"smart shutdown, for open sessions and not for new ones": 180, **_SMART}
_OWN_PROBES = Cost({**_PROBED, **_UNANSWERED}, margin=11)
# The instance manager, once it runs again, obeys the kubelet's request to end. Seen: 202 s after it
# hung, 217 s after the primary was cut off.
_OWN_END = Cost({**_PROBED, **_SMARTLY}, margin=44)
# Seconds: the old primary is watched beside its successor. A connection that waits is tried again
# after 63 s, and then not before 127: a longer cut would be followed by half a minute of nothing.
_CUT_FOR = 60.0
# Its lock is renewed no more: it steps down.
_STEPS_DOWN = {"loop": 1.0, "retry_timeout": 5.0, "demotion": 2.0}
# The container's postmaster is gone: kubelet restarts it, unless the operator is quicker.
_RESTARTED: dict[Where, Cost] = {
    **dict.fromkeys(
        (KIND, KIND_DEFAULT),
        Cost({"restart in place: back-off": 10, "recovery": 3, "ready": 5, "endpoint": 2}),
    ),
    **dict.fromkeys(
        (KIND_1_25, KIND_1_25_DEFAULT, KUBE),
        Cost(
            {"restart in place: back-off": 10, "recovery": 5, "ready": 5, "endpoint": 4}, margin=6
        ),
    ),
}
# Seconds: scrape 2, two evaluations of 1, for 8, and some for a busy machine.
_SEEN = 20.0
_HANGS = 40.0  # seconds: a lease of 20 and what an alert needs on top, twice
_STANDBY_HANGS = 16.0  # seconds
_NOT_REPLACED = {"it hangs, and nobody replaces the primary": _HANGS}
# A pod on the node resumes it, asked through API server and kubelet: 1 to 2 s if they are busy.
_BY_EXEC = {"the way to its node": 3}

# The way to a member's machine: a new connection for each script, two of them for a heal.
_BY_SHELL = {"the way to its machine": 4}
_CRASHED = {
    "recovery": 5,
    "standbys connect again: wal_retrieve_retry_interval": 5,
    **_WAY_IN,
}
_THEIR_LOCK = {
    where: Cost(
        {
            "a frozen owner keeps the lock: ttl": TTL,
            "loop_wait": n,
            "election and promotion": 4,
            "the other standby, which has to acknowledge, follows: loop_wait": n,
            **_WAY_IN,
        },
        margin=6,
    )
    for n, where in PATRONI.items()
}

_NEW_PRIMARY = ("PgFailoverHappened",)
_THEIRS = Excused("[alerts] of pgdrill.toml names none for it")
# Not PgMemberDown: Alertmanager inhibits it while these two, which include it, fire.
_OUTAGE = ("PgNoPrimary", "PgFailoverHappened")


def _partition(
    name: str,
    title: str,
    claim: str,
    local: Cost,
    kind: Cost,
    answers: Mapping[Where, float] | None = None,
) -> FaultSpec:
    """Return a fault that cuts the primary off."""
    return FaultSpec(
        name=name,
        title=title,
        claim=claim,
        primary="moves",
        cost={LOCAL: local, KIND: kind, KUBE: _OWN_END},
        answers=answers or {},
        # The container may be restarted in place before another member is named.
        elsewhere={KUBE: "either"},
        alerts={**dict.fromkeys((LOCAL, KIND), _OUTAGE), KUBE: _THEIRS},
        lasts=_CUT_FOR,
        returns_late=True,
        needs="partition",
        profile="full",
    )


_ALL = (
    FaultSpec(
        name="primary_kill",
        title="The primary's processes are killed and restarted at once",
        claim="Clients write again in time after the primary is killed and restarted at once.",
        primary="moves",
        cost={
            LOCAL: Cost(
                {
                    "the restarted owner gives its lock up: loop": 1,
                    "election": 2,
                    "checks": 1,
                },
                margin=6,
                why=_REPLAYS,
            ),
            KIND: Cost(_LEASE, margin=4, why=_SHARED),
            KIND_1_25: Cost({"seen": 5, "promotion": 3, "endpoint and address": 4}, margin=3),
            **dict.fromkeys(
                UNSET,
                Cost(_SMARTLY, margin=44),
            ),
        },
        alerts={**dict.fromkeys(EVERYWHERE, _NEW_PRIMARY), KUBE: _THEIRS},
        compared={
            "default": Compared(
                "A force-deleted primary serves its open sessions to the end and new ones not at"
                " all."
            )
        },
    ),
    FaultSpec(
        name="primary_away",
        title="The primary is killed and does not come back",
        claim="Clients write again in time although the primary stays away: its lease bounds it.",
        primary="moves",
        cost={
            LOCAL: Cost(
                {"nobody gives the lock up: ttl": 20, "loop": 1, "election": 2, "checks": 1},
                margin=6,
            ),
            **dict.fromkeys(
                CNPG, Cost({"node grace": 16, "poll": 5, "lease": 10, **_UNANSWERED}, margin=5)
            ),
        },
        alerts=dict.fromkeys(EVERYWHERE, _OUTAGE),
        healed="moved",
        returns_late=True,
        profile="laptop",
    ),
    FaultSpec(
        name="primary_freeze",
        title="The primary hangs: every process of it is stopped",
        claim="Clients write again in time although the primary hangs: it is replaced, or"
        " restarted.",
        primary="either",
        cost={
            LOCAL: _FROZEN_OWNER,
            KIND: _ENDED,
            KIND_1_25: Cost(
                {"3 probes of 5 s": 15, "time-out of the last one": 3, **_UNANSWERED},
                margin=13,
            ),
            **dict.fromkeys(UNSET, _OWN_PROBES),
            **_THEIR_LOCK,
        },
        # infra/helm/postgres-cnpg/values.tuned-1.30.0.yaml: it is restarted in place there.
        alerts={
            **dict.fromkeys(EVERYWHERE, _OUTAGE),
            KIND: ("PgNoPrimary",),
            **dict.fromkeys((KUBE, *PATRONI.values()), _THEIRS),
        },
        healed="replaced",
        returns_late=True,
    ),
    FaultSpec(
        name="postmaster_kill",
        title="Only the primary's postmaster is killed",
        claim="Clients write again in time when only the postmaster dies and its backends may"
        " live.",
        primary="either",
        cost={
            LOCAL: Cost(
                {
                    "primary_start_timeout 0: loop": 1,
                    "demotion": 1,
                    "election": 2,
                    "checks": 1,
                },
                margin=5,
                why=_REPLAYS,
            ),
            **_RESTARTED,
            **{
                where: Cost({"noticed: loop_wait": n, "start": 3, **_CRASHED}, 6, _REPLAYED)
                for n, where in PATRONI.items()
            },
        },
        # On kind, where the operator is quicker than the container's restart.
        alerts={
            **dict.fromkeys(EVERYWHERE, _NEW_PRIMARY),
            **dict.fromkeys((KUBE, *PATRONI.values()), _THEIRS),
        },
        profile="laptop",
    ),
    FaultSpec(
        name="backend_kill",
        title="The backend of one client is killed, as the kernel does when memory runs out",
        claim="Clients write again in time after one backend was killed and all others were thrown"
        " out.",
        primary="stays",
        # The operator sets restart_after_crash off: the postmaster ends as well, to be restarted. A
        # user's Patroni hands over where recovery takes longer than its primary_start_timeout.
        elsewhere=dict.fromkeys((*CNPG, KUBE, *PATRONI.values()), "either"),
        cost={
            LOCAL: Cost({"recovery in place": 1, "checks": 2}, margin=2, why=_REPLAYED),
            **_RESTARTED,
            **dict.fromkeys(PATRONI.values(), Cost(_CRASHED, 6, _REPLAYED)),
        },
        alerts={
            LOCAL: Excused(
                "PostgreSQL serves clients again before PgNoPrimary's scrape, evaluation and for"
                " are over, and PgCrashLoop needs three restarts in a minute"
            ),
            **dict.fromkeys(CNPG, _NEW_PRIMARY),
            **dict.fromkeys((KUBE, *PATRONI.values()), _THEIRS),
        },
        profile="laptop",
    ),
    FaultSpec(
        name="postmaster_freeze",
        title="The primary's postmaster hangs: open sessions work on, no new one gets in",
        claim="Clients get new sessions again as soon as a hung postmaster answers, or it was"
        " replaced.",
        primary="either",
        cost={
            # Patroni checks over an open session, in which the primary looks healthy.
            LOCAL: Cost({"it hangs, and nobody replaces it": _HANGS, "a new session": 3}, margin=3),
            KIND: Cost({"it hangs": _HANGS, "a new session": 3}, margin=3),
            KUBE: Cost({"it hangs": _HANGS, **_BY_EXEC, "a new session": 3}, margin=3),
            **dict.fromkeys(
                PATRONI.values(),
                Cost({"it hangs": _HANGS, **_BY_SHELL, "a new session": 3}, margin=3),
            ),
        },
        alerts={
            # Patroni and the exporter keep their open sessions.
            LOCAL: ("PgNoNewSession",),
            KIND: ("PgNoPrimary",),
            **dict.fromkeys((KUBE, *PATRONI.values()), _THEIRS),
        },
        lasts=_HANGS,
        returns_late=True,
        profile="full",
    ),
    FaultSpec(
        name="agent_freeze",
        title="The primary's agent hangs, and PostgreSQL runs on",
        claim="Clients write again in time after the agent of the primary hangs, and never to two"
        " members.",
        primary="either",
        cost={
            LOCAL: _FROZEN_OWNER,
            KIND: _ENDED,
            KUBE: _OWN_END,
            **_THEIR_LOCK,
        },
        alerts={
            LOCAL: ("PgNoPrimary", "PgFailoverHappened", "PgTwoPrimaries"),
            # The agent answers the probes there: the kubelet ends it, and PostgreSQL with it.
            KIND: ("PgNoPrimary",),
            **dict.fromkeys((KUBE, *PATRONI.values()), _THEIRS),
        },
        lasts=_HANGS,
        returns_late=True,
        profile="full",
    ),
    _partition(
        "primary_partition",
        "The primary is cut off from everybody",
        "Clients write again in time although the primary is cut off, and never to two members.",
        _CUT_OFF,
        _ISOLATED,
    ),
    _partition(
        "primary_partition_peers",
        "The primary is cut off from its peers and from who decides; clients reach it",
        "A primary that only clients reach acknowledges nothing that a successor lacks.",
        _CUT_OFF,
        _ISOLATED,
        answers={LOCAL: sum(_STEPS_DOWN.values()), KIND: sum(_ENDS.values())},
    ),
    _partition(
        "primary_partition_one_way",
        "Nothing arrives at the primary, and what it sends does",
        "Clients write again in time although the primary still sends, and hears nobody.",
        _HEARS_NOBODY,
        _ENDS_HEARD,
    ),
    FaultSpec(
        name="volume_hang",
        title="The volume of the primary hangs: no commit ends, and all else answers",
        claim="Clients write again as soon as a hung volume takes writes.",
        primary="either",
        cost={
            **dict.fromkeys((LOCAL, KIND), Cost({**_NOT_REPLACED, "a commit": 3}, margin=3)),
            KUBE: Cost({**_NOT_REPLACED, **_BY_EXEC, "a commit": 3}, margin=3),
        },
        alerts={**dict.fromkeys((LOCAL, KIND), ("PgCommitsWait",)), KUBE: _THEIRS},
        lasts=_HANGS,
        returns_late=True,
        needs="suspended-volumes",
        profile="full",
    ),
    FaultSpec(
        name="connections_taken",
        title="Every slot of the primary is taken by sessions that idle",
        claim="Clients get new sessions again as soon as a client that took them all lets go.",
        primary="stays",
        cost=dict.fromkeys(
            (LOCAL, KIND),
            Cost({"nobody ends them": _SEEN, "they end": 1, "a new session": 1}, margin=3),
        ),
        alerts=dict.fromkeys((LOCAL, KIND), ("PgConnectionsNearLimit",)),
        lasts=_SEEN,
        profile="laptop",
    ),
    FaultSpec(
        name="proxy_down",
        title="The load balancer is down: the primary is healthy, and no client reaches it",
        claim="Clients write again as soon as their way in is back, and nothing failed over.",
        primary="stays",
        # On kind each node is an entry point of its own, and no program is in the way.
        cost={
            LOCAL: Cost({"nobody restarts it": _SEEN, "start": 1, "checks": 1}, margin=3),
        },
        alerts={LOCAL: ("PgWayInDown",)},
        lasts=_SEEN,
        needs="processes",
        profile="laptop",
    ),
    FaultSpec(
        name="switchover",
        title="The primary's role is handed over as planned",
        claim="A planned switchover interrupts writing for no longer than promised.",
        primary="moves",
        cost={
            LOCAL: Cost(
                {
                    "clean stop, looked at every second": 2,
                    "promotion": 1,
                    "pause of the other standby, which has to acknowledge, before it follows": 2,
                },
                margin=1,
            ),
            KIND: Cost(_HANDED_OVER),
            KIND_1_25: Cost(_HANDED_OVER, margin=3),
            **dict.fromkeys(UNSET, Cost({"clean stop": 5, **_SMART}, margin=5)),
            **{
                where: Cost(
                    {
                        "checkpoint and clean stop": 5,
                        "promotion": 2,
                        "the other standby, which has to acknowledge, follows: loop_wait": n,
                        "its pause before that": 2,
                        **_WAY_IN,
                    },
                    margin=3,
                )
                for n, where in PATRONI.items()
            },
        },
        alerts={
            **dict.fromkeys(EVERYWHERE, _NEW_PRIMARY),
            **dict.fromkeys((KUBE, *PATRONI.values()), _THEIRS),
        },
        compared={
            "default": Compared("A planned switchover waits for the old primary to stop by itself.")
        },
    ),
    FaultSpec(
        name="primary_restart",
        title="The primary's PostgreSQL is restarted in place, as for a changed setting",
        claim="Clients write again in time after the primary was restarted, and nothing failed"
        " over.",
        primary="stays",
        cost=dict.fromkeys(
            PATRONI.values(),
            Cost(
                {
                    "checkpoint and clean stop": 5,
                    "start": 3,
                    "standbys connect again: wal_retrieve_retry_interval": 5,
                    **_WAY_IN,
                },
                margin=5,
            ),
        ),
        alerts=dict.fromkeys(PATRONI.values(), _THEIRS),
        profile="laptop",
    ),
    FaultSpec(
        name="standby_reinit",
        title="A synchronous standby is rebuilt from nothing",
        claim="A standby that is rebuilt hardly interrupts writing, and streams again.",
        primary="stays",
        cost={
            where: Cost(
                {**_UNNOTICED.parts, "another standby is named in its place: loop_wait": n},
                margin=2,
                why="the copy shares disks and network with the clients",
            )
            for n, where in PATRONI.items()
        },
        alerts=dict.fromkeys(PATRONI.values(), _THEIRS),
        needs="reinit",
        profile="laptop",
    ),
    FaultSpec(
        name="standby_kill",
        title="A synchronous standby is killed and restarted at once",
        claim="A killed synchronous standby hardly interrupts writing.",
        primary="stays",
        cost=dict.fromkeys((*EVERYWHERE, KUBE), _UNNOTICED),
        alerts={
            KUBE: _THEIRS,
            LOCAL: Excused(
                "supervisor restarts it at once: it streams again before PgMemberDown's scrapes and"
                " its for are over (11 s, more only on a busy machine), and no client notices"
            ),
            **dict.fromkeys(
                CNPG,
                Excused(
                    "its pod is recreated within seconds: PgMemberDown's scrape, evaluation and for"
                    " take 18"
                ),
            ),
        },
    ),
    FaultSpec(
        name="standby_freeze",
        title="A synchronous standby hangs",
        claim="A synchronous standby that hangs hardly interrupts writing.",
        primary="stays",
        cost={
            **dict.fromkeys((*EVERYWHERE, KUBE), _UNNOTICED),
            # wal_sender_timeout is a minute by default: the primary waits for a standby that hangs.
            **dict.fromkeys(
                PATRONI.values(),
                Cost({"it hangs, and commits wait": _STANDBY_HANGS, **_BY_SHELL}, margin=3),
            ),
        },
        alerts={
            LOCAL: ("PgMemberDown",),
            **dict.fromkeys((KUBE, *PATRONI.values()), _THEIRS),
            **dict.fromkeys(
                CNPG,
                Excused(
                    "it hangs for 16 s: PgMemberDown's scrape, its time-out, evaluation and for"
                    " take 22"
                ),
            ),
        },
        # Longer than the 5 s after which the primary drops a silent standby, and than
        # PgMemberDown needs: scrape 2 + its time-out 1.5 + two evaluations of 1 + for 8.
        lasts=_STANDBY_HANGS,
        profile="laptop",
    ),
    FaultSpec(
        name="primary_grace_1",
        title="The primary's pod is deleted with a grace period of one second",
        claim="Clients write again in time after a primary whose pod got one second to stop.",
        primary="moves",
        cost={
            **dict.fromkeys((KIND, KIND_DEFAULT), Cost({"grace": 1, **_LEASE}, margin=3)),
            **dict.fromkeys(
                (KIND_1_25, KIND_1_25_DEFAULT),
                Cost({"grace": 1, "seen": 5, "promotion": 3, "endpoint": 4}, margin=3),
            ),
        },
        alerts=dict.fromkeys(CNPG, _NEW_PRIMARY),
        needs="pods",
        profile="laptop",
    ),
    FaultSpec(
        name="primary_delete",
        title="The primary's pod is deleted politely",
        claim="Clients write again in time after a primary whose pod was deleted politely.",
        primary="moves",
        cost={
            KIND: Cost(
                {"named": 1, "clean stop": 5, "promotion": 3, "endpoint and address": 2},
                margin=4,
                why=_SHARED,
            ),
            KIND_1_25: Cost(
                {"stopDelay": 10, "seen": 1, "promotion": 2, "endpoint and address": 4},
                margin=3,
            ),
            **dict.fromkeys(
                UNSET, Cost({"smart shutdown for open sessions": 180, **_SMART}, margin=44)
            ),
        },
        alerts={**dict.fromkeys(CNPG, _NEW_PRIMARY), KUBE: _THEIRS},
        needs="pods",
        profile="laptop",
        # 200 s a trial to meet the same smart shutdown as primary_kill.
        compared={
            "default": Compared(
                "A politely deleted primary waits for its sessions to leave.", profile="full"
            )
        },
    ),
)

FAULTS: Mapping[str, FaultSpec] = {spec.name: spec for spec in _ALL}
