"""Cutting one member off the network: whose packets are dropped, and the evidence that they are."""

from abc import ABC, abstractmethod
from typing import Literal, Protocol

from pgdrill.faults.base import FaultNotRealError
from pgdrill.platforms.member_faults import LET_GO_AFTER, MemberFault
from pgdrill.waiting import DeadlineError, eventually

DROPPED_WITHIN = 10.0  # seconds until a member that is cut off was sent a packet, or has sent one

# Whom a member cannot talk to: anybody; the other members and who decides on the primary, while
# clients reach it; or it sends to anybody, and nothing arrives at it.
Cut = Literal["everybody", "peers", "inbound"]


class Network(Protocol):
    """The network of one member. What happens on its own machine is not cut off."""

    def cut(self, whom: Cut, seconds: float) -> None:
        """Drop packets, for so many seconds at most: the machine itself ends it then.

        Raises:
            BrokenEnvironmentError: the machine cannot.
        """

    def dropped(self) -> int | None:
        """Return how many packets were dropped; None where nothing is cut."""

    def join(self) -> None:
        """Let every packet pass; safe to repeat."""


class Partition(MemberFault, ABC):
    """Cut a member off."""

    whom: Cut = "everybody"

    @abstractmethod
    def _network(self) -> Network:
        """Return the network of the member that was hit."""

    def inject(self) -> str:
        """Cut it off, for LET_GO_AFTER seconds at most."""
        target = self._choose()
        self._cut = self._network()
        self._cut.cut(self.whom, LET_GO_AFTER)
        return target.name

    def verify_injected(self) -> str:
        """Packets are dropped.

        Raises:
            FaultNotRealError: none is.
        """
        try:
            dropped = eventually("dropped packets", self._cut.dropped, within=DROPPED_WITHIN)
        except DeadlineError as error:
            raise FaultNotRealError(f"{self._target.name} is not cut off: {error}") from None
        return f"{self._target.name}: cut off, {dropped} packets dropped so far"

    def heal(self) -> None:
        """Let every packet pass."""
        if self._hit is not None:
            self._cut.join()

    def verify_healed(self) -> str:
        """Nothing is cut.

        Raises:
            FaultNotRealError: something is.
        """
        if self._cut.dropped() is not None:
            raise FaultNotRealError(f"{self._target.name} is still cut off")
        return f"{self._target.name}: every packet passes"
