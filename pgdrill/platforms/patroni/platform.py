"""An existing Patroni cluster of the user's, by its REST API and a connection string."""

import json
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg

from pgdrill.engines.patroni_by_rest import PatroniByRest
from pgdrill.errors import BadUsageError, BrokenEnvironmentError
from pgdrill.faults.base import Fault
from pgdrill.faults.catalogue import PATRONI, TTL, UNBOUNDED
from pgdrill.platforms.base import Capability, Cluster, Endpoint
from pgdrill.platforms.existing import schema
from pgdrill.platforms.existing.platform import WILL, ExistingPlatform, libpq_settings
from pgdrill.platforms.patroni.discovery import FoundCluster, look_up, rest_access
from pgdrill.platforms.patroni.faults import rest_faults
from pgdrill.platforms.patroni.machines import HOST, LOCAL, Machine, demand_command
from pgdrill.platforms.patroni.process_faults import process_faults
from pgdrill.progress import Reporter
from pgdrill.settings import Settings, below

FAULTS = ": its primary switched over and restarted, a standby rebuilt"  # of level fault
BY_SHELL = "; processes of its members killed and stopped, by "  # of level node
# Bytes of all databases that a standby copies in the time in which a trial looks for redundancy.
SMALL = 2**30
REACHED_WITHIN = 3  # seconds for a member to answer a session of its own
_IDENTITY = "SELECT system_identifier::text, pg_is_in_recovery() FROM pg_control_system()"


