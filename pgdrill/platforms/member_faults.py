"""What faults of one member share on any platform: the choice of the target, and evidence."""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from pgdrill import timeouts
from pgdrill.engines.base import Engine, Member
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.faults.base import FaultNotRealError
from pgdrill.platforms.volume_hang import Hangable
from pgdrill.waiting import DeadlineError, eventually

CHOSEN_WITHIN = 15.0  # seconds
THROWN_OUT_WITHIN = 10.0  # seconds; the postmaster waits 5 s before it kills its children
STOPPED_WITHIN = 15.0  # seconds; one look into a node took 8 on a full machine, and two are needed
# Seconds after which a volume that hangs is let go by the machine that it is on, whatever became
# of whoever let it hang: nobody could even take it down before.
LET_GO_AFTER = 120.0


@dataclass(frozen=True)
class Process:
    """A process of a member; state is the kernel's letter, T: stopped."""

    pid: int
    state: str
    command: str
    title: str  # its command line; PostgreSQL's processes write there what they do


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

    def _gone_for_good(self, within: float = timeouts.MEMBER_GONE) -> str:
        """Return evidence that the incarnation that was hit is gone.

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
        """The processes that were hit are gone or run again."""
        return self._gone_for_good()


class ProcessFault(MemberFault):
    """Hits processes of one member, where they can be seen and reached."""

    @abstractmethod
    def _all(self) -> Sequence[Process]:
        """Return every process of the member that was hit: its agent's and PostgreSQL's."""

    @abstractmethod
    def _signal(self, name: str, pids: Sequence[int]) -> None:
        """Send a signal to some of them; those that are gone are no error."""

    def _stopped(self) -> list[int]:
        """Return the pids of those that are stopped."""
        return [p.pid for p in self._all() if p.state == "T"]


class KillBackend(ProcessFault):
    """SIGKILL the backend of one client, as the kernel does when memory runs out.

    The postmaster ends all its other processes, since shared memory may be damaged, and recovers
    in place (restart_after_crash), or ends itself: every client loses its session.
    """

    def __init__(self, engine: Engine, name: str, role: str) -> None:
        super().__init__(engine, name, role)
        self._before: dict[int, str] = {}
        self._killed = 0

    def _titles(self) -> dict[int, str]:
        """Return PostgreSQL's processes, by pid."""
        return {p.pid: p.title for p in self._all() if p.command == "postgres" and p.state != "Z"}

    def inject(self) -> str:
        """Kill one client's backend.

        Raises:
            FaultNotRealError: no client is connected.
        """
        target = self._choose()
        self._before = self._titles()
        clients = [pid for pid, title in self._before.items() if serves_client(title)]
        if not clients:
            raise FaultNotRealError(f"no client has a session on {target.name}")
        self._killed = clients[0]
        self._signal("KILL", [self._killed])
        return target.name

    def verify_injected(self) -> str:
        """All processes that were there are gone, except the postmaster.

        Raises:
            FaultNotRealError: another one survives.
        """
        target = self._target
        postmasters = {pid for pid, title in self._before.items() if is_postmaster(title)}
        try:
            eventually(
                f"the processes of {target.name} that have not ended",
                lambda: self._before.keys() & self._titles().keys(),
                lambda left: left <= postmasters,
                within=THROWN_OUT_WITHIN,
                every=0.1,
            )
        except DeadlineError as error:
            raise FaultNotRealError(str(error)) from None
        lives = bool(postmasters & self._titles().keys())
        return (
            f"{target.name}: backend {self._killed} was killed, {len(self._before) - 1} processes"
            f" ended, and the postmaster {'lives' if lives else 'did, too'}"
        )

    def verify_healed(self) -> str:
        """A client is served again."""
        eventually(
            f"a client's session on {self._target.name}",
            lambda: [title for title in self._titles().values() if serves_client(title)],
            within=timeouts.MEMBER_GONE,
        )
        return f"{self._target.name} serves clients"


class KillPostmaster(ProcessFault):
    """SIGKILL the one process that accepts connections; its agent survives and must notice."""

    _killed: Process | None = None

    def inject(self) -> str:
        """Kill it."""
        target = self._choose()
        self._killed = self._postmaster()
        self._signal("KILL", [self._killed.pid])
        return target.name

    def _postmaster(self) -> Process:
        """Return the oldest postgres process of the member: backends are younger."""
        found = [p for p in self._all() if p.command == "postgres"]
        if not found:
            raise FaultNotRealError(f"no postgres of {self._target.name} runs")
        return min(found, key=lambda p: p.pid)

    def verify_injected(self) -> str:
        """That process is not there any more."""
        killed = self._killed
        if killed is None:
            raise FaultNotRealError(f"{self.name} was not injected")
        eventually(
            f"postmaster {killed.pid} of {self._target.name} is gone",
            lambda: killed.pid not in [p.pid for p in self._all()],
            within=5,
            every=0.1,
        )
        return f"{self._target.name}: postmaster {killed.pid} was killed"

    def verify_healed(self) -> str:
        """The old postmaster has no process left."""
        return self.verify_injected()


