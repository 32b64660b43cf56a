"""The contract of a platform, and the frozen handle of a running cluster."""

import shlex
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import psycopg

from pgdrill import timeouts
from pgdrill.engines.base import Engine, Member
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.faults.base import Fault
from pgdrill.faults.catalogue import Where
from pgdrill.observe.autoscale import Autoscaler
from pgdrill.platforms import session
from pgdrill.settings import Settings
from pgdrill.waiting import DeadlineError, eventually
from pgdrill.workload.pgbench_program import Launch, Program

Capability = Literal[
    "node-loss",
    "partition",
    "suspended-volumes",
    "real-disk-limit",
    "load-balancer",
    "read-only-address",
    "member-addresses",
    "hpa",
    "backup",
    "backup-credentials",
    "rebuild",
    "reinit",
    "pods",
    "processes",
    "timings",
    "pushgateway",
]


@dataclass(frozen=True)
class Endpoint:
    """A host and a port that clients on this machine can reach."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Cluster:
    """Names and addresses of the running database; holds no state and no password.

    passfile is a libpq password file, so the password is in no argument list and no log.
    """

    name: str
    read_write: Endpoint  # the load balancer's address: follows the primary
    read_only: Endpoint
    members: Mapping[str, Endpoint]  # none where no address leads straight to one
    database: str
    user: str
    passfile: Path
    others: Mapping[str, str] = field(default_factory=dict)  # of libpq, such as sslmode

    def conninfo(
        self, endpoint: Endpoint | None = None, *, database: str | None = None, timeout: int = 5
    ) -> str:
        """Return a libpq connection string without a password (default: the read-write address).

        timeout bounds the connection attempt and, on Linux, unanswered TCP, in seconds.
        """
        at = endpoint or self.read_write
        return psycopg.conninfo.make_conninfo(
            **self.others,
            host=at.host,
            port=at.port,
            dbname=database or self.database,
            user=self.user,
            passfile=str(self.passfile),
            connect_timeout=timeout,
            tcp_user_timeout=timeout * 1000,  # ignored by libpq where the system has none
            application_name="pgdrill",
        )

    def connect(
        self,
        endpoint: Endpoint | None = None,
        *,
        database: str | None = None,
        statement_timeout: float = 30.0,
    ) -> session.Session:
        """Open an autocommit session whose statements end after statement_timeout seconds.

        Raises:
            psycopg.OperationalError: the address does not answer.
        """
        return session.connect(self.conninfo(endpoint, database=database), statement_timeout)


def psql_line(cluster: Cluster) -> str:
    """Return a `psql` command line for people, through the read-write address."""
    unneeded = ("passfile", "connect_timeout", "tcp_user_timeout", "application_name")
    given = psycopg.conninfo.conninfo_to_dict(cluster.conninfo())
    first = ("host", "port", "dbname", "user")
    wanted = {name: str(given[name]) for name in (*first, *given) if name not in unneeded}
    line = psycopg.conninfo.make_conninfo("", **wanted)
    return f"PGPASSFILE={cluster.passfile} psql {shlex.quote(line)}"


@dataclass(frozen=True)
class Health:
    """Why a cluster is not healthy; empty means healthy."""

    complaints: tuple[str, ...]

    def __bool__(self) -> bool:
        return not self.complaints

    def __repr__(self) -> str:
        return "; ".join(self.complaints) or "healthy"


class Platform(Protocol):
    """Brings a cluster up and down, reaches it, and breaks it."""

    name: str

    @property
    def tuning_name(self) -> str:
        """The set of engine settings in force, as the report compares them."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """The capabilities of this installation."""

    @property
    def engine(self) -> Engine:
        """The engine that keeps PostgreSQL available."""

    @property
    def faults(self) -> Mapping[str, Fault]:
        """Every fault that can be injected here, by name."""

    @property
    def prometheus_url(self) -> str:
        """Address of Prometheus; '' where there is no monitoring."""

    @property
    def alertmanager_url(self) -> str:
        """Address of Alertmanager."""

    @property
    def pushgateway_url(self) -> str:
        """Address of the Pushgateway that Prometheus scrapes; '' where there is none."""

    def lock(self) -> AbstractContextManager[None]:
        """Hold the platform for one run.

        Raises:
            BrokenEnvironmentError: another run holds it.
        """

    def up(self, settings: Settings) -> None:
        """Bring everything up, or find it up; safe to repeat."""

    def down(self) -> None:
        """Remove everything that up made; safe to repeat, and after an interrupted up."""

    def is_up(self) -> bool:
        """Whether up has finished here before, and nothing was taken down since."""

    def cluster(self) -> Cluster:
        """Return the handle of the running database.

        Raises:
            BrokenEnvironmentError: nothing is running.
        """

    def pgbench(self) -> Program:
        """Return the pgbench of this platform: this machine's, or another that was provided.

        Raises:
            BrokenEnvironmentError: no pgbench is new enough; with what was found instead.
        """

    def psql(self) -> str:
        """Return a command line that opens a session through the read-write address."""

    def observers(self) -> AbstractContextManager[Mapping[str, Callable[[], str]]]:
        """Cheap probes, polled every 50 ms in a trial: their changes are the parts of the RTO.

        Names: 'leader' (who holds the lock or is named primary), 'promoted' (who accepts writes),
        'routed' (the member that the load balancer sends writes to). '' stands for no answer.
        """

    def with_timing(self, timing: str) -> AbstractContextManager[None]:
        """Run with another set of failover settings while the block lasts (needs timings).

        Raises:
            BrokenEnvironmentError: the cluster does not become healthy with them.
        """

    def volume(self, member: str) -> "Volume":
        """Return the file system that holds a member's data (needs real-disk-limit)."""

    def tuning(self) -> dict[str, str]:
        """Every setting outside the engine that is not its default, for the report."""

    def versions(self) -> dict[str, str]:
        """Versions of every running part, for the report."""

    def diagnostics(self, into: Path, since: float) -> None:
        """Write logs and state since an instant (monotonic seconds); never secrets."""


