"""What faults of one member share on any platform: whom they hit, and what is left of it."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping

from pgdrill.engines.base import Engine, Member
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.faults.base import FaultNotRealError
from pgdrill.waiting import DeadlineError, eventually

CHOSEN_WITHIN = 15.0  # seconds
GONE_WITHIN = 30.0  # seconds until it is visible that an incarnation is gone
THROWN_OUT_WITHIN = 10.0  # seconds; the postmaster waits 5 s before it kills its children


class MemberFault(ABC):
    """Hits one member of a role, and remembers which."""

    def __init__(self, engine: Engine, name: str, role: str) -> None:
        self.name = name
        self._engine = engine
        self._role = role
        self._hit: Member | None = None

    @abstractmethod
    def _now(self) -> str:
        """Return the incarnation that is in the place of the one that was hit; '' for none."""

    def _choose(self) -> Member:
        """Return the primary, or a standby that a commit may rely on (the harder one to lose).

        Raises:
            DeadlineError: there is none, or more than one primary; a busy member may miss one look.
        """
        found = eventually(
            f"a running {self._role} to hit",
            lambda: [m for m in self._engine.members() if m.role == self._role and m.running],
            lambda seen: bool(seen) and (self._role == "standby" or len(seen) == 1),
            within=CHOSEN_WITHIN,
        )
        self._hit = next((m for m in found if m.synchronous), found[0])
        return self._hit

    @property
    def _target(self) -> Member:
        if self._hit is None:
            raise FaultNotRealError(f"{self.name} was not injected")
        return self._hit

    def _gone_for_good(self, within: float = GONE_WITHIN) -> str:
        """Return evidence that the incarnation that was hit is no more.

        Raises:
            FaultNotRealError: it is still there.
        """
        name, old = self._target.name, self._target.incarnation
        try:
            now = eventually(
                f"{old} of {name} is gone",
                self._now,
                lambda seen: seen != old,
                within=within,
                not_yet=(BrokenEnvironmentError,),
            )
        except DeadlineError:
            raise FaultNotRealError(f"{name} is still {old}") from None
        return f"{name}: {old} is gone, now {now or 'none'}"

    def heal(self) -> None:  # noqa: B027  # most have nothing to undo
        """Nothing to undo: the engine replaces what was taken."""

    def verify_healed(self) -> str:
        """Nothing is left of what was hit."""
        return self._gone_for_good()


class KillBackend(MemberFault):
    """SIGKILL the backend of one client, as the kernel does when memory runs out.

    The postmaster ends all its other processes, since shared memory may be damaged, and recovers
    in place: every client is thrown out, and no other member has to take over.
    """

    def __init__(self, engine: Engine, name: str, role: str) -> None:
        super().__init__(engine, name, role)
        self._before: Mapping[int, str] = {}
        self._killed = 0

    @abstractmethod
    def _processes(self) -> Mapping[int, str]:
        """Return the titles of the PostgreSQL processes of the member that was hit, by pid."""

    @abstractmethod
    def _kill(self, pid: int) -> None:
        """SIGKILL one of them."""

    def inject(self) -> str:
        """Kill one client's backend.

        Raises:
            FaultNotRealError: no client is connected.
        """
        target = self._choose()
        self._before = dict(self._processes())
        clients = [pid for pid, title in self._before.items() if serves_client(title)]
        if not clients:
            raise FaultNotRealError(f"no client has a session on {target.name}")
        self._killed = clients[0]
        self._kill(self._killed)
        return target.name

    def verify_injected(self) -> str:
        """The postmaster lives, and no other process that it had.

        Raises:
            FaultNotRealError: another process lives on, or the postmaster is gone.
        """
        target = self._target
        postmasters = {pid for pid, title in self._before.items() if is_postmaster(title)}
        try:
            eventually(
                f"the processes of {target.name} that have not ended",
                lambda: self._before.keys() & self._processes().keys(),
                lambda left: left == postmasters,
                within=THROWN_OUT_WITHIN,
                every=0.1,
            )
        except DeadlineError as error:
            raise FaultNotRealError(str(error)) from None
        return (
            f"{target.name}: backend {self._killed} was killed, {len(self._before) - 1} processes"
            f" ended, the postmaster {', '.join(map(str, postmasters))} lives"
        )

    def verify_healed(self) -> str:
        """A client is served again."""
        eventually(
            f"a client's session on {self._target.name}",
            lambda: [title for title in self._processes().values() if serves_client(title)],
            within=GONE_WITHIN,
        )
        return f"{self._target.name} serves clients"


def is_postmaster(title: str) -> bool:
    """Whether a process shows a command line: its children show what they do, after a colon."""
    return not title.startswith("postgres:")


def serves_client(title: str) -> bool:
    """Whether a process is the backend of a client that came by TCP: 'user database host(port)'."""
    return bool(re.search(r"\(\d+\)", title)) and "walsender" not in title
