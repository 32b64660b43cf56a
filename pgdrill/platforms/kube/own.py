"""A cluster that pgdrill makes on the user's Kubernetes, drills, and removes."""

from dataclasses import replace
from functools import cached_property

from pgdrill import timeouts
from pgdrill.engines.cnpg import HEALTHY_PHASE as HEALTHY
from pgdrill.errors import BrokenEnvironmentError, PgdrillError
from pgdrill.platforms.existing.confirmation import confirm
from pgdrill.platforms.existing.platform import WILL
from pgdrill.platforms.kube import rights
from pgdrill.platforms.kube.discovery import Namespace, client_of, find_clusters, look_up
from pgdrill.platforms.kube.making import GIVEN, MADE, NAME, NAMESPACE, OwnCluster
from pgdrill.platforms.kube.platform import Demand, KubePlatform
from pgdrill.platforms.kube.service_addresses import Addresses
from pgdrill.progress import Reporter
from pgdrill.settings import Settings
from pgdrill.waiting import DeadlineError, eventually, retry

HEALTHY_WITHIN = 600.0 * timeouts.FACTOR  # seconds for three instances, images pulled
ADDRESS_WITHIN = 60.0 * timeouts.FACTOR  # seconds for a load balancer to give addresses


class OwnKubePlatform(KubePlatform):
    """Without --cluster: a Cluster object of pgdrill's own, in a namespace of its own."""

    def __init__(self, settings: Settings, reporter: Reporter | None = None) -> None:
        named = replace(settings, cluster=NAME, namespace=settings.namespace or NAMESPACE)
        super().__init__(named, reporter)

    @cached_property
    def reached(self) -> Namespace:
        """The namespace, whether it is there or not."""
        return Namespace(self._access, client_of(self._access), self.settings.namespace)

    @cached_property
    def made(self) -> OwnCluster:
        """The cluster, whether it is there or not."""
        return OwnCluster(self.reached, self.settings.chart_values, self._say)

    def announcement(self, does: str = "") -> str:
        """Return where the cluster will be made and what will be done to it.

        Raises:
            BrokenEnvironmentError: the API server does not answer or refuses.
        """
        at = self.reached
        where = (
            f"context {at.access.context} at {at.api.configuration.host}, namespace {at.namespace},"
            f" CloudNativePG {self.made.operator or 'of unknown version'}"
        )
        is_there = self.is_there  # asked in any case: it refuses where there is no CloudNativePG
        if does:
            return f"{where}; it {does}"
        making = "" if is_there else "WILL BE MADE there by pgdrill's chart, and "
        will = WILL[self.settings.level] + self._will()
        return f"{where}; cluster {NAME} of pgdrill's own {making}{will}"

    @property
    def is_there(self) -> bool:
        """Whether the Cluster object is there.

        Raises:
            BrokenEnvironmentError: the API server does not answer or refuses.
        """
        at = self.reached
        return (at.namespace, NAME) in find_clusters(at.access, at.namespace)

    def is_up(self) -> bool:
        """Whether the cluster is there, with our schema in it; not one that is half made."""
        if not self.is_there:
            return False
        try:
            return super().is_up()
        except BrokenEnvironmentError:
            return False

    def up(self, settings: Settings) -> None:
        """Check all that is needed, ask the user to confirm, make the cluster, and our schema.

        Raises:
            BrokenEnvironmentError: something is missing, or it did not become healthy; nothing is
                left of it.
            BadUsageError: the user did not confirm it, or the namespace is somebody else's.
        """
        for demand in self.demands():
            demand.check()
        rights.demand(self.asked_rights(), settings.level, self.reached)
        confirm(self.title, settings.yes_break, self._say)
        confirmed = replace(settings, yes_break=self.title)
        if self.is_up():
            self.found.demand_well()
            self._take(confirmed)
            return
        try:
            self._say(f"making cluster {NAME} in namespace {self.reached.namespace} ...")
            self.made.make()
            self._wait()
            self.found.demand_well()  # its instances show the operator's version at last
            self._take(confirmed)
        except BaseException:
            self._say(f"removing cluster {NAME} again ...")
            try:
                self.down()
            except PgdrillError as left:  # what came first is what is to be known
                self._say(f"{left}; `pgdrill down` removes it")
            raise

    def _wait(self) -> None:
        """Wait until it is healthy and has addresses.

        Raises:
            BrokenEnvironmentError: with what it waited for.
        """
        said, hopeless = "", False

        def is_decided() -> bool:
            nonlocal said, hopeless
            found = look_up(self._access, self.settings.namespace, NAME)
            pod = self.made.pending()
            status = found.resource.get("status", {})
            now = f"{status.get('readyInstances', 0)} of {found.instances} instances ready"
            now += f"; {pod.name} waits: {pod.waits}" if pod else ""
            if now != said:
                said = now
                self._say(f"cluster {NAME}: {now}")
            hopeless = bool(pod and pod.hopeless)
            healthy = status.get("phase") == HEALTHY and len(found.members) == found.instances
            return healthy or hopeless

        late = ""
        try:
            eventually(
                f"cluster {NAME} to be healthy",
                is_decided,
                within=HEALTHY_WITHIN,
                every=2,
                not_yet=(BrokenEnvironmentError,),
                silent=True,  # each change is printed
            )
        except DeadlineError:
            late = f" after {HEALTHY_WITHIN:g} s"
        if late or hopeless:
            what = f"cluster {NAME} is not healthy{late}"
            raise BrokenEnvironmentError(f"{what}: {said or 'it is not there'}")
        found = self.found
        nodes = len(set(found.hosts))
        if nodes < found.instances:
            self._say(
                f"{found.instances} instances share {nodes} {'node' if nodes == 1 else 'nodes'}:"
                " the loss of one would take several of them"
            )
        retry("addresses of its Services", self._addresses, within=ADDRESS_WITHIN)

    def _addresses(self) -> Addresses:
        try:
            return self.addresses
        except BrokenEnvironmentError as error:
            raise BrokenEnvironmentError(
                f"{error}; where nothing serves Services of type LoadBalancer, `serviceType:"
                " NodePort` in a file for --chart-values=FILE"
            ) from None

    def down(self) -> None:
        """Remove the cluster, with its namespace where pgdrill made that.

        Raises:
            BrokenEnvironmentError: the API server refuses, or something stays.
            BadUsageError: the namespace is somebody else's.
        """
        self.made.demand_namespace()
        if self.is_there:
            try:
                self._remove_pods()
            except BrokenEnvironmentError as error:  # they end by themselves, their cluster not
                self._say(str(error))
        if mark := self.made.remove():
            within = f", and namespace {self.reached.namespace}" if mark == MADE else ""
            self._say(f"removed cluster {NAME}{within}")
        self._released()

    def demands(self) -> tuple[Demand, ...]:
        """Return each thing that has to be so before a cluster can be made here."""
        made = self.made
        return (
            Demand("a namespace of its own", self.reached.namespace, made.demand_namespace),
            Demand("CloudNativePG", "the operator that is there", made.demand_operator),
            Demand("values that the chart takes", "--chart-values", lambda: made.manifest),
            Demand("a storage class", "volumes of the instances", made.demand_storage),
        )

    def asked_rights(self) -> tuple[rights.Answer, ...]:
        """Ask the API server about each right that these settings may need.

        Raises:
            BrokenEnvironmentError: it does not answer.
        """
        making = rights.to_make(namespace=self.made.mark != GIVEN)
        return (*rights.ask(self.reached, making), *super().asked_rights())