class FreezeMember(ProcessFault):
    """SIGSTOP every process of a member, its agent's too: it hangs but is not dead."""

    def inject(self) -> str:
        """Stop them, and what they fork until they have stopped."""
        target = self._choose()
        eventually(
            f"{target.name} stopped",
            self._stop_running,
            lambda awake: not awake,
            within=STOPPED_WITHIN,
            every=0,
        )
        return target.name

    def _stop_running(self) -> list[Process]:
        """Stop every process that runs; return those that did. The dead (Z) wait for a parent."""
        awake = [p for p in self._all() if p.state not in "TZ"]
        self._signal("STOP", [p.pid for p in awake])
        return awake

    def verify_injected(self) -> str:
        """Every process that was there is in state T."""
        found = [p for p in self._all() if p.state != "Z"]
        awake = [f"{p.command} {p.pid} is {p.state}" for p in found if p.state != "T"]
        if awake or not found:
            raise FaultNotRealError(f"{self._target.name}: {'; '.join(awake) or 'no process'}")
        return f"{self._target.name}: {len(found)} processes in state T"

    def heal(self) -> None:
        """Resume them."""
        if self._hit is not None:
            self._signal("CONT", self._stopped())

    def verify_healed(self) -> str:
        """No process of the member is stopped."""
        left = self._stopped()
        if left:
            raise FaultNotRealError(f"{self._target.name}: still stopped: {left}")
        return f"{self._target.name}: no process in state T"


class FreezeSome(ProcessFault):
    """SIGSTOP some processes of a member and let the others run: it is half alive."""

    @abstractmethod
    def _is_meant(self, process: Process) -> bool:
        """Whether this is one of those to be stopped."""

    def _meant(self) -> list[Process]:
        return [p for p in self._all() if p.state != "Z" and self._is_meant(p)]

    def inject(self) -> str:
        """Stop them.

        Raises:
            FaultNotRealError: there is none.
        """
        target = self._choose()
        if not self._meant():
            raise FaultNotRealError(f"{target.name} has no such process")
        self._signal("STOP", [p.pid for p in self._meant()])
        eventually(
            f"{target.name}: what {self.name} stops",
            lambda: {p.state for p in self._meant()},
            lambda states: states == {"T"},
            within=STOPPED_WITHIN,
            every=0.02,
        )
        return target.name

    def verify_injected(self) -> str:
        """They are in state T, and no other process is.

        Raises:
            FaultNotRealError: not so.
        """
        meant = self._meant()
        others = [p for p in self._all() if p.state != "Z" and not self._is_meant(p)]
        wrong = [p for p in meant if p.state != "T"] + [p for p in others if p.state == "T"]
        if wrong or not meant or not others:
            raise FaultNotRealError(f"{self._target.name}: {wrong or 'nothing to distinguish'}")
        named = ", ".join(f"{p.command} {p.pid}" for p in meant)
        return f"{self._target.name}: {named} in state T, {len(others)} other processes are not"

    def heal(self) -> None:
        """Resume them."""
        if self._hit is not None:
            self._signal("CONT", self._stopped())

    def verify_healed(self) -> str:
        """No process of the member is stopped."""
        eventually(
            f"no process of {self._target.name} is stopped",
            lambda: [p for p in self._all() if p.state == "T"],
            lambda stopped: not stopped,
            within=STOPPED_WITHIN,
        )
        return f"{self._target.name}: no process in state T"


class FreezePostmaster(FreezeSome):
    """Stop the one process that accepts connections: open sessions work on, no new one gets in."""

    def _is_meant(self, process: Process) -> bool:
        return process.command == "postgres" and is_postmaster(process.title)


class FreezeAgent(FreezeSome):
    """Stop the agent that steers PostgreSQL, which runs on; its lease is not renewed."""

    _AGENT: str  # the command that it runs as

    def _is_meant(self, process: Process) -> bool:
        return process.command == self._AGENT


class HangVolume(MemberFault):
    """Suspend a member's volume: writes wait, and reads from memory succeed."""

    _hung: Hangable | None = None  # looked up once: the member may be gone later

    @abstractmethod
    def _volume(self) -> Hangable:
        """Return the volume of the member that was hit."""

    def inject(self) -> str:
        """Suspend it, for LET_GO_AFTER seconds at most."""
        target = self._choose()
        self._hung = self._volume()
        self._hung.hang(LET_GO_AFTER)
        return target.name

    def verify_injected(self) -> str:
        """Nothing can be written to it.

        Raises:
            FaultNotRealError: something was.
        """
        if self._hung is None or not self._hung.hangs():
            raise FaultNotRealError(f"the volume of {self._target.name} takes writes")
        return f"{self._target.name}: its volume takes no write"

    def heal(self) -> None:
        """Resume it."""
        if self._hung is not None:
            self._hung.resume()

    def verify_healed(self) -> str:
        """It takes writes.

        Raises:
            FaultNotRealError: it does not.
        """
        if self._hung is not None and self._hung.hangs():
            raise FaultNotRealError(f"the volume of {self._target.name} still hangs")
        return f"the volume of {self._target.name} takes writes"


def is_postmaster(title: str) -> bool:
    """Whether a process shows a command line: its children show what they do, after a colon."""
    return not title.startswith("postgres:")


def serves_client(title: str) -> bool:
    """Whether a process is the backend of a client that came by TCP: 'user database host(port)'."""
    return bool(re.search(r"\(\d+\)", title)) and "walsender" not in title
