"""What faults of one member share on any platform: whom they hit, and what is left of it."""

from abc import ABC, abstractmethod

from pgdrill.engines.base import Engine, Member
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.faults.base import FaultNotRealError
from pgdrill.waiting import DeadlineError, eventually

CHOSEN_WITHIN = 15.0  # seconds
GONE_WITHIN = 30.0  # seconds until it is visible that an incarnation is gone


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
