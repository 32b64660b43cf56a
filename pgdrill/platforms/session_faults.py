"""Sessions that take what others need: every slot of the primary, on any platform."""

from collections.abc import Callable
from contextlib import ExitStack

import psycopg

from pgdrill.engines.base import Engine
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.faults.base import FaultNotRealError
from pgdrill.platforms.base import Cluster
from pgdrill.waiting import DeadlineError, eventually

TAKEN_WITHIN = 60.0  # seconds; 250 sessions, each a process and a log-in, take some 5 s
# Refusals in a row before all counts as taken: clients that come and go free a slot now and then.
REFUSALS = 20
REFUSED_WITHIN = 2.0  # seconds
GIVEN_WITHIN = 15.0  # seconds for the backends of closed sessions to end
# What PostgreSQL says: no slot, none but for superusers, none for this role or database.
FULL = ("too many clients", "connection slots are reserved", "too many connections for")


class TakeConnections:
    """Hold every slot that an ordinary role can have on the primary, with sessions that idle."""

    name = "connections_taken"

    def __init__(self, engine: Engine, cluster: Callable[[], Cluster]) -> None:
        self._engine = engine
        self._cluster = cluster
        self._held = ExitStack()
        self._member = ""
        self._count = 0

    def inject(self) -> str:
        """Open sessions until no other gets in."""
        self._member = self._engine.primary().name
        self._count = 0
        refused = 0

        def fill() -> bool:
            nonlocal refused
            refused = refused + 1 if self._refused() else 0
            return refused >= REFUSALS

        eventually("every slot taken", fill, within=TAKEN_WITHIN, every=0)
        return self._member

    def _refused(self) -> str:
        """Try one more session and keep it; return what it was refused with, '' if it was not.

        Raises:
            BrokenEnvironmentError: the primary does not answer, or refuses for another reason.
        """
        cluster = self._cluster()
        try:
            session = cluster.connect(cluster.members[self._member])
        except psycopg.OperationalError as error:
            said = " ".join(str(error).split())
            if not any(words in said for words in FULL):
                raise BrokenEnvironmentError(f"{self._member} gives no session: {said}") from None
            return said
        self._held.callback(session.close)
        self._count += 1
        return ""

    def verify_injected(self) -> str:
        """No session gets in; one that takes a slot which was given back meanwhile is kept.

        Raises:
            FaultNotRealError: one after the other does.
        """
        if not self._count:
            raise FaultNotRealError(f"{self.name} was not injected")
        try:
            said = eventually("a refused session", self._refused, within=REFUSED_WITHIN, every=0)
        except DeadlineError as error:
            raise FaultNotRealError(str(error)) from None
        return f"{self._member}: {self._count} idle sessions, and '{said.rpartition('FATAL: ')[2]}'"

    def heal(self) -> None:
        """Close them."""
        self._held.close()

    def verify_healed(self) -> str:
        """A session gets in again.

        Raises:
            FaultNotRealError: none does.
        """

        def gets_in() -> bool:
            refused = self._refused()
            self._held.close()
            return not refused

        try:
            eventually("a session", gets_in, within=GIVEN_WITHIN)
        except DeadlineError as error:
            raise FaultNotRealError(str(error)) from None
        return f"{self._member}: its slots are free"
