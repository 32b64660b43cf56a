"""Sessions that take what others need: every slot of the primary, on any platform."""

import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress

import psycopg

from pgdrill.engines.base import Engine
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.faults.base import FaultNotRealError
from pgdrill.platforms.base import Cluster
from pgdrill.waiting import DeadlineError, eventually

TAKEN_WITHIN = 60.0  # seconds; 250 sessions, each a process and a log-in, take some 5 s
# Refusals in a row before all counts as taken: clients that come and go free a slot now and then.
REFUSALS = 20
AGAIN_AFTER = 0.02  # seconds until the next attempt to take what became free
REFUSED_WITHIN = 2.0  # seconds
GIVEN_WITHIN = 15.0  # seconds for the backends of closed sessions to end
# PostgreSQL's messages: no slot, none but for superusers, none for this role or database.
FULL = ("too many clients", "connection slots are reserved", "too many connections for")

# Of the limit of the connecting role, or else of the server's, without the slots of superusers.
SHARE = """SELECT count(*)::float / CASE WHEN rolconnlimit > 0 THEN rolconnlimit
      ELSE current_setting('max_connections')::int
        - current_setting('superuser_reserved_connections')::int END
    FROM pg_roles, pg_stat_activity
    WHERE rolname = current_user AND backend_type = 'client backend'
      AND (usename = rolname OR rolconnlimit <= 0)
    GROUP BY rolconnlimit"""
AT_ONCE = 10  # sessions between two looks at how many are taken
TAKEN_BEFORE = 0.7  # of the slots, before clients write: below the limit of any alert


class TakeConnections:
    """Hold every slot that an ordinary role can have on the primary, with sessions that idle.

    A session that ends frees a slot: it is taken as well, until this is healed.
    """

    name = "connections_taken"

    def __init__(self, engine: Engine, cluster: Callable[[], Cluster]) -> None:
        self._engine = engine
        self._cluster = cluster
        self._held = ExitStack()
        self._member = ""
        self._count = 0
        self._given_up = threading.Event()
        self._taker: threading.Thread | None = None

    def place(self) -> None:
        """Take most of them before: 250 log-ins last longer on a busy machine than what they cost.

        Raises:
            BrokenEnvironmentError: the primary accepts no session.
            DeadlineError: the sessions are not open in time.
        """
        self.heal()
        self._member = self._engine.primary().name

        def fill() -> float:
            for _ in range(AT_ONCE):
                self._refused()
            return self._share()

        eventually(
            "most slots taken", fill, lambda s: s > TAKEN_BEFORE, within=TAKEN_WITHIN, every=0
        )

    def _share(self) -> float:
        cluster = self._cluster()
        with cluster.connect(cluster.members[self._member]) as session:
            row = session.execute(SHARE).fetchone()
        return float(row[0]) if row else 0.0

    def inject(self) -> str:
        """Open sessions until no other gets in, and go on with what becomes free."""
        self._member = self._engine.primary().name
        refused = 0

        def fill() -> bool:
            nonlocal refused
            refused = refused + 1 if self._refused() else 0
            return refused >= REFUSALS

        eventually("every slot taken", fill, within=TAKEN_WITHIN, every=0)
        self._given_up.clear()
        self._taker = threading.Thread(target=self._go_on, name=self.name, daemon=True)
        self._taker.start()
        return self._member

    def _go_on(self) -> None:
        while not self._given_up.wait(AGAIN_AFTER):
            with suppress(BrokenEnvironmentError):  # a server that does not answer gives no session
                self._refused()

    def _refused(self) -> str:
        """Try one more session and keep it; return the refusal, '' if there was none.

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
        """No session gets in; one that gets a slot that became free meanwhile is kept.

        Raises:
            FaultNotRealError: one after the other does.
        """
        if self._taker is None:
            raise FaultNotRealError(f"{self.name} was not injected")
        try:
            said = eventually("a refused session", self._refused, within=REFUSED_WITHIN, every=0)
        except DeadlineError as error:
            raise FaultNotRealError(str(error)) from None
        return f"{self._member}: {self._count} idle sessions, and '{said.rpartition('FATAL: ')[2]}'"

    def heal(self) -> None:
        """Close them."""
        self._given_up.set()
        if self._taker:
            self._taker.join(GIVEN_WITHIN)
            self._taker = None
        self._held.close()
        self._count = 0

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
