"""An existing CloudNativePG cluster of the user's: observed, loaded or broken, as allowed."""

import atexit
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from pgdrill import timeouts
from pgdrill.engines.cnpg import CnpgEngine
from pgdrill.engines.cnpg_by_primary import CnpgByPrimary
from pgdrill.errors import BadUsageError, BrokenEnvironmentError
from pgdrill.faults.base import Fault
from pgdrill.faults.catalogue import OWN, UNBOUNDED
from pgdrill.platforms import session
from pgdrill.platforms.base import Capability, Cluster
from pgdrill.platforms.existing.platform import WILL, ExistingPlatform, libpq_settings
from pgdrill.platforms.kube import rights, service_addresses
from pgdrill.platforms.kube.discovery import (
    FoundCluster,
    Namespace,
    choose_context,
    credentials,
    look_up,
    refusal,
)
from pgdrill.platforms.kube.node_helpers import Helpers, PodVolume
from pgdrill.platforms.kube.service_addresses import Addresses
from pgdrill.platforms.kubernetes import jobs
from pgdrill.platforms.kubernetes.access import Access
from pgdrill.platforms.kubernetes.faults import api_faults
from pgdrill.platforms.kubernetes.node_faults import node_faults
from pgdrill.platforms.kubernetes.platform import KubernetesPlatform, Names
from pgdrill.progress import Reporter
from pgdrill.settings import Settings, below

FAULTS = ": pods deleted, primaries moved"  # of level fault
FROM_NODES = (
    ", processes killed and stopped, volumes suspended, packets dropped, by privileged pods in"
    " namespace "
)
# Seconds of the operator's own settings beyond which its outages have no promise of ours.
SMART_SHUTDOWN = 180


@dataclass(frozen=True)
class Demand:
    """One thing that has to be so; check refuses where it is not."""

    what: str
    why: str
    check: Callable[[], object]
    level: str = "observe"


def kubeconfig() -> str:
    """Return the user's file of contexts."""
    return os.environ.get("KUBECONFIG") or "~/.kube/config"


