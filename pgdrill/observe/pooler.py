"""CloudNativePG's pooler under a HorizontalPodAutoscaler, read through the Kubernetes API."""

import re
import time
from collections.abc import Mapping
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.utils.quantity import parse_quantity
from urllib3.exceptions import HTTPError

from pgdrill import timeouts
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.observe.autoscale import Limits
from pgdrill.records import PoolerPod, ScalePoint

DEFAULT_WINDOW = 300.0  # seconds; Kubernetes' default, if the autoscaler has no setting
METRICS_API = "v1beta1.metrics.k8s.io"
METRICS_PORT = 9127  # where the operator's manager in each pod exports PgBouncer's SHOW STATS
NOT_THERE = (ApiException, HTTPError)

_CARRIED = re.compile(
    r'^cnpg_pgbouncer_stats_total_xact_count\{database="([^"]*)"\} (\S+)$', re.MULTILINE
)


class PoolerAutoscaler:
    """A Pooler and its autoscaler, which has its name; caches nothing."""

    def __init__(self, api: client.ApiClient, namespace: str, name: str) -> None:
        self._api = api
        self._core = client.CoreV1Api(api)
        self._custom = client.CustomObjectsApi(api)
        self._namespace = namespace
        self._name = name
        self._ours = f"cnpg.io/poolerName={name}"

    def metrics_unavailable(self) -> str:
        """Return why the autoscaler has no CPU metrics; '' where it has.

        Raises:
            BrokenEnvironmentError: the API server does not answer, or no metrics are declared.
        """
        try:
            found = client.ApiregistrationV1Api(self._api).read_api_service(
                METRICS_API, _request_timeout=timeouts.POOLER_ANSWERS
            )
        except NOT_THERE as error:
            raise BrokenEnvironmentError(f"no {METRICS_API}: {_why(error)}") from None
        for condition in self._plain(found).get("status", {}).get("conditions") or []:
            if condition["type"] == "Available":
                return "" if condition["status"] == "True" else str(condition["message"])
        return f"{METRICS_API} was not looked at yet"

    def limits(self) -> Limits:
        """Return the autoscaler's limits.

        Raises:
            BrokenEnvironmentError: the API server does not answer, or there is no autoscaler.
        """
        spec = self._described()["spec"]
        down = spec.get("behavior", {}).get("scaleDown", {})
        return Limits(
            least=int(spec.get("minReplicas", 1)),
            most=int(spec["maxReplicas"]),
            target=float(spec["metrics"][0]["resource"]["target"]["averageUtilization"]),
            window=float(down.get("stabilizationWindowSeconds", DEFAULT_WINDOW)),
        )

    def look(self) -> ScalePoint:
        """Return the autoscaler's state and its pods'.

        Raises:
            BrokenEnvironmentError: the API server does not answer, or there is no autoscaler.
        """
        status = self._described().get("status", {})
        trouble = _trouble(status)
        ready = self._pods()
        cpu = self._cpu()
        pods = {
            name: PoolerPod(
                ready=ready[name],
                cpu=cpu.get(name),
                transactions=self._transactions(name) if ready[name] else None,
            )
            for name in sorted(ready)
        }
        return ScalePoint(
            at=time.monotonic(),
            desired=int(status.get("desiredReplicas", 0)),
            current=int(status.get("currentReplicas", 0)),
            # A lost metric stays in the status; only the condition shows that it is old.
            utilisation=None if trouble else _utilisation(status),
            trouble=trouble,
            pods=pods,
        )

    def _described(self) -> dict[str, Any]:
        # As plain JSON: the client's type rejects an autoscaler without a first evaluation.
        try:
            found = self._custom.get_namespaced_custom_object(
                "autoscaling",
                "v2",
                self._namespace,
                "horizontalpodautoscalers",
                self._name,
                _request_timeout=timeouts.POOLER_ANSWERS,
            )
        except NOT_THERE as error:
            raise BrokenEnvironmentError(f"no autoscaler {self._name}: {_why(error)}") from None
        return self._plain(found)

    def _pods(self) -> dict[str, bool]:
        """Return which pods there are, and whether each takes connections."""
        try:
            found = self._core.list_namespaced_pod(
                self._namespace, label_selector=self._ours, _request_timeout=timeouts.POOLER_ANSWERS
            )
        except NOT_THERE as error:
            raise BrokenEnvironmentError(
                f"pods of {self._name} cannot be listed: {_why(error)}"
            ) from None
        pods = self._plain(found)["items"]
        return {pod["metadata"]["name"]: _takes_connections(pod) for pod in pods}

    def _cpu(self) -> dict[str, float]:
        """Return CPU by pod, in cores; metrics-server may not have a pod yet, or any."""
        try:
            found = self._custom.list_namespaced_custom_object(
                "metrics.k8s.io",
                "v1beta1",
                self._namespace,
                "pods",
                label_selector=self._ours,
                _request_timeout=timeouts.POOLER_ANSWERS,
            )
        except NOT_THERE:
            return {}
        return {
            pod["metadata"]["name"]: float(
                sum(parse_quantity(each["usage"]["cpu"]) for each in pod["containers"])
            )
            for pod in self._plain(found)["items"]
        }

    def _plain(self, answer: object) -> dict[str, Any]:
        return dict(self._api.sanitize_for_serialization(answer))

    def _transactions(self, pod: str) -> int | None:
        """Return the number of transactions of a pod, over all databases but its own."""
        try:
            text = self._core.connect_get_namespaced_pod_proxy_with_path(
                f"{pod}:{METRICS_PORT}",
                self._namespace,
                "metrics",
                _request_timeout=timeouts.POOLER_ANSWERS,
            )
        except NOT_THERE:
            return None
        return carried(str(text))


def carried(metrics: str) -> int | None:
    """Sum the transactions of all databases but PgBouncer's own; None where none is counted.

    A pod whose clients have used no database only has counts of its own one: the sum is 0.
    """
    counts = _CARRIED.findall(metrics)
    if not counts:
        return None
    return int(sum(float(count) for database, count in counts if database != "pgbouncer"))


def _takes_connections(pod: Mapping[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def _utilisation(status: Mapping[str, Any]) -> float | None:
    for metric in status.get("currentMetrics") or []:
        found = metric.get("resource", {}).get("current", {}).get("averageUtilization")
        if found is not None:
            return float(found)
    return None


def _trouble(status: Mapping[str, Any]) -> str:
    """Return why the autoscaler cannot work, in its own message; '' if it can."""
    for condition in status.get("conditions") or []:
        if condition["type"] in ("AbleToScale", "ScalingActive") and condition["status"] != "True":
            return f"{condition.get('reason', '')}: {condition.get('message', '')}"
    return ""


def _why(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error)
