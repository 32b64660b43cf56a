"""pgbench in pods of the database's own image: one Indexed Job for each start.

Everything in the API hangs on the Job, and its own deadline ends it: nothing is left for longer
than that, even if this machine is switched off. `load_workers` is the program that follows it.
"""

import os
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from urllib3.exceptions import HTTPError

from pgdrill import timeouts
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms import session
from pgdrill.platforms.kubernetes import kubectl_output
from pgdrill.platforms.kubernetes.access import Access
from pgdrill.records import Record
from pgdrill.workload.pgbench_program import Launch, with_its_parent

LABEL = "pgdrill.io/load"  # of every such Job; its value is the cluster's name
WORKER = Path(__file__).with_name("worker.sh")
SECRETS = "/secret"  # the directory of what only the pods may read
FILES = ("sslrootcert", "sslcert", "sslkey")  # libpq settings that name a file
ANSWERS_WITHIN = 10.0  # seconds for a session that only shows which password it used
POSTGRES = 26  # the user of CloudNativePG's images


class Place(Record):
    """Where pods of a load run, and what they run."""

    kubeconfig: str
    context: str
    namespace: str
    cluster: str
    image: str
    pull_secrets: tuple[str, ...]
    workers: int

    @property
    def access(self) -> Access:
        """The access to the API."""
        return Access(Path(self.kubeconfig), self.context)


class Order(Record):
    """One start of pgbench, for `load_workers`; it holds no secret."""

    place: Place
    job: str
    arguments: tuple[str, ...]  # of pgbench, without the database
    target: str  # connection string without a password
    files: Mapping[str, str]  # what the target names, by its name in SECRETS
    reads: str  # the directory of the scripts


@dataclass(frozen=True)
class JobProgram:
    """pgbench in the pods of a new Job for each start."""

    where: Place
    version: str
    say: Callable[[str], object] = field(compare=False)

    @property
    def place(self) -> str:
        """The number of pods, and what they run."""
        pods = "a pod" if self.where.workers == 1 else f"{self.where.workers} pods"
        return (
            f"in {pods} of {self.where.image} in namespace {self.where.namespace}, because"
            " --load=cluster"
        )

    def threads(self, clients: int) -> int:
        """Return one for each pod."""
        return min(self.where.workers, clients)

    def launch(
        self, arguments: Sequence[str], conninfo: str, *, reads: Path, logs: Path | None
    ) -> Launch:
        """Return the program that makes the Job, follows it, and fetches its logs."""
        target, files = inside(conninfo, self.where)
        order = Order(
            place=self.where,
            job=_name(),
            arguments=tuple(arguments),
            target=target,
            files=files,
            reads=str(reads.absolute()),
        )
        command = (
            *with_its_parent(),
            *(sys.executable, "-m", "pgdrill.platforms.kubernetes.load_workers"),
            order.model_dump_json(),
        )
        environment = os.environ | {"PGPASSWORD": _password(conninfo)}
        return Launch(
            command,
            environment,
            lambda: remove(self.where, order.job, self.say),
            aside=timeouts.LOAD_PODS_BEGIN + timeouts.LOAD_FETCHED,
        )


def inside(conninfo: str, place: Place) -> tuple[str, dict[str, str]]:
    """Return the same connection from a pod, without a password, and the files that it names."""
    given = {name: str(value) for name, value in conninfo_to_dict(conninfo).items()}
    files = {name: given.pop(name) for name in FILES if name in given}
    for name in ("hostaddr", "passfile", "password"):
        given.pop(name, None)
    given |= {"host": f"{place.cluster}-rw", "port": "5432"}
    given |= {name: f"{SECRETS}/{name}" for name in files}
    return make_conninfo("", **given), files


def _password(conninfo: str) -> str:
    """Return the password that libpq uses for a connection, from wherever it takes it.

    Raises:
        BrokenEnvironmentError: the database does not answer.
    """
    try:
        with session.connect(conninfo, ANSWERS_WITHIN) as connection:
            return connection.info.password
    except psycopg.Error as error:
        raise BrokenEnvironmentError(f"the database: {' '.join(str(error).split())}") from None


def _name() -> str:
    return f"pgdrill-load-{secrets.token_hex(4)}"


def objects(
    order: Order, password: str, arguments: Sequence[Sequence[str]], lasts: int
) -> dict[str, Any]:
    """Return the Job, the ConfigMap and the Secret of a load, without the owner of the last two.

    arguments: those of each worker; lasts: seconds until Kubernetes ends it.
    """
    place = order.place
    labels = {
        "app.kubernetes.io/name": "pgdrill-load",
        "app.kubernetes.io/managed-by": "pgdrill",
        LABEL: place.cluster,
    }
    metadata = {"name": order.job, "labels": labels}
    scripts = {file.name: file.read_text() for file in Path(order.reads).glob("*.sql")}
    lines = {f"arguments-{n}": "\n".join([*a, order.target]) for n, a in enumerate(arguments)}
    secret = {name: Path(path).expanduser().read_text() for name, path in order.files.items()}
    return {
        "job": {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": metadata,
            "spec": {
                # Its pods begin once what they mount is there.
                "suspend": True,
                "completionMode": "Indexed",
                "completions": len(arguments),
                "parallelism": len(arguments),
                "backoffLimit": 0,
                "activeDeadlineSeconds": lasts,
                "ttlSecondsAfterFinished": 60,
                "template": {"metadata": {"labels": labels}, "spec": _pod(order)},
            },
        },
        "config": {
            "metadata": metadata,
            "data": scripts | lines | {WORKER.name: WORKER.read_text()},
        },
        "secret": {"metadata": metadata, "stringData": secret | {"password": password}},
    }