def where(platform: Platform) -> Where:
    """Return the platform, edition and timing that select the promises, at this moment."""
    return Where(platform.name, platform.engine.edition, platform.tuning_name)


@runtime_checkable
class HasAutoscaler(Protocol):
    """A platform with the capability hpa."""

    def pooler(self) -> Endpoint:
        """Return the address of the connection pooler, which leads to the primary."""

    def autoscaler(self) -> Autoscaler:
        """Return the autoscaler of that pooler, for observation."""


@runtime_checkable
class LoadsInside(Protocol):
    """A platform that can run clients beside the database."""

    def pgbench_inside(self, workers: int) -> Program:
        """Return a pgbench that is so many pods for each start.

        Raises:
            BrokenEnvironmentError: there is no image for them.
        """

    def prober_inside(self, image: str) -> Launch:
        """Return how a prober starts in a pod of an image, with a connection to the primary.

        Raises:
            BrokenEnvironmentError: the database does not answer.
        """


@runtime_checkable
class HasRuleObjects(Protocol):
    """A platform whose alert rules are objects that can be removed."""

    def declared_alerts(self) -> frozenset[str]:
        """Return which alerts those objects hold at this moment, loaded yet or not.

        Raises:
            BrokenEnvironmentError: they cannot be listed.
        """


@runtime_checkable
class NeedsPermission(Protocol):
    """A platform that belongs to the user and restricts what may be done."""

    def permit(self, level: str) -> None:
        """Refuse what the level of this command does not allow.

        Raises:
            BadUsageError: the command needs a higher level.
            BrokenEnvironmentError: `up` did not prepare it.
        """


# Bytes that are written and not only reserved when a volume is filled up, because the file system's
# own share is not known.
LAST = 32 * 2**20


class Volume(Protocol):
    """A file system of a true size: a member's, or the archive's."""

    def used(self) -> float:
        """Return the share in use, 0 to 1."""

    def free(self) -> int:
        """Return the bytes that a member may still write; its part, where others write there."""

    def fill(self, share: float) -> None:
        """Fill with a file of our own until share is in use."""

    def fill_up(self) -> None:
        """Fill with a file of our own until no byte can be written."""

    def release(self) -> None:
        """Remove that file; safe to repeat."""


def free_bytes(platform: Platform) -> dict[str, int]:
    """Return the bytes that are free for each member's data; nothing where that is not reached."""
    if isinstance(platform, NeedsPermission):
        return {}
    return {
        member.name: platform.volume(member.name).free() for member in platform.engine.members()
    }


def health(engine: Engine) -> Health:
    """Whether every member runs, streams without lag, and synchronous standbys are ready."""
    members = engine.members()
    complaints = [f"{m.name} is not running" for m in members if not m.running]
    primaries = [m for m in members if m.role == "primary"]
    if len(primaries) != 1:
        complaints.append(f"{len(primaries)} primaries")
    complaints += [f"{m.name} does not stream" for m in members if m.running and not m.streaming]
    complaints += [
        f"the lag of {m.name} is unknown" if m.lag is None else f"{m.name} is {m.lag} bytes behind"
        for m in members
        if m.streaming and (m.lag is None or m.lag > 16 * 1024 * 1024)
    ]
    if len({m.timeline for m in members}) > 1:
        complaints.append(
            f"timelines differ: {', '.join(f'{m.name}={m.timeline}' for m in members)}"
        )
    if not complaints and not engine.synchronous_state_is_expected():
        complaints.append("a synchronous standby is missing")
    return Health(tuple(complaints))


def wait_settled(engine: Engine, *, within: float) -> tuple[Member, ...]:
    """Wait until the cluster is fully redundant and no earlier fault delays the next.

    within: seconds for the cluster, and again for each member that is replaced.

    Raises:
        DeadlineError: with every change that was seen.
        BrokenEnvironmentError: a member cannot be replaced.
    """
    members = wait_healthy(engine, within=within)
    for _ in range(2 * len(members)):  # a primary hands over first, and is replaced then
        old = {m.name: m.incarnation for m in members}
        name = engine.clear_restart_backoff()
        if not name:
            break
        _wait_recreated(engine, name, old[name], within)
        members = wait_healthy(engine, within=within)
    eventually(
        "members that can take over",
        lambda: ", ".join(engine.not_promotable()),
        lambda names: not names,
        within=within,
    )
    return members


def _wait_recreated(engine: Engine, name: str, old: str, within: float) -> None:
    eventually(
        f"another {name}",
        lambda: next((m.incarnation for m in engine.members() if m.name == name), ""),
        lambda new: new not in ("", old),
        within=within,
        not_yet=(BrokenEnvironmentError,),
    )


def wait_healthy(engine: Engine, *, within: float) -> tuple[Member, ...]:
    """Wait until the cluster is fully redundant; return its members.

    Raises:
        DeadlineError: with every change that was seen.
    """
    eventually("a fully redundant cluster", lambda: health(engine), within=within)
    return engine.members()


def demand_healthy(engine: Engine) -> None:
    """Wait until the cluster is fully redundant before something is tested.

    Raises:
        BrokenEnvironmentError: it does not become so.
    """
    try:
        wait_healthy(engine, within=timeouts.REDUNDANT_BEFORE)
    except DeadlineError as error:
        raise BrokenEnvironmentError(
            f"the cluster is not healthy to begin with: {error}\n`make down up` makes a new one"
        ) from None
