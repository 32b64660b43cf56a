"""Sessions whose statements are also ended by the client."""

from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

T = TypeVar("T")
GRACE = 2.0  # seconds after its own limit in which the server may report the limit
LOOK = 0.1  # seconds between two looks for Ctrl-C, as psycopg has it


class Session(psycopg.Connection[tuple[Any, ...]]):
    """A connection that waits for at most patience seconds for the answer to a statement.

    tcp_user_timeout does not bound that everywhere: macOS has no such option (libpq ignores it
    there), and a proxy of a container engine acknowledges data for a server that is gone.
    """

    patience: float

    def wait(self, gen: PQGen[T], interval: float = LOOK, timeout: float | None = None) -> T:
        """Wait for an answer.

        Raises:
            psycopg.OperationalError: there was none; the session is closed.
        """
        try:
            return super().wait(gen, interval, timeout or self.patience)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
            self.pgconn.finish()
        raise psycopg.OperationalError(f"no answer within {self.patience:g} s")


def connect(conninfo: str, statement_timeout: float) -> Session:
    """Open an autocommit session whose statements end after statement_timeout seconds.

    Raises:
        psycopg.OperationalError: the address does not answer.
    """
    given = str(conninfo_to_dict(conninfo).get("options") or "")
    options = f"{given} -c statement_timeout={int(statement_timeout * 1000)}".strip()
    session = Session.connect(conninfo, autocommit=True, options=options)
    session.patience = statement_timeout + GRACE
    return session
