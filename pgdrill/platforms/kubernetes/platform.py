"""A CloudNativePG cluster seen through the Kubernetes API: what needs no node and no machine."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from pgdrill import timeouts
from pgdrill.engines.cnpg import GROUP, PLURAL, VERSION, CnpgEngine
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.observe import rulefiles
from pgdrill.observe.pooler import PoolerAutoscaler
from pgdrill.platforms import session
from pgdrill.platforms.base import Cluster
from pgdrill.platforms.kubernetes import jobs, kubectl_output, probe_job
from pgdrill.platforms.kubernetes.access import Access
from pgdrill.platforms.kubernetes.faults import OPERATOR_NAMESPACE, OPERATOR_PODS
from pgdrill.platforms.kubernetes.load_job import JobProgram
from pgdrill.workload.pgbench_program import Launch

Say = Callable[[str], None]


@dataclass(frozen=True)
class Names:
    """The names of one cluster's objects."""

    namespace: str
    cluster: str
    routed: str  # the Service that clients write through
    pooler: str = ""
    monitoring: str = ""  # the namespace of what watches

    @property
    def rules(self) -> tuple[str, str, str, str]:
        """The API's path of the objects with alert rules: group, version, namespace, plural."""
        return ("monitoring.coreos.com", "v1", self.monitoring, "prometheusrules")


