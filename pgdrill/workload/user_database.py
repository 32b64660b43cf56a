"""A user's database, reached by the user's connection string; one schema in it is ours.

No session state outlives a transaction, so that a pooler in transaction mode may be in between.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Identifier, Literal

from pgdrill.errors import BadUsageError, BrokenEnvironmentError
from pgdrill.workload import ledger
from pgdrill.workload.dataset.sessions import Connection, Sessions
from pgdrill.workload.server_identity import IDENTITY_SQL, TIMELINES

PREFIX = "pgdrill_watch_"
LEDGER = "ledger"
WITHIN = 10.0  # seconds for each operation on the database
STALE = 3600.0  # seconds without a write: longer than any outage during a watch
QUIET = 60.0  # the same, if the user runs --clean
# No session waits long for our locks, nor we for the locks of others.
LOCKS = SQL("SET LOCAL lock_timeout = '5s'")
# Parameters that name a database and are no secrets. New ones of later libpq versions are left out.
PUBLIC = (
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "service",
    "sslmode",
    "target_session_attrs",
)
SECRET = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")

_FACTS = SQL(
    "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',"
    " current_user::text, current_database()::text,"
    " has_database_privilege(current_database(), 'CREATE'), current_setting('server_version')"
)
_OURS = SQL(
    "SELECT nspname::text, obj_description(oid, 'pg_namespace'),"
    " extract(epoch FROM clock_timestamp())::float8"
    " FROM pg_namespace WHERE nspname LIKE {} AND pg_has_role(nspowner, 'USAGE')"
)
_LATEST = SQL("SELECT extract(epoch FROM max(at))::float8 FROM {}")


def parse(dsn: str) -> dict[str, str]:
    """Return the parts of a connection string, of either form.

    Raises:
        BadUsageError: it is not valid. Parts that libpq quotes are left out: passwords, perhaps.
    """
    try:
        return {
            key: str(value) for key, value in conninfo_to_dict(dsn).items() if value is not None
        }
    except psycopg.ProgrammingError as error:
        why = re.sub(r'"[^"]*"', '"..."', str(error).strip().splitlines()[0])
        raise BadUsageError(
            f"the DSN cannot be read ({why}): give it as postgresql://USER@HOST/DATABASE or as"
            " 'host=... dbname=... user=...'; in the first form, special characters in a password"
            " are written as %XX"
        ) from None


def has_secret(dsn: str) -> bool:
    """Whether a connection string contains a secret."""
    return any(key in SECRET for key in parse(dsn))


def public(dsn: str) -> str:
    """Return what may be shown of a connection string."""
    parts = parse(dsn)
    return make_conninfo("", **{key: parts[key] for key in PUBLIC if key in parts})


@dataclass(frozen=True)
class OrphanedSchema:
    """A schema that its watch did not remove; idle: seconds since the last write into it."""

    schema: str
    idle: float


@dataclass(frozen=True)
class UserDatabase:
    """A database behind a connection string; conninfo contains the secrets, label does not."""

    conninfo: str
    label: str
    user: str
    database: str
    version: str
    standby: bool  # or read-only for another reason
    may_create: bool
    identity: tuple[str, ...]  # keys of IDENTITY_SQL that the server allows

    @classmethod
    def reach(cls, dsn: str) -> "UserDatabase":
        """Connect, and read the facts about the database.

        Raises:
            BadUsageError: the connection string is not valid.
            BrokenEnvironmentError: no server answers, or it refuses the login.
        """
        given, label = parse(dsn), public(dsn)
        conninfo = make_conninfo(
            "", **{"application_name": "pgdrill watch", "gssencmode": "disable"} | given
        )
        with _session(conninfo, label) as connection:
            row = connection.execute(_FACTS).fetchone()
            assert row is not None
            recovering, read_only, user, database, may_create, version = row
            return cls(
                conninfo=_resolve_service(connection, given),
                label=label,
                user=user,
                database=database,
                version=version,
                standby=recovering or read_only,
                may_create=may_create,
                identity=_identity(connection),
            )

    def demand_writable(self) -> None:
        """Refuse a database in which no schema can be made.

        Raises:
            BrokenEnvironmentError: it is read-only, or the user lacks the right.
        """
        if self.standby:
            raise BrokenEnvironmentError(
                f"{self.label} is read-only (a standby?), and a watch writes: give the address of"
                " the primary, or several hosts with target_session_attrs=read-write"
            )
        if not self.may_create:
            raise BrokenEnvironmentError(
                f"user {self.user} may not create a schema in database {self.database}: its owner"
                f' has to run GRANT CREATE ON DATABASE "{self.database}" TO "{self.user}"'
            )

    def make(self, schema: str, reader: str = "") -> str:
        """Make a schema with an empty ledger in it; return the ledger's name.

        reader: a role that is to read it, the newest rows first.

        Raises:
            BrokenEnvironmentError: the database refuses it, or does not answer.
        """
        table = f"{schema}.{LEDGER}"
        with _session(self.conninfo, self.label) as connection, connection.transaction():
            connection.execute(LOCKS)
            connection.execute(SQL("CREATE SCHEMA {}").format(Identifier(schema)))
            (now,) = connection.execute(
                "SELECT extract(epoch FROM clock_timestamp())::bigint"
            ).fetchone() or (0,)
            connection.execute(
                SQL("COMMENT ON SCHEMA {} IS {}").format(
                    Identifier(schema), Literal(f"pgdrill watch since {now}")
                )
            )
            connection.execute(ledger.CREATE.format(ledger.named(table)))
            if reader:
                connection.execute(SQL("CREATE INDEX ON {} (id)").format(ledger.named(table)))
            if reader and reader != self.user:
                for right, kind, on in (
                    (SQL("USAGE"), SQL("SCHEMA"), Identifier(schema)),
                    (SQL("SELECT"), SQL("TABLE"), ledger.named(table)),
                ):
                    connection.execute(
                        SQL("GRANT {} ON {} {} TO {}").format(right, kind, on, Identifier(reader))
                    )
        return table

    def remove(self, schema: str) -> None:
        """Remove a schema of ours, if it is there.

        Raises:
            BrokenEnvironmentError: the database refuses it, or does not answer.
        """
        if not schema.startswith(PREFIX):
            raise ValueError(f"{schema} is not a schema of pgdrill watch")
        with _session(self.conninfo, self.label) as connection, connection.transaction():
            connection.execute(LOCKS)
            connection.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(schema)))

    def orphaned_schemas(self) -> list[OrphanedSchema]:
        """Return the schemas of earlier watches, and of those that run now.

        Raises:
            BrokenEnvironmentError: the database does not answer.
        """
        with _session(self.conninfo, self.label) as connection:
            return [
                OrphanedSchema(schema, now - max(_start(comment), _latest(connection, schema)))
                for schema, comment, now in connection.execute(
                    _OURS.format(Literal(PREFIX.replace("_", r"\_") + "%"))
                ).fetchall()
            ]


@contextmanager
def _session(conninfo: str, label: str) -> Iterator[Connection]:
    """Open a session; an error of it becomes one line with the label."""
    sessions = Sessions(WITHIN, pooled=True)
    try:
        with sessions, sessions.open(conninfo) as connection:
            yield connection
    except BrokenEnvironmentError as error:
        cause = error.__cause__
        if not sessions.left():
            raise BrokenEnvironmentError(
                f"{label}: no answer within {WITHIN:g} s (is a lock held, or a synchronous standby"
                " away?)"
            ) from error
        if not isinstance(cause, psycopg.Error):
            raise
        why = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        hint = (
            ": name a file in the DSN (passfile=...), or use ~/.pgpass or PGDRILL_DSN; the shell's"
            " own PG* variables are not read"
            if "no password supplied" in why
            else ""
        )
        raise BrokenEnvironmentError(f"{label}: {why}{hint}") from cause


def _resolve_service(connection: Connection, given: dict[str, str]) -> str:
    """Return a connection string in which a service is replaced by the parameters in its file."""
    if "service" not in given:
        return make_conninfo("", **{"application_name": "pgdrill watch"} | given)
    default = {option.keyword: option.val for option in psycopg.pq.Conninfo.get_defaults()}
    used = {
        option.keyword.decode(): option.val.decode()
        for option in connection.pgconn.info
        if option.val and option.val != default.get(option.keyword)
    }
    ours = ("service", "servicefile", "connect_timeout", "client_encoding")
    return make_conninfo("", **{key: value for key, value in used.items() if key not in ours})


def _identity(connection: Connection) -> tuple[str, ...]:
    """Return the keys of IDENTITY_SQL that the server allows; cloud services forbid some."""

    def allowed(name: str) -> bool:
        piece = SQL("''") + IDENTITY_SQL[name] if name == "since" else IDENTITY_SQL[name]
        with suppress(psycopg.Error):
            return connection.execute(SQL("SELECT ") + piece).fetchone() is not None
        return False

    return tuple(name for name in ("since", *TIMELINES) if allowed(name))


def _start(comment: str | None) -> float:
    found = re.search(r"since (\d+)$", comment or "")
    return float(found.group(1)) if found else -math.inf


def _latest(connection: Connection, schema: str) -> float:
    """Return when the latest row was written, in Unix time; -inf: there is none."""
    with suppress(psycopg.errors.UndefinedTable):
        row = connection.execute(_LATEST.format(Identifier(schema, LEDGER))).fetchone()
        if row and row[0] is not None:
            return float(row[0])
    return -math.inf
