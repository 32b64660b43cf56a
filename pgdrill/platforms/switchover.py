"""A planned switchover: no fault at all to an operator, an outage all the same to a client."""

from pgdrill.engines.base import Engine, Member, NoPrimaryError, switchover_candidates
from pgdrill.faults.base import FaultNotRealError
from pgdrill.waiting import eventually

TAKES_OVER = 30.0  # seconds we are willing to look


class Switchover:
    """Ask the engine to hand the primary's role to a synchronous standby."""

    name = "switchover"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._old: Member | None = None
        self._to = ""

    def inject(self) -> str:
        """Move the role; return the member that had it."""
        self._old = self._engine.primary()
        candidates = self._candidates()
        if not candidates:
            raise FaultNotRealError("no synchronous standby to switch over to")
        self._to = candidates[0]
        self._engine.switchover(self._to)
        return self._old.name

    def _candidates(self) -> list[str]:
        """Name the standbys that may take over: those that a commit relies on."""
        return switchover_candidates(self._engine.members())

    def verify_injected(self) -> str:
        """The standby is the primary now, on a new timeline."""
        if self._old is None:
            raise FaultNotRealError("switchover was not injected")
        now = eventually(
            f"{self._to} is primary",
            self._engine.primary,
            lambda member: member.name == self._to,
            within=TAKES_OVER,
            every=0.1,
            not_yet=(NoPrimaryError,),
        )
        if now.timeline <= self._old.timeline:
            raise FaultNotRealError(f"{now.name} is primary on the old timeline {now.timeline}")
        return f"{self._old.name} to {now.name}, timeline {self._old.timeline} to {now.timeline}"

    def heal(self) -> None:
        """Nothing is broken."""

    def verify_healed(self) -> str:
        """Nothing to verify."""
        return "nothing to heal"
