"""CloudNativePG, read through the Kubernetes API and through SQL on each member."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from pgdrill import timeouts
from pgdrill.engines.base import Member, NoPrimaryError, Pod, Role, flat, switchover_candidates
from pgdrill.engines.informer import Informer
from pgdrill.errors import BrokenEnvironmentError

GROUP, VERSION, PLURAL = "postgresql.cnpg.io", "v1", "clusters"
FENCED = "cnpg.io/fencedInstances"
HEALTHY_PHASE = "Cluster in healthy state"
# Seconds after a restart in place for which kubelet remembers it, twice its longest back-off.
REMEMBERED = 600.0
# Seconds after the end of a fence in which a member's manager does nothing, not even promote: up to
# 5 until PostgreSQL is back, 20 of sleep (1.30.0 and 1.25.4, RequestAndWaitFencingOff), 2 spare.
ASLEEP = 27.0
STOP_DELAY = 1800  # seconds, the operator's default
# What the operator sets on purpose for a drill; everything else stays its default.
TIMING = (
    "smartShutdownTimeout",
    "switchoverDelay",
    "stopDelay",
    "failoverDelay",
    "primaryLease",
    "probes",
)

_STATE = """
SELECT pg_is_in_recovery() AS standby,
       CASE WHEN pg_is_in_recovery()
            THEN (SELECT received_tli FROM pg_stat_wal_receiver)
            ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int
       END AS timeline,
       EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming') AS streaming,
       (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END
        - '0/0')::bigint AS position,
       ARRAY(SELECT application_name FROM pg_stat_replication
             WHERE state = 'streaming') AS sending_to,
       ARRAY(SELECT application_name FROM pg_stat_replication
             WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum')) AS synchronous
"""


@dataclass(frozen=True)
class InstanceState:
    """The state of one PostgreSQL, as its own views show it."""

    standby: bool
    timeline: int | None
    streaming: bool
    position: int | None
    sending_to: list[str]
    synchronous: list[str]


class CnpgEngine:
    """The members of one Cluster object. connect opens a session straight to a member.

    routed is the Service that clients write through; its endpoints are the routed members.
    """

    name = "cnpg"
    period = 10.0  # seconds between two readiness probes, two of the tuned

    def __init__(
        self,
        api: client.ApiClient,
        namespace: str,
        cluster: str,
        connect: Callable[[str], psycopg.Connection[tuple[Any, ...]]],
        version: str,
        routed: str = "",
    ) -> None:
        self.edition = f"{self.name} {version}".rstrip()
        self.namespace = namespace
        self.cluster = cluster
        self._object = (GROUP, VERSION, namespace, PLURAL, cluster)
        self._routed = routed
        self._api = api
        self._core = client.CoreV1Api(api)
        self._custom = client.CustomObjectsApi(api)
        self._discovery = client.DiscoveryV1Api(api)
        self._connect = connect
        self._fenced: frozenset[str] = frozenset()
        self._asleep: dict[str, float] = {}  # until when, by name

    def resource(self) -> dict[str, Any]:
        """Return the Cluster object.

        Raises:
            BrokenEnvironmentError: the API server does not answer, or there is none.
        """
        try:
            found = self._custom.get_namespaced_custom_object(
                *self._object, _request_timeout=timeouts.KUBERNETES_ANSWERS
            )
        except (ApiException, HTTPError) as error:
            raise BrokenEnvironmentError(f"no Cluster {self.cluster}: {_why(error)}") from None
        return self._plain(found)

    def forget(self) -> None:
        """Delete the Cluster object, and with it every instance and its claim.

        Raises:
            BrokenEnvironmentError: the API server does not answer, or refuses.
        """
        try:
            self._custom.delete_namespaced_custom_object(
                *self._object, _request_timeout=timeouts.KUBERNETES_ANSWERS
            )
        except (ApiException, HTTPError) as error:
            raise BrokenEnvironmentError(f"{self.cluster} stays: {_why(error)}") from None

    def pods(self) -> dict[str, Pod]:
        """Return the instances' pods by name.

        Raises:
            BrokenEnvironmentError: the API server does not answer.
        """
        return {pod.name: pod for pod in map(_pod, self._instances())}

    def selector(self, member: str) -> str:
        """Return the labels that select one instance's pod."""
        return f"{self._ours},cnpg.io/instanceName={member}"

    @property
    def _ours(self) -> str:
        return f"cnpg.io/cluster={self.cluster}"

    def image(self) -> str:
        """Return the image of the instances' PostgreSQL.

        Raises:
            BrokenEnvironmentError: the API server does not answer, or there is no instance.
        """
        for pod in self._instances():
            for container in pod["spec"]["containers"]:
                if container["name"] == "postgres":
                    return str(container["image"])
        raise BrokenEnvironmentError(f"Cluster {self.cluster} has no instance")

    def pull_secrets(self) -> tuple[str, ...]:
        """Return the Secrets with which that image is pulled.

        Raises:
            BrokenEnvironmentError: the API server does not answer.
        """
        named = (pod["spec"].get("imagePullSecrets", ()) for pod in self._instances())
        return tuple(dict.fromkeys(str(one["name"]) for secrets in named for one in secrets))

    def _instances(self) -> list[dict[str, Any]]:
        try:
            found = self._core.list_namespaced_pod(
                self.namespace,
                label_selector=f"{self._ours},cnpg.io/podRole=instance",
                _request_timeout=timeouts.KUBERNETES_ANSWERS,
            )
        except (ApiException, HTTPError) as error:
            raise BrokenEnvironmentError(f"pods cannot be listed: {_why(error)}") from None
        return list(self._plain(found)["items"])

    def _plain(self, answer: object) -> dict[str, Any]:
        """Return an answer as the API's own JSON: in the client's types nearly all is optional."""
        return dict(self._api.sanitize_for_serialization(answer))

    def members(self) -> tuple[Member, ...]:
        """Every instance that the Cluster object names, seen by its pod and by its own SQL."""
        pods = self.pods()
        names = sorted(self.resource().get("status", {}).get("instanceNames") or pods)
        if not names:
            return ()
        with ThreadPoolExecutor(len(names)) as pool:
            said = dict(zip(names, pool.map(self._ask, names), strict=True))
        primaries = [s for s in said.values() if s and not s.standby]
        return tuple(member(name, pods.get(name), said[name], primaries) for name in names)

    def _ask(self, member: str) -> InstanceState | None:
        try:
            with self._connect(member) as session:
                row = session.execute(_STATE).fetchone()
        except psycopg.Error:
            return None
        return InstanceState(*row) if row else None

    def primary(self) -> Member:
        """Return the one primary.

        Raises:
            NoPrimaryError: there is none, more than one, or the API server does not answer.
        """
        try:
            members = self.members()
        except BrokenEnvironmentError as error:
            raise NoPrimaryError(str(error)) from None
        primaries = [m for m in members if m.role == "primary"]
        if len(primaries) != 1:
            raise NoPrimaryError(f"{len(primaries)} members report that they are primary")
        return primaries[0]

    def switchover(self, to: str) -> None:
        """Name another primary, as `kubectl cnpg promote` does.

        Raises:
            BrokenEnvironmentError: the operator's object did not take it.
        """
        seen = self.resource()
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        change = {
            "metadata": {"resourceVersion": seen["metadata"]["resourceVersion"]},
            "status": {
                "targetPrimary": to,
                "targetPrimaryTimestamp": now,
                "phase": "Switchover in progress",
                "phaseReason": f"Switching over to {to}",
            },
        }
        try:
            self._custom.patch_namespaced_custom_object_status(
                *self._object, change, _request_timeout=timeouts.KUBERNETES_ANSWERS
            )
        except (ApiException, HTTPError) as error:
            raise BrokenEnvironmentError(f"switchover was refused: {_why(error)}") from None

    def clear_restart_backoff(self) -> str:
        """Begin to replace a pod that kubelet would restart late, and return its name; '': none.

        kubelet restarts a container at once, then after 10 s, 20, 40, 80. It forgets this after
        ten minutes without a restart, or with the pod. A primary hands over first.

        Raises:
            BrokenEnvironmentError: the API server does not answer, or refuses.
            NoPrimaryError: there is none.
        """
        held = [pod for pod in self.pods().values() if pod.held_back]
        if not held:
            return ""
        primary = self.primary().name
        standby = next((pod for pod in held if pod.name != primary), None)
        if standby is None:
            candidates = switchover_candidates(self.members())
            if not candidates:
                raise BrokenEnvironmentError(f"no standby can take over from {primary}")
            self.switchover(candidates[0])
            return primary
        try:
            self._core.delete_namespaced_pod(
                standby.name,
                self.namespace,
                body=client.V1DeleteOptions(preconditions=client.V1Preconditions(uid=standby.uid)),
                _request_timeout=timeouts.KUBERNETES_ANSWERS,
            )
        except (ApiException, HTTPError) as error:
            raise BrokenEnvironmentError(f"{standby.name} stays: {_why(error)}") from None
        return standby.name

    def not_promotable(self) -> tuple[str, ...]:
        """Name the members whose fence was lifted so recently that their managers still sleep."""
        now = time.monotonic()
        return tuple(name for name, until in self._asleep.items() if now < until)

    def synchronous_state_is_expected(self) -> bool:
        """Whether as many synchronous standbys are ready as the Cluster object promises."""
        spec = self.resource()["spec"]
        promised = int(spec.get("postgresql", {}).get("synchronous", {}).get("number", 0))
        return len([m for m in self.members() if m.synchronous and m.streaming]) >= promised

    def settled(self) -> bool:
        """Whether nothing is in progress and every pod has the settings that are asked for.

        The operator replaces all pods, one by one, when the time they have to stop changes.
        """
        seen = self.resource()
        wanted = int(seen["spec"].get("stopDelay", STOP_DELAY))
        pods = self.pods().values()
        return (
            seen.get("status", {}).get("phase") == HEALTHY_PHASE
            and len(pods) == seen["spec"]["instances"]
            and all(pod.grace == wanted and not pod.deleting for pod in pods)
        )

    def fence(self, *members: str) -> None:
        """Keep PostgreSQL of exactly these members stopped, as `kubectl cnpg fencing` does.

        Raises:
            BrokenEnvironmentError: the Cluster object did not take it.
        """
        fenced = json.dumps(members) if members else None
        self._patch({"metadata": {"annotations": {FENCED: fenced}}})
        lifted, self._fenced = self._fenced - set(members), frozenset(members)
        self._asleep = self._asleep | dict.fromkeys(lifted, time.monotonic() + ASLEEP)

    @contextmanager
    def asynchronous(self) -> Iterator[None]:
        """Let commits wait for no standby, while the block lasts.

        Raises:
            BrokenEnvironmentError: the Cluster object did not take it.
        """
        before = self.resource()["spec"].get("postgresql", {}).get("synchronous")
        try:
            self._change({"synchronous": None})
            yield
        finally:
            self._change({"synchronous": before})

    def _change(self, postgresql: Mapping[str, Any]) -> None:
        self._patch({"spec": {"postgresql": dict(postgresql)}})

    def _patch(self, change: Mapping[str, Any]) -> None:
        try:
            self._custom.patch_namespaced_custom_object(
                *self._object, dict(change), _request_timeout=timeouts.KUBERNETES_ANSWERS
            )
        except (ApiException, HTTPError) as error:
            raise BrokenEnvironmentError(f"the change was refused: {_why(error)}") from None

    def tuning(self) -> dict[str, str]:
        """Return the deliberate settings: timing, probes, synchronous replication, parameters."""
        spec = self.resource()["spec"]
        chosen = {name: spec[name] for name in TIMING if name in spec}
        chosen["synchronous"] = spec.get("postgresql", {}).get("synchronous", {})
        return flat(chosen)

    def named(self) -> str:
        """The primary that the operator wants; '' when that is not available."""
        try:
            return _status(self.resource(), "targetPrimary")
        except BrokenEnvironmentError:
            return ""

    @contextmanager
    def observers(self) -> Iterator[Mapping[str, Callable[[], str]]]:
        """Follow the parts of a failover while the block lasts.

        'leader' is the primary that the operator wants; 'promoted' the member promoted last;
        'routed' the ready pods behind the Service.
        """
        here = f"metadata.name={self.cluster}"
        listing = self._custom.list_namespaced_custom_object
        cluster = Informer(listing, GROUP, VERSION, self.namespace, PLURAL, field_selector=here)
        behind = Informer(
            self._discovery.list_namespaced_endpoint_slice,
            self.namespace,
            label_selector=f"kubernetes.io/service-name={self._routed}",
        )

        def status(field: str) -> str:
            return "".join(_status(described, field) for described in cluster.objects())

        with cluster, behind:
            yield {
                "leader": lambda: status("targetPrimary"),
                "promoted": lambda: status("currentPrimary"),
                "routed": lambda: _ready(behind.objects()),
            }


def _status(cluster: Mapping[str, Any], field: str) -> str:
    return str(cluster.get("status", {}).get(field, ""))


def _ready(slices: Iterable[Mapping[str, Any]]) -> str:
    endpoints = [e for s in slices for e in s.get("endpoints") or [] if "targetRef" in e]
    return ",".join(sorted(e["targetRef"]["name"] for e in endpoints if e["conditions"]["ready"]))


def _pod(described: Mapping[str, Any]) -> Pod:
    metadata = described["metadata"]
    statuses = described.get("status", {}).get("containerStatuses") or [{}]
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        node=described["spec"].get("nodeName", ""),
        container=statuses[0].get("containerID", "").rpartition("/")[2][:12],
        deleting="deletionTimestamp" in metadata,
        grace=described["spec"].get("terminationGracePeriodSeconds", 0),
        held_back=_held_back(statuses[0]),
        address=described.get("status", {}).get("podIP") or "",
    )


def _held_back(status: Mapping[str, Any]) -> bool:
    began = status.get("state", {}).get("running", {}).get("startedAt")
    if not status.get("restartCount") or not began:
        return False
    ran = datetime.now(UTC) - datetime.fromisoformat(began)
    return ran.total_seconds() < REMEMBERED


def member(
    name: str,
    pod: Pod | None,
    said: InstanceState | None,
    primaries: list[InstanceState],
) -> Member:
    """Combine what one instance and what the primaries report about it."""
    role: Role = "unknown"
    if said:
        role = "standby" if said.standby else "primary"
    lag = None
    head = max((p.position for p in primaries if p.position), default=None)
    if said and head is not None and said.position is not None:
        lag = max(0, head - said.position)
    return Member(
        name=name,
        incarnation=pod.incarnation if pod else "",
        role=role,
        running=said is not None,
        timeline=(said.timeline or 0) if said else 0,
        # A receiver that waits for a primary to catch up with it calls that streaming: it left
        # the primary's timeline. Only what the primary sends to a standby is.
        streaming=said is not None
        and (not said.standby or (said.streaming and any(name in p.sending_to for p in primaries))),
        synchronous=any(name in p.synchronous for p in primaries),
        lag=lag,
    )


def _why(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error)