class KubernetesPlatform(ABC):
    """The views and faults of the cluster that names identifies."""

    names: Names
    _say: Say

    @property
    @abstractmethod
    def access(self) -> Access:
        """The access to the API.

        Raises:
            BrokenEnvironmentError: nothing is there.
        """

    @property
    @abstractmethod
    def operator(self) -> str:
        """The version of CloudNativePG, which selects the promises."""

    @abstractmethod
    def cluster(self) -> Cluster:
        """Return the handle of the running database."""

    @cached_property
    def api(self) -> client.ApiClient:
        """A client of the cluster's API."""
        return self.access.client()

    @cached_property
    def engine(self) -> CnpgEngine:
        """CloudNativePG's members."""
        names = self.names
        return CnpgEngine(
            self.api, names.namespace, names.cluster, self._connect, self.operator, names.routed
        )

    def _connect(self, member: str) -> psycopg.Connection[tuple[Any, ...]]:
        return connect(self.cluster(), member)

    def observers(self) -> AbstractContextManager[Mapping[str, Callable[[], str]]]:
        """Probes of the parts of a failover."""
        return self.engine.observers()

    def autoscaler(self) -> PoolerAutoscaler:
        """Return the pooler's autoscaler."""
        return PoolerAutoscaler(self.api, self.names.namespace, self.names.pooler)

    def declared_alerts(self) -> frozenset[str]:
        """Return which alerts the PrometheusRule objects hold.

        Raises:
            BrokenEnvironmentError: they cannot be listed.
        """
        custom = client.CustomObjectsApi(self.api)
        try:
            found: Any = custom.list_namespaced_custom_object(
                *self.names.rules, _request_timeout=timeouts.KUBERNETES_ANSWERS
            )
        except (ApiException, HTTPError) as error:
            raise BrokenEnvironmentError(f"PrometheusRule objects: {error}") from None
        groups = [group for one in found["items"] for group in one["spec"]["groups"]]
        return frozenset(rulefiles.alerts_of(groups))

    def bound(self, claim: str, namespace: str) -> dict[str, Any]:
        """Return the volume that a claim is bound to, in the API's own JSON.

        Raises:
            BrokenEnvironmentError: the API server does not answer, or has none.
        """
        core, plain = client.CoreV1Api(self.api), self.api.sanitize_for_serialization
        try:
            found = core.read_namespaced_persistent_volume_claim(
                claim, namespace, _request_timeout=timeouts.KUBERNETES_ANSWERS
            )
            name = plain(found)["spec"]["volumeName"]
            volume = core.read_persistent_volume(name, _request_timeout=timeouts.KUBERNETES_ANSWERS)
        except (ApiException, HTTPError) as error:
            raise BrokenEnvironmentError(f"the volume of {claim}: {error}") from None
        return dict(plain(volume))

    def deciders(self) -> list[str]:
        """Return the addresses of the API server and of the operator: they name the primary.

        Raises:
            BrokenEnvironmentError: the API server does not answer.
        """
        core = client.CoreV1Api(self.api)
        try:
            served = core.read_namespaced_endpoints(
                "kubernetes", "default", _request_timeout=timeouts.KUBERNETES_ANSWERS
            )
            pods = core.list_namespaced_pod(
                OPERATOR_NAMESPACE,
                label_selector=OPERATOR_PODS,
                _request_timeout=timeouts.KUBERNETES_ANSWERS,
            ).items
        except (ApiException, HTTPError) as error:
            raise BrokenEnvironmentError(f"API server and operator: {error}") from None
        hosts = [at.ip for subset in served.subsets or () for at in subset.addresses or ()]
        addresses = [pod.status.pod_ip for pod in pods if pod.status]
        return [*hosts, *filter(None, addresses)]

    def pgbench_inside(self, workers: int) -> JobProgram:
        """Return the pgbench of the members' own image, in so many pods for each start.

        Raises:
            BrokenEnvironmentError: no member has an image, or what a killed run left stays.
        """
        jobs.remove_left(self.access, self.names.namespace, self.names.cluster)
        place = self._place(self.engine.image(), workers)
        return JobProgram(place, self._server_version(), self._say)

    def prober_inside(self, image: str) -> Launch:
        """Return how a prober starts in a pod of an image, with a connection to the primary.

        Raises:
            BrokenEnvironmentError: the database does not answer.
        """
        return probe_job.launch(self._place(image, 1), self.cluster().conninfo(), self._say)

    def _place(self, image: str, workers: int) -> jobs.Place:
        return jobs.Place(
            kubeconfig=str(self.access.kubeconfig),
            context=self.access.context,
            namespace=self.names.namespace,
            cluster=self.names.cluster,
            image=image,
            pull_secrets=self.engine.pull_secrets(),
            workers=workers,
        )

    def versions(self) -> dict[str, str]:
        """Versions of PostgreSQL, Kubernetes and the operator."""
        return {
            "postgresql": self._server_version(),
            "kubernetes": str(client.VersionApi(self.api).get_code().git_version),
            "cloudnative-pg": self.operator,
        }

    def _server_version(self) -> str:
        with self.cluster().connect() as asking:
            row = asking.execute("SHOW server_version").fetchone()
        return str(row[0]) if row else "unknown"

    def diagnostics(self, into: Path, since: float) -> None:
        """Write pods, events, the Cluster object and the tail of every log."""
        into.mkdir(parents=True, exist_ok=True)
        for name, look in self._looks().items():
            try:
                text = look()
            except BrokenEnvironmentError as error:
                text = str(error)
            for secret in filter(None, self._secrets()):
                text = text.replace(secret, "[secret]")
            (into / name).write_text(text)

    def _secrets(self) -> tuple[str, ...]:
        """Return the secrets that no file of diagnostics may contain."""
        return ()

    def _looks(self) -> dict[str, Callable[[], str]]:
        """Return the contents of each file of diagnostics."""
        api, ours = self.api, self.names.namespace
        core, custom = f"/api/v1/namespaces/{ours}", f"/apis/{GROUP}/{VERSION}/namespaces/{ours}"
        lists = (f"{core}/{kind}" for kind in ("pods", "persistentvolumeclaims", "services"))
        members = sorted(self._named_members())
        return {
            "pods.txt": lambda: kubectl_output.table(api, *lists),
            "events.txt": lambda: kubectl_output.table(api, f"{core}/events"),
            "cluster.yaml": lambda: kubectl_output.document(
                api, f"{custom}/{PLURAL}/{self.names.cluster}"
            ),
            "operator.log": lambda: kubectl_output.logs_of(api, OPERATOR_NAMESPACE, OPERATOR_PODS),
        } | {
            f"{name}.log": (lambda pod=name: kubectl_output.log(api, ours, pod)) for name in members
        }

    def _named_members(self) -> frozenset[str]:
        """Return the members whose logs are collected, running or not."""
        return frozenset(self.cluster().members)


def connect(cluster: Cluster, member: str) -> psycopg.Connection[tuple[Any, ...]]:
    """Open a short session on a member, as engines do to look at it.

    Raises:
        psycopg.Error: it does not answer.
    """
    return session.connect(cluster.conninfo(cluster.members[member], timeout=2), 2.0)