class KubePlatform(ExistingPlatform, KubernetesPlatform):
    """A Cluster object of the user's, and its database."""

    name = "kube"

    def __init__(self, settings: Settings, reporter: Reporter | None = None) -> None:
        self._access = choose_context(kubeconfig(), settings.context)
        if not settings.namespace:
            raise BadUsageError(
                f"--cluster={settings.cluster} needs --namespace=NAME: it takes nothing that is"
                " not named"
            )
        if settings.yes_break not in ("", settings.cluster):
            raise BadUsageError(
                f"--yes-break={settings.yes_break} is not the name of the cluster,"
                f" {settings.cluster}: nothing was done"
            )
        super().__init__(settings, reporter)
        self._kept = False

    @property
    def title(self) -> str:
        """The name of the Cluster object."""
        return self.settings.cluster

    # -- what is there -----------------------------------------------------------------------------

    @cached_property
    def found(self) -> FoundCluster:
        """The Cluster object.

        Raises:
            BrokenEnvironmentError: there is none that can be reached.
        """
        settings = self.settings
        return look_up(self._access, settings.namespace, settings.cluster)

    @cached_property
    def reached(self) -> Namespace:
        """The namespace, and the way to it.

        Raises:
            BrokenEnvironmentError: the cluster cannot be reached.
        """
        return self.found

    @property
    def is_there(self) -> bool:
        """Whether the Cluster object is there."""
        return True

    @property
    def access(self) -> Access:
        """The user's kubeconfig, and the context that was named."""
        return self._access

    @property
    def operator(self) -> str:
        """The version that made the instances."""
        return self.found.operator

    @property
    def names(self) -> Names:  # type: ignore[override]  # known once the addresses are
        """Namespace, cluster, and the Service that the read-write address is of."""
        return Names(self.found.namespace, self.found.name, self.addresses.routed)

    @cached_property
    def addresses(self) -> Addresses:
        """The addresses of the database.

        Raises:
            BrokenEnvironmentError: no way leads to its primary.
        """
        found = self.found
        core, plain = client.CoreV1Api(found.api), found.api.sanitize_for_serialization
        try:
            services = plain(
                core.list_namespaced_service(
                    found.namespace, _request_timeout=timeouts.KUBERNETES_ANSWERS
                )
            )["items"]
        except (ApiException, HTTPError) as error:
            raise refusal(error, found.access, found.api) from None
        return service_addresses.find(
            services,
            self._nodes(services),
            found.hosts,
            found.name,
            found.members,
            self._given,
        )

    def _nodes(self, services: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the nodes where a NodePort may need the address of one; none without the right."""
        if not any(service["spec"].get("type") == "NodePort" for service in services):
            return []
        try:
            listed = client.CoreV1Api(self.found.api).list_node(
                _request_timeout=timeouts.KUBERNETES_ANSWERS
            )
        except (ApiException, HTTPError):
            return []
        return list(self.found.api.sanitize_for_serialization(listed)["items"])

    def announcement(self, does: str = "") -> str:
        """Return which cluster this is and what will be done: the first line of each command.

        does: what is done to it; '': all that its level allows.

        Raises:
            BrokenEnvironmentError: it cannot be looked up.
        """
        found = self.found
        return (
            f"context {found.access.context} at {found.server}, namespace {found.namespace},"
            f" cluster {found.name}: {found.postgres}, CloudNativePG"
            f" {found.operator or 'of unknown version'}, {found.instances} instances; it"
            f" {does or WILL[self.settings.level] + self._will()}"
        )

    def _will(self) -> str:
        """Return what breaks it."""
        faults = FAULTS if "fault" in below(self.settings.level) else ""
        return faults + (FROM_NODES + self.settings.node_namespace if self._from_nodes else "")

    # -- up and down -------------------------------------------------------------------------------

    @property
    def _state(self) -> Path:
        """Directory of the password file: one for each cluster."""
        settings = self.settings
        words = (settings.context, settings.namespace, settings.cluster)
        readable = re.sub(r"[^A-Za-z0-9.-]+", "_", "-".join(words))[:80]
        digest = hashlib.sha256("\0".join(words).encode()).hexdigest()[:8]
        return self._states() / f"{readable}-{digest}"

    def up(self, settings: Settings) -> None:
        """Check all that the level needs, ask the user to confirm, and make our schema.

        Raises:
            BrokenEnvironmentError: something is missing; nothing was done.
            BadUsageError: the user did not confirm it.
        """
        found = self.found
        found.demand_well()
        rights.demand(self.asked_rights(), settings.level, found)
        self._take(settings)

    def _take(self, settings: Settings) -> None:
        """Make our schema in a cluster that is well, and what faults need beside it.

        Raises:
            BrokenEnvironmentError: something is missing; nothing was done.
            BadUsageError: the user did not confirm it.
        """
        found = self.found
        if self._from_nodes:
            self.helpers.demand_admitted()
        self._begin(settings, f"`kubectl cnpg psql {found.name}` is a superuser")
        if self._from_nodes:
            self._say("helper pods on the nodes ...")
            self.helpers.start()
        self._kept = True

    def down(self) -> None:
        """Drop our schemas and remove the password file; the cluster stays as it is.

        Raises:
            BrokenEnvironmentError: the database refuses.
        """
        self._remove_pods()
        super().down()
        self._released()

    def _remove_pods(self) -> None:
        """Remove what drills have put beside the cluster.

        Raises:
            BrokenEnvironmentError: a helper pod does not go.
        """
        settings = self.settings
        # First: the database may hang until they undo what they did.
        with nullcontext() if self._from_nodes else suppress(BrokenEnvironmentError):
            for node in self.helpers.remove():
                self._say(f"removed the helper pod on node {node}, which undid what was left there")
        # Who may not look for such pods or the Jobs of clients has made none; both end by
        # themselves.
        with suppress(BrokenEnvironmentError):
            for job in jobs.remove_left(self._access, settings.namespace, settings.cluster):
                self._say(f"removed what clients left: Job {job}")

    def _released(self) -> None:
        """Forget the database and its password."""
        self.__dict__.pop("_handle", None)
        self._kept = False
        self._forget()

    def asked_rights(self) -> tuple[rights.Answer, ...]:
        """Ask the API server about each right that these settings may need.

        Raises:
            BrokenEnvironmentError: it does not answer.
        """
        inside = self.settings.load == "cluster" or bool(self.settings.prober_image)
        needed = rights.needed(self.reads_secret, inside, self._from_nodes)
        return rights.ask(self.reached, needed, self.settings.node_namespace)

    def demands(self) -> tuple[Demand, ...]:
        """Return each thing that has to be so before anything begins."""
        production = self.settings.production_labels.pairs
        harmless = Demand(
            "no production",
            "labels of the namespace",
            lambda: self.found.demand_harmless(production),
        )
        healthy = Demand(
            "a healthy cluster",
            "what it costs is measured from there",
            lambda: self.found.demand_well(),
        )
        admitted = Demand(
            "pods that are admitted",
            "privileged pods on the nodes",
            lambda: self.helpers.demand_admitted(),
            "node",
        )
        return (harmless, healthy, *((admitted,) if self._from_nodes else ()))

    @property
    def _from_nodes(self) -> bool:
        return self.settings.level == "node"

    @cached_property
    def helpers(self) -> Helpers:
        """The privileged pods on the nodes."""
        return Helpers(self._access, self.settings.node_namespace, self.engine)

    def offers(self) -> tuple[tuple[Capability, str, str], ...]:
        """Return each capability that may be missing, what it is for, and how to get it."""
        return (
            (
                "member-addresses",
                "what each member holds, whether two accept writes, and each one's settings",
                "no address leads straight to every member: make a Service of type LoadBalancer or"
                " NodePort for each, with the selector cnpg.io/instanceName",
            ),
            (
                "read-only-address",
                "whether it leads to standbys",
                "no Service leads to standbys: make one, or give --ro-host=HOST:PORT",
            ),
        )

    # -- views -------------------------------------------------------------------------------------

    @property
    def reads_secret(self) -> bool:
        """Whether user and password come from the operator's Secret."""
        return not self.settings.dsn

    def cluster(self) -> Cluster:
        """Return the handle of the database.

        Raises:
            BrokenEnvironmentError: it cannot be looked up, or its Secret cannot be read.
        """
        return self._handle

    @cached_property
    def _handle(self) -> Cluster:
        self.found.demand_harmless(self.settings.production_labels.pairs)
        at = self.addresses
        given = self._dsn
        if self.reads_secret:
            given = credentials(self.found)
            passfile = self._write_passfile(given["user"], given["password"])
        else:
            passfile = Path(given.get("passfile", "~/.pgpass")).expanduser()
        return Cluster(
            name=self.found.name,
            read_write=at.read_write,
            read_only=at.read_only or at.read_write,
            members=at.members,
            database=given["dbname"],
            user=given["user"],
            passfile=passfile,
            others=libpq_settings(given),
        )

    def _write_passfile(self, user: str, password: str) -> Path:
        """Write a password file that only this user may read, and return its path."""
        escaped = re.sub(r"([\\:])", r"\\\1", password)
        if not self._state.exists():  # a command that makes nothing leaves none of it
            atexit.register(self._forget)
        self._state.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = self._state / "passfile"
        file.touch(mode=0o600)
        file.chmod(0o600)
        file.write_text(f"*:*:*:{user}:{escaped}\n")
        return file

    def _forget(self) -> None:
        """Remove the password file, unless `up` has printed a command line that names it."""
        if not self._kept:
            shutil.rmtree(self._state, ignore_errors=True)

    @cached_property
    def engine(self) -> CnpgEngine:
        """Its members: seen straight, or as the primary and the API see them."""
        names = self.names
        one: type[CnpgEngine] = CnpgEngine if self.addresses.members else CnpgByPrimary
        # No version: the promises are for any, see the catalogue.
        return one(self.api, names.namespace, names.cluster, self._connect, "", names.routed)

    def _connect(self, member: str) -> psycopg.Connection[tuple[Any, ...]]:
        cluster = self.cluster()
        at = cluster.members.get(member, cluster.read_write)
        return session.connect(cluster.conninfo(at, timeout=2), 2.0)

    @property
    def tuning_name(self) -> str:
        """The settings that bound an outage: the operator's defaults, or unknown ones."""
        spec = self.found.resource["spec"]
        bounded = (
            int(spec.get("smartShutdownTimeout", SMART_SHUTDOWN)) <= SMART_SHUTDOWN
            and int(spec.get("failoverDelay", 0)) == 0
        )
        return OWN if bounded else UNBOUNDED

    @cached_property
    def faults(self) -> Mapping[str, Fault]:
        """The faults that are allowed here: none below level fault."""
        if "fault" not in below(self.settings.level):
            return {}
        faults = api_faults(self.engine, self.access)
        if self._from_nodes:
            faults += node_faults(self.engine, self.helpers.node, self._data_volume)
        return {fault.name: fault for fault in faults}

    def _data_volume(self, member: str) -> PodVolume:
        pod = self.engine.pods()[member]
        return PodVolume.of(self.helpers.node(pod.node), pod.uid)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """The capabilities of this cluster, according to its addresses."""
        words: set[Capability] = {"pods", "load-balancer"}
        if self.addresses.members:
            words.add("member-addresses")
        if self.addresses.read_only:
            words.add("read-only-address")
        if self._from_nodes:
            words |= {"partition", "suspended-volumes"}
        return frozenset(words)

    def _named_members(self) -> frozenset[str]:
        return frozenset(self.found.members)

    def _secrets(self) -> tuple[str, ...]:
        if not self.reads_secret:
            return ()
        return (self.cluster().passfile.read_text().rstrip("\n").rpartition(":")[2],)
