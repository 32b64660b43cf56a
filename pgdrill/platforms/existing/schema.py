"""pgdrill's own schemas in the user's database, marked, and the privileges that they need."""

from dataclasses import dataclass

import psycopg
from psycopg.sql import SQL, Identifier, Literal

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.base import Cluster

OURS = "pgdrill"  # ledgers, and whatever a test writes without naming a schema
SCHEMAS = (OURS, "shop", "bench")  # the others are the dataset's and pgbench's
MARK = "pgdrill"  # in the comment on a schema: only what we made may be dropped
_GOES = "goes with: "
_FOUND = """
SELECT nspname, coalesce(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace
WHERE nspname = ANY(%s) ORDER BY 1
"""
_STANDING = """
SELECT current_user, current_database(),
       has_database_privilege(current_database(), 'CREATE'),
       pg_has_role(current_user, 'pg_monitor', 'USAGE'),
       current_setting('server_version')
"""


@dataclass(frozen=True)
class DatabaseRights:
    """The role of the session in the database, and its privileges."""

    user: str
    database: str
    may_create: bool
    monitors: bool
    version: str

    def rights(self) -> tuple[tuple[str, str, bool, str], ...]:
        """Return each right: its name, its purpose, whether it is there, and how to grant it."""
        user, database = Identifier(self.user), Identifier(self.database)
        create = SQL("GRANT CREATE ON DATABASE {} TO {}").format(database, user)
        monitor = SQL("GRANT pg_monitor TO {}").format(user)
        return (
            ("CREATE on the database", "our schema", self.may_create, create.as_string(None)),
            ("pg_monitor", "who streams, and how far", self.monitors, monitor.as_string(None)),
        )

    def missing(self) -> tuple[str, ...]:
        """Return the statements that grant what is missing, for a superuser to run."""
        return tuple(statement for _, _, there, statement in self.rights() if not there)


def database_rights(cluster: Cluster) -> DatabaseRights:
    """Connect through the read-write address, and look at what we may.

    Raises:
        BrokenEnvironmentError: it does not answer or refuses, in one line with the remedy.
    """
    try:
        with cluster.connect(statement_timeout=10) as session:
            row = session.execute(_STANDING).fetchone()
    except psycopg.Error as error:
        raise BrokenEnvironmentError(explain(str(error), cluster)) from None
    assert row is not None
    return DatabaseRights(*row)


def explain(error: str, cluster: Cluster) -> str:
    """Return the meaning of libpq's error and the remedy, in one line."""
    lines = [line for line in error.splitlines() if line.strip() and "attempts failed" not in line]
    first = lines[0].strip() if lines else "no answer"
    at, user = cluster.read_write, cluster.user
    if "pg_hba.conf" in error:
        remedy = (
            f"add a line for user {user} and database {cluster.database} to pg_hba"
            " (spec.postgresql.pg_hba of a Cluster, postgresql.pg_hba of Patroni)"
        )
    elif "password authentication failed" in error or "no password supplied" in error:
        remedy = "the role has another one than the Secret, or than the password file of --dsn"
    elif "SSL" in error or "certificate" in error:
        remedy = "give sslmode= and sslrootcert= with --dsn"
    elif "permission denied" in error:
        remedy = "`pgdrill kube preflight`, or `patroni`, lists what is to be granted"
    elif "does not exist" in error:
        remedy = "name another with --dsn='user=... dbname=... passfile=...'"
    else:
        remedy = f"is {at} reached from this machine? --rw-host=HOST:PORT gives another address"
    return f"{at} refuses user {user}: {first}; {remedy}"


def exists(cluster: Cluster) -> bool:
    """Whether our schema is there.

    Raises:
        BrokenEnvironmentError: the database does not answer.
    """
    return MARK in _marks(cluster).get(OURS, "")


def demand_room(cluster: Cluster) -> None:
    """Refuse a database in which other schemas have the names of ours.

    Raises:
        BrokenEnvironmentError: it has, or it does not answer.
    """
    foreign = [name for name, mark in _marks(cluster).items() if MARK not in mark]
    if foreign:
        raise BrokenEnvironmentError(
            f"database {cluster.database} has a schema {' and '.join(foreign)} that pgdrill did not"
            " make: use another database, with --dsn='user=... dbname=... passfile=...'"
        )


def make(cluster: Cluster, run: str) -> None:
    """Make our schema, whose comment lists the schemas that belong to it; safe to repeat.

    Raises:
        BrokenEnvironmentError: the database refuses.
    """
    marks = _marks(cluster)
    if OURS in marks:
        return
    goes = " ".join(name for name in SCHEMAS[1:] if name not in marks)
    try:
        # Both or neither: a schema without its mark would count as one that pgdrill did not make.
        with cluster.connect() as session, session.transaction():
            session.execute(SQL("CREATE SCHEMA {}").format(Identifier(OURS)))
            comment = Literal(f"{MARK}: made by {run}; {_GOES}{goes}")
            session.execute(SQL("COMMENT ON SCHEMA {} IS {}").format(Identifier(OURS), comment))
    except psycopg.Error as error:
        raise BrokenEnvironmentError(explain(str(error), cluster)) from None


def drop(cluster: Cluster) -> tuple[str, ...]:
    """Drop our schema and those that go with it, and return their names; safe to repeat.

    A dataset that existed before our schema was made stays.

    Raises:
        BrokenEnvironmentError: the database refuses.
    """
    marks = _marks(cluster)
    if MARK not in marks.get(OURS, ""):
        return ()
    others = marks[OURS].partition(_GOES)[2].split()
    # Ours last: an interrupted drop continues from its comment.
    ours = (*(name for name in others if MARK in marks.get(name, "")), OURS)
    try:
        with cluster.connect(statement_timeout=120) as session:
            for name in ours:
                session.execute(SQL("DROP SCHEMA {} CASCADE").format(Identifier(name)))
    except psycopg.Error as error:
        raise BrokenEnvironmentError(explain(str(error), cluster)) from None
    return ours


def _marks(cluster: Cluster) -> dict[str, str]:
    """Return the comments on schemas that are called as ours are."""
    try:
        with cluster.connect(statement_timeout=10) as session:
            return dict(session.execute(_FOUND, [list(SCHEMAS)]).fetchall())
    except psycopg.Error as error:
        raise BrokenEnvironmentError(explain(str(error), cluster)) from None