class PatroniPlatform(ExistingPlatform):
    """The members of one scope, and their database."""

    name = "patroni"

    def __init__(self, settings: Settings, reporter: Reporter | None = None) -> None:
        if settings.level == "node" and not settings.ssh:
            raise BadUsageError(
                f"--level=node needs --ssh='ssh root@{HOST}', a command that gives a shell on each"
                f" member's machine, or --ssh={LOCAL} where all of them run on this one"
            )
        if settings.ssh:
            demand_command(settings.ssh)
        if not settings.patroni:
            raise BadUsageError(
                "--platform=patroni needs --patroni=URL,...: the addresses of its REST API, such as"
                " http://db1:8008"
            )
        super().__init__(settings, reporter)
        if not self._dsn or "rw" not in self._given:
            raise BadUsageError(
                "--platform=patroni needs --dsn='host=... port=... dbname=... user=..."
                " passfile=...', whose host follows the primary"
            )
        self._access = rest_access(settings.patroni_auth, settings.patroni_ca)
        if settings.yes_break not in ("", self.title):
            raise BadUsageError(
                f"--yes-break={settings.yes_break} is not the name of the cluster, {self.title}:"
                " nothing was done"
            )

    # -- what is there -----------------------------------------------------------------------------

    @cached_property
    def found(self) -> FoundCluster:
        """The cluster behind the REST addresses.

        Raises:
            BrokenEnvironmentError: there is none that can be reached.
            BadUsageError: it has another name than the one that was given.
        """
        found = look_up(self._access, self.settings.patroni.split(","))
        if self.settings.cluster not in ("", found.scope):
            raise BadUsageError(
                f"--cluster={self.settings.cluster} is not the scope that --patroni leads to,"
                f" {found.scope}: nothing was done"
            )
        return found

    @property
    def title(self) -> str:
        """The scope."""
        return self.found.scope

    def announcement(self, does: str = "") -> str:
        """Return which cluster this is and what will be done: the first line of each command.

        does: what is done to it; '': all that its level allows.

        Raises:
            BrokenEnvironmentError: it cannot be looked up.
        """
        found, level = self.found, self.settings.level
        at = ", ".join(f"{name} {url}" for name, url in found.rest.items())
        return (
            f"cluster {found.scope}: {at}; PostgreSQL {found.postgres}, Patroni"
            f" {found.patroni or 'of unknown version'}, {found.leader or 'nobody'} leads, loop_wait"
            f" {found.loop_wait} s; clients at {self._given['rw']}; it"
            f" {does or WILL[level] + self._will()}"
        )

    def _will(self) -> str:
        """Return what breaks it."""
        faults = FAULTS if "fault" in below(self.settings.level) else ""
        return faults + (BY_SHELL + self.settings.ssh if self._by_shell else "")

    # -- up and down -------------------------------------------------------------------------------

    @property
    def _state(self) -> Path:
        """The path of the lock: one for each scope."""
        return self._states() / re.sub(r"[^A-Za-z0-9.-]+", "_", self.title)

    def up(self, settings: Settings) -> None:
        """Check all that the level needs, ask the user to confirm, and make our schema.

        Raises:
            BrokenEnvironmentError: something is missing; nothing was done.
            BadUsageError: the user did not confirm it, or clients would not follow the primary.
        """
        found = self.found
        found.demand_well()
        found.demand_harmless(settings.production_labels.pairs)
        if "fault" in below(settings.level):
            self.demand_follows()
            found.demand_rights()
        if self._by_shell:
            for machine in self.machines.values():
                machine.find()
        self.demand_same()
        self._begin(settings, "for a superuser to run on the primary")

    def down(self) -> None:
        """Drop our schemas, and let whatever is stopped run again; the cluster stays as it is.

        Raises:
            BrokenEnvironmentError: the database refuses, or a machine is not reached.
        """
        # First: the database may wait for it. Below level node nothing was stopped by this run.
        with nullcontext() if self._by_shell else suppress(BrokenEnvironmentError):
            for member, machine in self.machines.items():
                if machine.resume():
                    self._say(f"resumed what was stopped of {member}")
        super().down()

    def demand_follows(self) -> None:
        """Refuse an address that is one member's own.

        Raises:
            BadUsageError: it would lead to a standby after a switchover.
        """
        at = self._given["rw"]
        for member in self.found.members:
            if member.at == at:
                raise BadUsageError(
                    f"{at} is {member.name} itself, and clients would not follow a new primary:"
                    " give the address of the load balancer or the virtual one, with --rw-host or"
                    " in --dsn"
                )

    def demand_same(self) -> None:
        """Refuse a connection string that leads to another cluster, or to a standby.

        Raises:
            BrokenEnvironmentError: it does, or it does not answer.
        """
        found, handle = self.found, self._without_members
        try:
            with handle.connect(statement_timeout=10) as asking:
                row = asking.execute(_IDENTITY).fetchone()
        except psycopg.Error as error:
            raise BrokenEnvironmentError(schema.explain(str(error), handle)) from None
        assert row is not None
        system, is_standby = row
        if {system} != found.systems:
            raise BrokenEnvironmentError(
                f"--dsn leads to another cluster than --patroni: {handle.read_write} is system"
                f" {system}, {found.scope} is {', '.join(sorted(found.systems)) or 'unknown'}; give"
                " the address of the same one"
            )
        if is_standby:
            raise BrokenEnvironmentError(
                f"{handle.read_write} leads to a standby: give an address that follows the primary,"
                " with --rw-host or in --dsn"
            )

    def offers(self) -> tuple[tuple[Capability, str, str], ...]:
        """Return each capability that may be missing, what it is for, and how to get it."""
        return (
            (
                "member-addresses",
                "what each member holds, whether two accept writes, and each one's settings",
                f"{self._members_at[1]}: let this user in at postgresql.connect_address of every"
                " member",
            ),
            (
                "read-only-address",
                "whether it leads to standbys",
                "give it with --ro-host=HOST:PORT",
            ),
            ("reinit", "standby_reinit", self._no_copy),
        )

    # -- views -------------------------------------------------------------------------------------

    def cluster(self) -> Cluster:
        """Return the handle of the database.

        Raises:
            BrokenEnvironmentError: the cluster cannot be looked up.
        """
        return replace(self._without_members, members=self._members_at[0])

    @cached_property
    def _without_members(self) -> Cluster:
        at, given = self._given["rw"], self._dsn
        return Cluster(
            name=self.title,
            read_write=at,
            read_only=self._given.get("ro", at),
            members={},
            database=given["dbname"],
            user=given["user"],
            passfile=Path(given.get("passfile", "~/.pgpass")).expanduser(),
            others=libpq_settings(given),
        )

    @cached_property
    def _members_at(self) -> tuple[Mapping[str, Endpoint], str]:
        """The address of each member, of all or none, and why none."""
        handle = self._without_members
        for member in self.found.members:
            try:
                psycopg.connect(handle.conninfo(member.at, timeout=REACHED_WITHIN)).close()
            except psycopg.Error as error:
                why = next(iter(str(error).strip().splitlines()), "no answer")
                return {}, f"{member.name} at {member.at} refuses ({why})"
        return {member.name: member.at for member in self.found.members}, ""

    @cached_property
    def _no_copy(self) -> str:
        """Why no standby is rebuilt here; '' where one may be."""
        if len(self.found.members) < 3:
            return "the only standby is not rebuilt: nothing would be left but the primary"
        try:
            with self._without_members.connect(statement_timeout=10) as asking:
                query = "SELECT sum(pg_database_size(oid))::bigint FROM pg_database"
                row = asking.execute(query).fetchone()
        except psycopg.Error as error:
            return f"the size of the databases is not known ({str(error).splitlines()[0]})"
        size = int(row[0]) if row else 0
        if size <= SMALL:
            return ""
        return (
            f"the databases have {size / 2**30:.1f} GiB, and a trial looks for a copy of"
            f" {SMALL / 2**30:g} at most"
        )

    @cached_property
    def engine(self) -> PatroniByRest:
        """Its members, as they report themselves."""
        found = self.found
        return PatroniByRest(found.rest, self._access, found.scope, float(found.loop_wait))

    def observers(self) -> AbstractContextManager[Mapping[str, Callable[[], str]]]:
        """Probes of the parts of a failover."""
        return self.engine.observers()

    @property
    def bounded(self) -> bool:
        """Whether the configuration bounds an outage as closely as the promises need."""
        # No lock is lost below level node, so its time to live bounds nothing there.
        lock = self.found.ttl <= TTL or not self._by_shell
        return self.found.loop_wait in PATRONI and lock

    @property
    def tuning_name(self) -> str:
        """What bounds an outage: the loop_wait of the configuration."""
        return PATRONI[self.found.loop_wait].timing if self.bounded else UNBOUNDED

    @cached_property
    def faults(self) -> Mapping[str, Fault]:
        """The faults that are allowed here: none below level fault."""
        if "fault" not in below(self.settings.level):
            return {}
        faults = rest_faults(self.engine)
        if self._by_shell:
            faults += process_faults(self.engine, self.machines)
        return {fault.name: fault for fault in faults}

    @cached_property
    def machines(self) -> Mapping[str, Machine]:
        """The machine of each member; none where no command gives a shell."""
        ssh = self.settings.ssh
        found = (*self.found.members, *self.found.unlisted)
        return {one.name: Machine.of(one, ssh) for one in found} if ssh else {}

    @property
    def _by_shell(self) -> bool:
        return self.settings.level == "node"

    @property
    def capabilities(self) -> frozenset[Capability]:
        """The capabilities of this cluster, according to its addresses and its size."""
        words: set[Capability] = {"load-balancer"}
        if self._members_at[0]:
            words.add("member-addresses")
        if "ro" in self._given:
            words.add("read-only-address")
        if not self._no_copy:
            words.add("reinit")
        return frozenset(words)

    def versions(self) -> dict[str, str]:
        """Versions of PostgreSQL and Patroni."""
        return {"postgresql": self.found.postgres, "patroni": self.found.patroni}

    def diagnostics(self, into: Path, since: float) -> None:
        """Write how Patroni sees the cluster and each member; its logs are not reached."""
        into.mkdir(parents=True, exist_ok=True)
        looks: dict[str, Any] = {
            "cluster.json": self.engine.view(),
            "configuration.json": self.engine.tuning(),
        }
        looks |= {f"{name}.json": self.engine.status(name) for name in self.found.rest}
        for name, seen in looks.items():
            (into / name).write_text(json.dumps(seen, indent=1) + "\n")
