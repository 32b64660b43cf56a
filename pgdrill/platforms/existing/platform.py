"""A cluster of the user's own: observed, loaded or broken, as allowed; left as it was."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from pgdrill.errors import BadUsageError, BrokenEnvironmentError
from pgdrill.faults.base import Fault
from pgdrill.observe.existing import monitoring_of
from pgdrill.platforms.base import Capability, Cluster, Endpoint, Volume, psql_line
from pgdrill.platforms.existing import given_address, schema
from pgdrill.platforms.existing.confirmation import confirm
from pgdrill.platforms.lock import exclusive
from pgdrill.progress import Reporter
from pgdrill.settings import Settings, below
from pgdrill.workload import pgbench_program

WILL = {
    "observe": "will be looked at; one row is written, in a schema of its own that is dropped",
    "load": "WILL BE LOADED, in schemas of its own that are dropped",
    "fault": "WILL BE BROKEN",
    "node": "WILL BE BROKEN",
}


class ExistingPlatform(ABC):
    """Neither made nor removed here: `up` makes a schema in its database, `down` drops it."""

    name: str
    settings: Settings

    def __init__(self, settings: Settings, reporter: Reporter | None = None) -> None:
        self.settings = settings
        self._say = (reporter or Reporter()).line
        self._dsn = {name: str(value) for name, value in conninfo_to_dict(settings.dsn).items()}
        if self._dsn and not {"user", "dbname"} <= self._dsn.keys():
            raise BadUsageError(f"--dsn={settings.dsn} has to name user and dbname")
        self._given = {
            key: given_address.parse(text, f"--{key}-host")
            for key, text in (("rw", settings.rw_host), ("ro", settings.ro_host))
            if text
        }
        if "host" in self._dsn:
            host, port = self._dsn["host"], self._dsn.get("port", str(given_address.PORT))
            if "," in host or not port.isdigit():
                raise BadUsageError(
                    f"--dsn={settings.dsn} has to name one address, which follows the primary: a"
                    " list of hosts would add the time in which each client looks for it"
                )
            self._given.setdefault("rw", Endpoint(host, int(port)))

    @property
    @abstractmethod
    def title(self) -> str:
        """The name of the cluster, which confirms that it may be broken."""

    @property
    @abstractmethod
    def capabilities(self) -> frozenset[Capability]:
        """The capabilities of this cluster."""

    @property
    @abstractmethod
    def faults(self) -> Mapping[str, Fault]:
        """The faults that are allowed here: none below level fault."""

    @property
    @abstractmethod
    def _state(self) -> Path:
        """The path of this cluster's state on this machine."""

    @abstractmethod
    def cluster(self) -> Cluster:
        """Return the handle of the database.

        Raises:
            BrokenEnvironmentError: it cannot be looked up.
        """

    @abstractmethod
    def offers(self) -> tuple[tuple[Capability, str, str], ...]:
        """Return each capability that may be missing, what it is for, and how to get it."""

    def _states(self) -> Path:
        """Return the directory of the states of this platform's clusters."""
        chosen = os.environ.get("PGDRILL_STATE_DIR")
        base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
        root = Path(chosen) if chosen else Path(base) / "pgdrill"
        return root.resolve() / self.name

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold this cluster for one run of this machine's.

        Raises:
            BrokenEnvironmentError: another run holds it.
        """
        path = self._state.with_name(self._state.name + ".lock")
        with exclusive(path, f"cluster {self.title}"):
            yield

    def is_up(self) -> bool:
        """Whether our schema is there."""
        return schema.exists(self.cluster())

    def _begin(self, settings: Settings, superuser: str) -> None:
        """Check the database, ask the user to confirm, and make our schema.

        superuser: the words for how to become one there.

        Raises:
            BrokenEnvironmentError: something is missing; nothing was done.
            BadUsageError: the user did not confirm it.
        """
        if theirs := monitoring_of(settings):
            theirs.demand()
        cluster = self.cluster()
        seen = schema.database_rights(cluster)
        if seen.missing():
            raise BrokenEnvironmentError(
                f"user {seen.user} of database {seen.database} lacks what looking at replication"
                f" needs: {'; '.join(seen.missing())} ({superuser})"
            )
        schema.demand_room(cluster)
        for line in self.unjudged():
            self._say(f"not judged: {line}")
        if settings.level != "observe":
            confirm(self.title, settings.yes_break, self._say)
        schema.make(cluster, settings.run_id)

    def down(self) -> None:
        """Drop our schemas; the cluster stays as it is.

        Raises:
            BrokenEnvironmentError: the database refuses.
        """
        dropped = schema.drop(self.cluster())
        if dropped:
            self._say(f"dropped from {self.title}: schema {', '.join(dropped)}")

    def permit(self, level: str) -> None:
        """Refuse what this command's level does not allow, or what `up` made no place for.

        Raises:
            BadUsageError: it needs another level.
            BrokenEnvironmentError: our schema is not there.
        """
        if level not in below(self.settings.level):
            raise BadUsageError(
                f"this needs --level={level}, and it is --level={self.settings.level}: nothing was"
                " done"
            )
        if not self.is_up():
            raise BrokenEnvironmentError("`pgdrill up` first: it makes our schema")
        confirm(self.title, self.settings.yes_break, self._say)

    def unjudged(self) -> tuple[str, ...]:
        """Return what cannot be judged here, and why: a missing capability is always reported."""
        lacks = [(what, lack) for one, what, lack in self.offers() if one not in self.capabilities]
        if not self.settings.prometheus_url:
            lacks.append(("alerts", "--prometheus-url and --alertmanager-url are not given"))
        elif unnamed := [name for name in self.faults if not self.settings.alert.values(name)]:
            lacks.append((f"alerts of {', '.join(unnamed)}", "[alerts] of pgdrill.toml names none"))
        return tuple(f"{what}: {lack}" for what, lack in lacks)

    prometheus_url = alertmanager_url = pushgateway_url = ""

    def pgbench(self) -> pgbench_program.Program:
        """Return this machine's pgbench.

        Raises:
            BrokenEnvironmentError: there is none that is new enough.
        """
        return pgbench_program.on_host()

    def psql(self) -> str:
        """Return a command line that opens a session."""
        return psql_line(self.cluster())

    def with_timing(self, timing: str) -> AbstractContextManager[None]:
        """Refuse: the user's failover settings stay as they are."""
        raise BrokenEnvironmentError(f"platform {self.name} changes no failover settings")

    def volume(self, member: str) -> Volume:
        """Refuse: volumes are not reached from here."""
        raise BrokenEnvironmentError(f"platform {self.name} reaches no volume")

    def tuning(self) -> dict[str, str]:
        """The facts of this cluster that the report shows beside the engine's settings."""
        return {f"not judged ({n})": line for n, line in enumerate(self.unjudged(), 1)}


def libpq_settings(given: Mapping[str, str]) -> dict[str, str]:
    """Return what a connection string holds besides address, user and database.

    A name without a schema refers to ours only.
    """
    known = ("user", "password", "dbname", "passfile", "host", "port")
    options = f"{given.get('options', '')} -c search_path={schema.OURS}".strip()
    return {k: v for k, v in given.items() if k not in known} | {"options": options}
