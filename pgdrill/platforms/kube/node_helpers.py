"""Privileged pods on the nodes of a user's cluster, for faults of processes, volumes and networks.

Each runs a program that undoes whatever was done on its node once the pod is asked to end, or its
own deadline is over: nothing stays broken if whoever broke it is gone.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from pgdrill import timeouts
from pgdrill.engines.cnpg import CnpgEngine
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.faults.base import FaultNotRealError
from pgdrill.platforms.kubernetes import kubectl_output
from pgdrill.platforms.kubernetes.access import Access
from pgdrill.platforms.kubernetes.nodes import STOPPED, processes
from pgdrill.platforms.kubernetes.pod_network import JOIN
from pgdrill.platforms.kubernetes.pod_shell import PodShell
from pgdrill.platforms.volume_hang import THAW_ALL, Hangable
from pgdrill.waiting import DeadlineError, eventually

LABEL = "pgdrill.io/node"  # of each such pod; its value is the cluster's name
ANSWERS = 30.0  # seconds for one script: it passes API server and kubelet
# Seconds that a pod lives at most, longer than any run of one fault; then it undoes what is left.
LIVES = 3600
UNDOES = 30  # seconds for that, until it is killed
GONE_WITHIN = 60.0  # seconds
_ON_HOST = "nsenter --target 1 --mount --net -- sh -c"
_GUARDIAN = f"""
undo() {{
{THAW_ALL}
  [ ! -s {STOPPED} ] || kill -CONT $(cat {STOPPED}) 2> /dev/null
  {_ON_HOST} {shlex.quote(JOIN)}
  exit 0
}}
trap undo TERM
sleep infinity &
wait
"""
HOST = "/proc/1/root"  # the node's own file systems, for a pod that sees its processes
KUBELET = "/var/lib/kubelet/"
# Where CloudNativePG mounts volumes; a commit waits for that of the WAL, where there is one.
VOLUMES = ("/var/lib/postgresql/wal", "/var/lib/postgresql/data")


@dataclass(frozen=True)
class HelperNode:
    """A node that is reached through its pod."""

    name: str
    shell: PodShell

    def run(self, script: str, *arguments: str) -> str:
        """Run a bash script in the pod, which sees every process of the node.

        Raises:
            BrokenEnvironmentError: it fails, or the pod is gone.
        """
        given = f"set -- {shlex.join(arguments)}\n" if arguments else ""
        return self.shell.read(given + script, within=ANSWERS).decode(errors="replace")

    def on_host(self, script: str, *arguments: str) -> str:
        """Run a shell script with the node's own programs, in its network.

        Raises:
            BrokenEnvironmentError: it fails, the node has no shell, or the pod is gone.
        """
        return self.run(f"{_ON_HOST} {shlex.join((script, 'sh', *arguments))}")


@dataclass(frozen=True)
class Helpers:
    """The pods of one cluster, at most one on each node."""

    access: Access
    namespace: str  # of the pods
    engine: CnpgEngine

    @property
    def cluster(self) -> str:
        """The name of the Cluster object."""
        return self.engine.cluster

    @cached_property
    def _core(self) -> client.CoreV1Api:
        return client.CoreV1Api(self.access.client())

    def demand_admitted(self) -> None:
        """Ask the API server whether it would take such a pod; none is made.

        Raises:
            BrokenEnvironmentError: with its reason, and what to do.
        """
        self._create("", dry_run=True)

    def node(self, name: str) -> HelperNode:
        """Return a node; its pod is made where there is none.

        Raises:
            BrokenEnvironmentError: the pod does not run.
        """
        running = self._running().get(name)
        if running is None:
            self._create(name)
            try:
                running = eventually(
                    f"a helper pod on node {name}",
                    lambda: self._running().get(name),
                    within=timeouts.LOAD_PODS_BEGIN,
                    not_yet=(BrokenEnvironmentError,),
                )
            except DeadlineError as error:
                raise BrokenEnvironmentError(
                    f"{error}: `kubectl describe pods --namespace={self.namespace}"
                    f" --selector={LABEL}={self.cluster}` says why"
                ) from None
            assert running is not None
        return HelperNode(name, PodShell(self.access, self.namespace, running))

    def start(self) -> None:
        """Make the pods on all nodes that members are on: the first fault need not wait for one.

        Raises:
            BrokenEnvironmentError: one does not run.
        """
        for name in sorted({pod.node for pod in self.engine.pods().values()}):
            self.node(name)

    def remove(self) -> tuple[str, ...]:
        """Remove every pod, which undoes what is left on its node; return the nodes' names.

        Raises:
            BrokenEnvironmentError: the API server does not answer or refuses, or a pod stays.
        """
        there = self._pods()
        for pod in there:
            try:
                self._core.delete_namespaced_pod(
                    pod["metadata"]["name"],
                    self.namespace,
                    _request_timeout=timeouts.KUBERNETES_ANSWERS,
                )
            except (ApiException, HTTPError) as error:
                if getattr(error, "status", None) != 404:
                    raise self._refused(error) from None
        try:
            eventually(
                "helper pods to undo what they did, and end",
                self._pods,
                lambda left: not left,
                within=GONE_WITHIN,
                not_yet=(BrokenEnvironmentError,),
            )
        except DeadlineError as error:
            raise BrokenEnvironmentError(str(error)) from None
        return tuple(str(pod["spec"].get("nodeName", "")) for pod in there)

    def _pods(self) -> list[Mapping[str, Any]]:
        try:
            found = self._core.list_namespaced_pod(
                self.namespace,
                label_selector=f"{LABEL}={self.cluster}",
                _request_timeout=timeouts.KUBERNETES_ANSWERS,
            )
        except (ApiException, HTTPError) as error:
            raise self._refused(error) from None
        return list(self._core.api_client.sanitize_for_serialization(found)["items"])

    def _running(self) -> dict[str, str]:
        """Return the pod on each node, of those that run and are not about to end."""
        return {
            str(pod["spec"]["nodeName"]): str(pod["metadata"]["name"])
            for pod in self._pods()
            if pod["status"].get("phase") == "Running"
            and "deletionTimestamp" not in pod["metadata"]
        }

    def _create(self, node: str, *, dry_run: bool = False) -> None:
        more: Any = {"dry_run": "All"} if dry_run else {}
        try:
            self._core.create_namespaced_pod(
                self.namespace,
                self._pod(node),
                _request_timeout=timeouts.KUBERNETES_ANSWERS,
                **more,
            )
        except (ApiException, HTTPError) as error:
            raise self._refused(error) from None

    def _pod(self, node: str) -> Any:  # noqa: ANN401  # the client has no types
        engine = self.engine
        secrets = engine.pull_secrets() if self.namespace == engine.namespace else ()
        labels = {
            "app.kubernetes.io/name": "pgdrill-node",
            "app.kubernetes.io/managed-by": "pgdrill",
            LABEL: self.cluster,
        }
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"generateName": "pgdrill-node-", "labels": labels},
            "spec": {
                # Bound here, not by the scheduler: a node that takes no more pods takes this one.
                **({"nodeName": node} if node else {}),
                "tolerations": [{"operator": "Exists"}],
                "restartPolicy": "Never",
                "activeDeadlineSeconds": LIVES,
                "terminationGracePeriodSeconds": UNDOES,
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "hostPID": True,
                "imagePullSecrets": [{"name": name} for name in secrets],
                "containers": [
                    {
                        "name": "node",
                        "image": engine.image(),
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["bash", "-c", _GUARDIAN],
                        "securityContext": {"privileged": True, "runAsUser": 0, "runAsGroup": 0},
                        "resources": {
                            "requests": {"cpu": "10m", "memory": "32Mi"},
                            "limits": {"cpu": "1", "memory": "128Mi"},
                        },
                    }
                ],
            },
        }

    def _refused(self, error: Exception) -> BrokenEnvironmentError:
        return BrokenEnvironmentError(
            f"helper pods in namespace {self.namespace}: {kubectl_output.why(error)};"
            " --level=node makes privileged pods there: infra/kube/node.yaml has the namespace and"
            " the Role, --node-namespace=NAME names another one"
        )


@dataclass(frozen=True)
class PodVolume(Hangable):
    """The file system that a pod's commits wait for, by its place on the node."""

    node: HelperNode
    path: str

    @classmethod
    def of(cls, node: HelperNode, pod_uid: str) -> "PodVolume":
        """Return that of a pod.

        Raises:
            FaultNotRealError: other pods, or the node, use the same file system.
            BrokenEnvironmentError: the node cannot be reached.
        """
        mounted = (p.pid for p in processes(node, pod_uid) if p.command == "postgres")
        pid = next(mounted, None)
        if pid is None:
            raise FaultNotRealError(f"no postgres runs in pod {pod_uid} on {node.name}")
        inside, outside = (node.run('cat "/proc/$1/mountinfo"', str(number)) for number in (pid, 1))
        return cls(node, HOST + mount_point(inside, outside, pod_uid))

    def _shell(self, script: str, *arguments: str) -> str:
        return self.node.run(script, self.path, *arguments)


def mount_point(inside: str, outside: str, pod_uid: str) -> str:
    """Return where a pod's volume is mounted on its node.

    inside, outside: /proc/PID/mountinfo of a process of the pod, and of one of the node.

    Raises:
        FaultNotRealError: it is no file system of its own: to suspend it would stop others as well.
    """
    mounts = {words[4]: words[2] for words in map(str.split, inside.splitlines())}
    device = next((mounts[path] for path in VOLUMES if path in mounts), None)
    if device is None:
        raise FaultNotRealError(f"pod {pod_uid} has no volume at {' or '.join(VOLUMES)}")
    points = [w[4] for w in map(str.split, outside.splitlines()) if w[2] == device]
    others = [
        point
        for point in points
        if KUBELET.startswith(point.rstrip("/") + "/")
        or (point.startswith(f"{KUBELET}pods/") and pod_uid not in point)
    ]
    if others or not points:
        raise FaultNotRealError(
            f"its volume is no file system of its own: {others[0] if others else 'the node'} is on"
            f" the same device, {device}, and would hang as well"
        )
    return min(points, key=len)