def _pod(order: Order) -> dict[str, Any]:
    """Return a pod that the strictest PodSecurity admits."""
    place = order.place
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "imagePullSecrets": [{"name": name} for name in place.pull_secrets],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": POSTGRES,
            "runAsGroup": POSTGRES,
            "fsGroup": POSTGRES,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {LABEL: place.cluster}},
            }
        ],
        "containers": [
            {
                "name": "pgbench",
                "image": place.image,
                "imagePullPolicy": "IfNotPresent",
                "command": ["bash", f"/load/{WORKER.name}"],
                "env": [
                    {"name": "LC_ALL", "value": "C"},
                    {
                        "name": "PGPASSWORD",
                        "valueFrom": {"secretKeyRef": {"name": order.job, "key": "password"}},
                    },
                ],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "resources": {
                    "requests": {"cpu": "100m", "memory": "64Mi", "ephemeral-storage": "64Mi"},
                    "limits": {"cpu": "2", "memory": "512Mi", "ephemeral-storage": "8Gi"},
                },
                "volumeMounts": [
                    {"name": "load", "mountPath": "/load", "readOnly": True},
                    {"name": "work", "mountPath": "/work"},
                    {"name": "secret", "mountPath": SECRETS, "readOnly": True},
                ],
            }
        ],
        "volumes": [
            {"name": "load", "configMap": {"name": order.job}},
            {"name": "work", "emptyDir": {}},
            # libpq refuses a key that others may read.
            {"name": "secret", "secret": {"secretName": order.job, "defaultMode": 0o440}},
        ],
    }


def create(order: Order, password: str, arguments: Sequence[Sequence[str]], lasts: int) -> None:
    """Make a Job with what its pods mount, and let it begin; the parameters are those of objects().

    Raises:
        BrokenEnvironmentError: the API server refuses.
    """
    place = order.place
    api = place.access.client()
    batch, core = client.BatchV1Api(api), client.CoreV1Api(api)
    made = objects(order, password, arguments, lasts)
    bound: Any = {"_request_timeout": timeouts.KUBERNETES_ANSWERS}
    try:
        job = batch.create_namespaced_job(place.namespace, made["job"], **bound)
        owner = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": order.job,
            "uid": api.sanitize_for_serialization(job)["metadata"]["uid"],
        }
        for one in (made["config"], made["secret"]):
            one["metadata"] = one["metadata"] | {"ownerReferences": [owner]}
        core.create_namespaced_config_map(place.namespace, made["config"], **bound)
        core.create_namespaced_secret(place.namespace, made["secret"], **bound)
        batch.patch_namespaced_job(
            order.job, place.namespace, {"spec": {"suspend": False}}, **bound
        )
    except (ApiException, HTTPError) as error:
        raise BrokenEnvironmentError(
            f"the Job of the load cannot be made: {kubectl_output.why(error)};"
            " Role pgdrill-load of infra/kube/rbac.yaml grants what --load=cluster needs"
        ) from None


def remove(place: Place, job: str, say: Callable[[str], object]) -> None:
    """Remove a Job with all that hangs on it; one that is not there is no error."""
    try:
        _delete(client.BatchV1Api(place.access.client()), place.namespace, job)
    except (ApiException, HTTPError) as error:
        say(f"Job {job} is left, and ends by itself: {kubectl_output.why(error)}")


def remove_left(access: Access, namespace: str, cluster: str) -> tuple[str, ...]:
    """Remove the Jobs of killed runs on a cluster; return their names.

    Raises:
        BrokenEnvironmentError: the API server does not answer or refuses.
    """
    api = access.client()
    batch = client.BatchV1Api(api)
    try:
        found = batch.list_namespaced_job(
            namespace,
            label_selector=f"{LABEL}={cluster}",
            _request_timeout=timeouts.KUBERNETES_ANSWERS,
        )
        jobs = api.sanitize_for_serialization(found)["items"]
        names = tuple(str(job["metadata"]["name"]) for job in jobs)
        for name in names:
            _delete(batch, namespace, name)
    except (ApiException, HTTPError) as error:
        raise BrokenEnvironmentError(f"Jobs of loads: {kubectl_output.why(error)}") from None
    return names


def _delete(batch: client.BatchV1Api, namespace: str, job: str) -> None:
    try:
        batch.delete_namespaced_job(
            job,
            namespace,
            propagation_policy="Background",
            _request_timeout=timeouts.KUBERNETES_ANSWERS,
        )
    except ApiException as error:
        if error.status != 404:
            raise
