"""The contract of an engine: members, roles, switchover, health."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Role = Literal["primary", "standby", "unknown"]


class NoPrimaryError(Exception):
    """No member is a primary at this moment."""


@dataclass(frozen=True)
class Member:
    """One PostgreSQL instance as seen at one moment.

    incarnation is a pod UID, or pid and start time of the process: a member that was killed and
    returned under its old name is a different incarnation.
    """

    name: str
    incarnation: str
    role: Role
    running: bool
    timeline: int  # 0: unknown
    streaming: bool  # a standby that receives WAL (a primary: True)
    synchronous: bool  # a commit may rely on this standby
    lag: int | None  # bytes of WAL not yet replayed; None: unknown


def switchover_candidates(members: Iterable[Member]) -> list[str]:
    """Name the standbys that can take over in a planned switchover: the synchronous ones."""
    return [m.name for m in members if m.role == "standby" and m.synchronous]


class Engine(Protocol):
    """Reads and steers the high-availability layer; caches nothing."""

    name: str
    edition: str  # selects the promises: the name, and the version where they differ by it
    period: float  # seconds between two looks of the engine: faults fall anywhere in between

    def members(self) -> tuple[Member, ...]:
        """Every member that the cluster should have, running or not, in name order."""

    def primary(self) -> Member:
        """Return the one primary.

        Raises:
            NoPrimaryError: there is none, or its answer cannot be had, at this moment.
        """

    def switchover(self, to: str) -> None:
        """Ask for a planned switchover to a standby and return once it was accepted."""

    def clear_restart_backoff(self) -> str:
        """Begin to replace a member whose next restart would be delayed by earlier restarts.

        Returns its name, '' when there is none. A drill would count the delay as part of its fault.
        """

    def not_promotable(self) -> tuple[str, ...]:
        """Name the members that stream and could not take over at this moment."""

    def synchronous_state_is_expected(self) -> bool:
        """Whether as many synchronous standbys are ready as the configuration promises."""

    def observers(self) -> AbstractContextManager[Mapping[str, Callable[[], str]]]:
        """Cheap probes of the parts of a failover, while the block lasts; '' stands for no member.

        Names: 'leader' (who holds the lock or is named primary), 'promoted' (who accepts writes),
        and 'routed' where the engine knows which member clients are sent to.
        """

    def asynchronous(self) -> AbstractContextManager[None]:
        """While the block lasts, let commits wait for no standby, and let any standby take over.

        For negative controls; the previous configuration is restored at the end.
        """

    def tuning(self) -> dict[str, str]:
        """Every setting of the engine that is not its default, for the report."""


@dataclass(frozen=True)
class Pod:
    """The pod of one instance; container is its PostgreSQL container's id."""

    name: str
    uid: str
    node: str
    container: str
    deleting: bool
    grace: int  # seconds of a graceful deletion
    held_back: bool  # restarted in place lately: kubelet will wait before it does so again
    address: str  # in the network of pods; '' before it has one

    @property
    def incarnation(self) -> str:
        """Pod and container: a container that was restarted in place is another PostgreSQL."""
        return f"{self.uid}/{self.container}"


class PodEngine(Engine, Protocol):
    """An engine whose members are pods: what a platform on Kubernetes needs in addition."""

    namespace: str

    def pods(self) -> dict[str, Pod]:
        """Return the members' pods by name.

        Raises:
            BrokenEnvironmentError: the API server does not answer.
        """

    def selector(self, member: str) -> str:
        """Return the labels that select one member's pod."""

    def named(self) -> str:
        """The primary that the engine wants; '' when that is not available."""

    def settled(self) -> bool:
        """Whether nothing is in progress, and every pod has the settings that are asked for.

        Raises:
            BrokenEnvironmentError: the API server does not answer.
        """

    def fence(self, *members: str) -> None:
        """Keep PostgreSQL of exactly these members stopped while their pods live.

        Raises:
            BrokenEnvironmentError: it was refused.
        """


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return a tree of settings as dotted names and texts, for the report."""
    rows: dict[str, str] = {}
    for key, value in sorted(tree.items()):
        if isinstance(value, Mapping):
            rows |= flat(value, f"{prefix}{key}.")
        else:
            rows[f"{prefix}{key}"] = str(value)
    return rows
