"""The reference platform: a kind cluster with MetalLB and CloudNativePG, made from nothing."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.faults.base import Fault
from pgdrill.observe.alertmanager import Alertmanager
from pgdrill.observe.prometheus import NoDataError, Prometheus
from pgdrill.platforms.base import (
    Capability,
    Cluster,
    Endpoint,
    Health,
    Volume,
    health,
    psql_line,
)
from pgdrill.platforms.kind import (
    lifecycle,
    load_container,
    namespaces,
    network,
    orphans,
    preflight,
    pulling,
)
from pgdrill.platforms.kind.archive import KindArchive
from pgdrill.platforms.kind.faults import Fence, StopNode
from pgdrill.platforms.kind.nodes import KindNode, NodeVolume
from pgdrill.platforms.kind.state import (
    MEMBERS,
    MONITORING,
    NAME,
    NAMES,
    NAMESPACE,
    POOLER,
    VOLUME_MB,
    Installation,
    addresses,
    handle,
    plan,
    state_dir,
)
from pgdrill.platforms.kind.store_faults import store_faults
from pgdrill.platforms.kubernetes import kubectl_output
from pgdrill.platforms.kubernetes.access import Access
from pgdrill.platforms.kubernetes.faults import (
    OPERATOR,
    OPERATOR_NAMESPACE,
    OPERATOR_PODS,
    Deployment,
    ScaleToZero,
    api_faults,
)
from pgdrill.platforms.kubernetes.node_faults import node_faults
from pgdrill.platforms.kubernetes.nodes import processes, signal
from pgdrill.platforms.kubernetes.platform import KubernetesPlatform
from pgdrill.platforms.lock import exclusive
from pgdrill.platforms.session_faults import TakeConnections
from pgdrill.platforms.supported import require_supported
from pgdrill.progress import Reporter
from pgdrill.provision import container_engine, images, playbook
from pgdrill.provision.commands import mark, output, succeeds, workers
from pgdrill.provision.node import clear_workshop
from pgdrill.provision.supply import Supply
from pgdrill.provision.toolchain import tool
from pgdrill.settings import Settings
from pgdrill.waiting import DeadlineError, eventually
from pgdrill.workload import pgbench_program

# Seconds for three members to stream; 85 were seen on two cores, and as long again where other
# settings let the operator replace every pod, one by one.
HEALTHY_WITHIN = 300.0
WATCHED_WITHIN = 120.0  # seconds more for the monitoring, which has started meanwhile
GATEWAY, GATEWAY_PODS = "pushgateway", "app.kubernetes.io/name=pushgateway"


class KindPlatform(KubernetesPlatform):
    """Nodes are containers of this machine; everything in them is declared by Ansible."""

    name = "kind"
    names = NAMES

    def __init__(self, reporter: Reporter | None = None, supply: Supply | None = None) -> None:
        self._reporter = reporter or Reporter()
        self._say = self._reporter.line
        self._state = state_dir()
        found = Installation.load(self._state)
        self.tuning_name = found.timing if found else "tuned"
        self._supply = supply or Supply()
        if found:
            pulled = "" if found.built else found.image
            self._supply = self._supply.after(
                pulled, found.operator, found.postgres, found.kubernetes, found.mirrors
            )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold this installation for one run.

        Raises:
            BrokenEnvironmentError: another run holds it.
        """
        path = self._state.with_name(self._state.name + ".lock")
        try:
            with exclusive(path, "the kind platform"):
                yield
        finally:
            if path.parent.name == "pgdrill":  # the default place: `up` may have made it
                with suppress(OSError):
                    path.parent.rmdir()

    # -- up and down ------------------------------------------------------------------------------

    def is_up(self) -> bool:
        """Whether `up` finished and the API server still answers."""
        found = Installation.load(self._state)
        if found is None or not found.ready.exists() or not found.kubeconfig.exists():
            return False
        return bool(self.engine.named())

    def up(self, settings: Settings) -> None:
        """Bring everything up, or find it up.

        Raises:
            BrokenEnvironmentError: the machine cannot hold it, or it does not become healthy.
        """
        lifecycle.refuse_foreign_files(self._state)
        orphans.sweep(self._state)
        mark(self._state)
        found = Installation.load(self._state)
        if found is None:
            preflight.require(settings.images)
        with self._reporter.task("container engine"):
            if found:
                container_engine.resume(self._say)  # the nodes are in that one and in no other
            container_engine.ensure(self._say)
        lifecycle.refuse_foreign(found)
        load_container.remove_left(self._state)
        if found is None:
            preflight.require(settings.images)  # once more: of an engine only now started
            network.refuse_taken()
        with orphans.building(self._say):
            try:
                self._make(found, settings)
            except DeadlineError as error:
                raise BrokenEnvironmentError(f"{error}\n`make down` removes everything") from None

    def _make(self, found: Installation | None, settings: Settings) -> None:
        with self._reporter.task("tools and images"):
            kind = self._tool("kind")
            node = images.node_image(
                self._supply,
                self._say,
                running=found.image if found and not lifecycle.lost(found) else "",
                before_building=lambda: preflight.require("build"),
            )
        supply = self._supply
        versions = (supply.operator_version, supply.postgres_version, supply.kubernetes_version)
        before = found and (found.image, found.operator, found.postgres, found.kubernetes)
        if found is None or before != (node.reference, *versions):
            if found:
                self._say("another node image, operator or version: making the cluster again")
                lifecycle.delete(self._state)
            cores = container_engine.cores()
            found = plan(self._state, node.reference, node.built, cores, *versions)
        found = found.with_timing(settings.timing).mirrored(str(self._supply.mirrors))
        if settings.archive:
            found = found.archived()
        found.save()
        self._forget_views()
        self.tuning_name = found.timing
        with workers(2) as work, self._reporter.task("cluster"):
            # What is needed only after the nodes have booted is made while they do.
            tools = work(self._declaring_tools)
            collection = work(playbook.collections, self._say)
            lifecycle.create(kind, self._tool("kubectl"), found, self._say)
            paths = tools.result()
            collection.result()
        require_supported(self.api, "cnpg", self._supply.known)
        namespaces.refuse_foreign(self.api, *namespaces.OURS)
        if not found.built:
            with self._reporter.task("images into the nodes"):
                pulling.pull_into(lifecycle.nodes(), self._supply, self._say)
        with self._reporter.task("contents"):
            lifecycle.declare(found, paths, self._supply, self._say)
            lifecycle.find_endpoints(self.api, found, self._say)
        self._wait_healthy()
        self._wait_watched()
        if "backup" in self.capabilities:
            self.archive.demand_backup(self._reporter)
        found.ready.touch()

    def _tool(self, name: str) -> Path:
        return tool(name, self._supply, self._say)

    def _declaring_tools(self) -> dict[str, Path]:
        return {name: self._tool(name) for name in ("kubectl", "helm")}

    def _wait_healthy(self) -> None:
        with self._reporter.task("three members, streaming") as update:

            def look() -> object:
                seen = health(self.engine)
                if seen and not self.engine.settled():
                    seen = Health(("the operator has not finished",))
                update(0, repr(seen))
                return seen

            try:
                eventually(
                    "a fully redundant cluster",
                    look,
                    within=HEALTHY_WITHIN,
                    not_yet=(BrokenEnvironmentError,),
                )
            except DeadlineError as error:
                raise BrokenEnvironmentError(f"{error}\n`make down` removes everything") from None

    @contextmanager
    def with_timing(self, timing: str) -> Iterator[None]:
        """Run with another of the chart's values.<timing>.yaml while the block lasts.

        Raises:
            BrokenEnvironmentError: the cluster does not become healthy with it.
        """
        before = self.tuning_name
        try:
            self._retime(timing)
            yield
        finally:
            self._retime(before)

    def _retime(self, timing: str) -> None:
        if timing == self.tuning_name:
            return
        found = self.installation.with_timing(timing)
        found.save()
        self._forget_views()
        with self._reporter.task(f"failover settings: {timing}"):
            lifecycle.declare(found, self._declaring_tools(), self._supply, self._say)
            self.tuning_name = timing
        self._wait_healthy()

    def _wait_watched(self) -> None:
        """Wait until every target is reached, every member seen up, and the metrics API served."""
        prometheus = Prometheus(self.prometheus_url)
        alertmanager = Alertmanager(self.alertmanager_url)

        def unwatched() -> object:
            alertmanager.webhook()
            up = prometheus.values("pgdrill:member_up")
            return (
                prometheus.down_targets()
                or [m for m in MEMBERS if up.get(m) != 1]
                or self.autoscaler().metrics_unavailable()
            )

        with self._reporter.task("monitoring"):
            try:
                eventually(
                    "every target and member in view, and the metrics API",
                    unwatched,
                    lambda seen: not seen,
                    within=WATCHED_WITHIN,
                    not_yet=(BrokenEnvironmentError, NoDataError),
                )
            except DeadlineError as error:
                raise BrokenEnvironmentError(f"{error}\n`make down` removes everything") from None

    def down(self) -> None:
        """Remove cluster, volumes, network and files; an engine that `up` started is ended too.

        The cache stays: it is what makes the next `up` fast.

        Raises:
            BrokenEnvironmentError: the engine that holds the nodes does not answer, or there is a
                cluster of our name that was not made here.
        """
        lifecycle.refuse_foreign_files(self._state)
        orphans.sweep(self._state)
        found = Installation.load(self._state)
        if found or container_engine.left_behind():
            container_engine.resume(self._say)
        if container_engine.answers():
            lifecycle.refuse_foreign(found)
            load_container.remove_left(self._state)
            with orphans.building(self._say):
                clear_workshop()
            if found:
                lifecycle.delete(self._state)
            if not output("docker", "ps", "--all", "--quiet").strip():
                succeeds("docker", "network", "rm", network.NETWORK)
            if not output("docker", "ps", "--quiet").strip():
                container_engine.stop()
        lifecycle.forget(self._state)
        self._forget_views()

    # -- views of what is running -----------------------------------------------------------------

    def _forget_views(self) -> None:
        for view in ("installation", "api", "engine", "faults", "_endpoints"):
            self.__dict__.pop(view, None)

    @cached_property
    def installation(self) -> Installation:
        """The installation.

        Raises:
            BrokenEnvironmentError: there is none.
        """
        found = Installation.load(self._state)
        if found is None:
            raise BrokenEnvironmentError("nothing is running here: `make up PLATFORM=kind` first")
        return found

    @property
    def access(self) -> Access:
        """The cluster's own kubeconfig; the user's is never touched."""
        return Access(self.installation.kubeconfig)

    @property
    def operator(self) -> str:
        """The version of CloudNativePG that was installed."""
        return self.installation.operator

    @cached_property
    def faults(self) -> Mapping[str, Fault]:
        """Every fault that can be injected here."""
        faults = (
            *api_faults(self.engine, self.access),
            *node_faults(self.engine, KindNode, self._data_volume, self.deciders),
            Fence(self.engine, "standby_away", "standby", KindNode),
            StopNode(self.engine, "primary_away", "primary", KindNode),
            ScaleToZero(
                "operator_away",
                Deployment(OPERATOR, OPERATOR_NAMESPACE, OPERATOR_PODS, self.access),
            ),
            ScaleToZero("source_away", Deployment(GATEWAY, MONITORING, GATEWAY_PODS, self.access)),
            TakeConnections(self.engine, self.cluster),
        )
        if self.installation.archive_secret:
            faults += store_faults(self.api, self.cluster, self.access)
        return {fault.name: fault for fault in faults}

    @property
    def capabilities(self) -> frozenset[Capability]:
        """The capabilities of this installation."""
        words: set[Capability] = {
            "node-loss",
            "partition",
            "real-disk-limit",
            "suspended-volumes",
            "load-balancer",
            "read-only-address",
            "member-addresses",
            "pods",
            "timings",
            "hpa",
            "pushgateway",
        }
        if self.installation.archive_secret:
            words |= {"backup", "backup-credentials"}
        return frozenset(words)

    @property
    def archive(self) -> KindArchive:
        """Backups and WAL, and what is restored from them."""
        return KindArchive(self)

    def declare_restored(self, target: Mapping[str, str]) -> None:
        """Declare a cluster that begins with what the archive holds, up to a target.

        Raises:
            BrokenEnvironmentError: a task of the playbook failed.
        """
        lifecycle.declare_restored(
            self.installation, self._declaring_tools(), self._supply, target, self._say
        )

    def lose_members(self) -> None:
        """Kill every member and empty its volume, the primary first; the archive stays."""
        pods, first = self.engine.pods(), self.engine.primary().name
        volumes = {name: self.claimed(name, NAMESPACE) for name in pods}
        for name in sorted(pods, key=lambda name: name != first):
            pod = pods[name]
            node = KindNode(pod.node)
            signal(node, "KILL", [p.pid for p in processes(node, pod.uid)])
            volumes[name].empty()
        self.engine.forget()  # or the operator would begin an empty database in their place

    @property
    def prometheus_url(self) -> str:
        """Address of Prometheus."""
        return f"http://{self._endpoints['prometheus']}"

    @property
    def alertmanager_url(self) -> str:
        """Address of Alertmanager."""
        return f"http://{self._endpoints['alertmanager']}"

    @property
    def pushgateway_url(self) -> str:
        """Address of the Pushgateway that Prometheus scrapes."""
        return f"http://{self._endpoints['pushgateway']}"

    @cached_property
    def _endpoints(self) -> dict[str, Endpoint]:
        """Addresses of every service, as `up` found them.

        Raises:
            BrokenEnvironmentError: `up` did not get so far.
        """
        return addresses(self.installation.endpoints)

    def cluster(self) -> Cluster:
        """Return the handle of the running database.

        Raises:
            BrokenEnvironmentError: nothing is running.
        """
        return handle(self.installation, NAME, self._endpoints, MEMBERS)

    def pgbench(self) -> pgbench_program.Program:
        """Return this machine's pgbench, or one in a container of the image that the members run.

        Raises:
            BrokenEnvironmentError: neither will do.
        """
        load_container.remove_left(self._state)
        try:
            return pgbench_program.on_host()
        except pgbench_program.NoPgbenchError as error:
            because = error.found
        image = self.engine.image()
        self._say(f"{because}: pgbench will run in a container of {image}")
        inside = addresses(self.installation.inside)
        routes = {at: inside[name] for name, at in self._endpoints.items()}
        with self._reporter.task("pgbench in a container"):
            images.present(image, self._supply, self._say)
            return load_container.provide(
                image, network.NETWORK, self._state, routes, because, self._say
            )

    def psql(self) -> str:
        """Return a command line that opens a session: in the primary's pod where there is no psql.

        That one connects as the superuser.
        """
        cluster = self.cluster()
        if shutil.which("psql"):
            return psql_line(cluster)
        return (
            f"KUBECONFIG={self.installation.kubeconfig} {self._tool('kubectl')} exec -it"
            f" service/{NAME}-rw --namespace={NAMESPACE} --container=postgres"
            f" -- psql {cluster.database}"
        )

    def pooler(self) -> Endpoint:
        """Return the address of the connection pooler.

        Raises:
            BrokenEnvironmentError: nothing is running.
        """
        return self._endpoints["pooler"]

    def volume(self, member: str) -> Volume:
        """Return the file system that holds a member's data."""
        return self._data_volume(member)

    def _data_volume(self, member: str) -> NodeVolume:
        return self.claimed(member, NAMESPACE)

    def claimed(self, claimed_by: str, namespace: str) -> NodeVolume:
        """Return the volume that a claim is bound to, in its node.

        Raises:
            BrokenEnvironmentError: the API server does not answer, or has none.
        """
        return NodeVolume.of(self.bound(claimed_by, namespace))

    def versions(self) -> dict[str, str]:
        """Versions of every running part."""
        known = self._supply.known
        return super().versions() | {
            "cloudnative-pg": known.versions["cnpg"],
            "metallb": known.versions["metallb"],
            "prometheus": known.versions["prometheus"],
            "alertmanager": known.versions["alertmanager"],
            "kind": known.versions["kind"],
            "node image": self.installation.origin,
        }

    def tuning(self) -> dict[str, str]:
        """The settings outside the engine that are not defaults, for the report."""
        return {
            "volumes": f"{VOLUME_MB} MB ext4 each, loop-mounted in the nodes",
            "nodes": f"1 control plane, {self.installation.workers} workers",
            "node-monitor-grace-period": "16 s instead of 40",
            "kube-proxy iptables.minSyncPeriod": "100 ms instead of 1 s",
            "etcd": "--unsafe-no-fsync: its log does not wait behind the members' fsyncs",
        }

    def _secrets(self) -> tuple[str, ...]:
        return (self.installation.password,)

    def _looks(self) -> dict[str, Callable[[], str]]:
        """Everything that runs in the cluster, for it is all ours."""
        api = self.api
        everything = ("pods", "persistentvolumes", "persistentvolumeclaims", "services")
        scaler = f"/apis/autoscaling/v2/namespaces/{NAMESPACE}/horizontalpodautoscalers/{POOLER}"
        return super()._looks() | {
            "pods.txt": lambda: kubectl_output.table(
                api, *(f"/api/v1/{kind}" for kind in everything)
            ),
            "events.txt": lambda: kubectl_output.table(api, "/api/v1/events"),
            "autoscaler.txt": lambda: kubectl_output.document(api, scaler),
            "prometheus.log": lambda: kubectl_output.log(
                api, MONITORING, "prometheus-pgdrill-0", "prometheus"
            ),
            "alertmanager.log": lambda: kubectl_output.log(
                api, MONITORING, "alertmanager-pgdrill-0", "alertmanager"
            ),
        }

    def _named_members(self) -> frozenset[str]:
        return frozenset(MEMBERS)
