"""Clients in pods beside the database: one Job for each start, and the way from them to here.

Everything in the API hangs on the Job, and its own deadline ends it: nothing is left for longer
than that, even if this machine is switched off.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
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
from pgdrill.platforms.kubernetes.pod_shell import Session
from pgdrill.records import Record
from pgdrill.waiting import DeadlineError, eventually

LABEL = "pgdrill.io/load"  # of every such Job; its value is the cluster's name
SECRETS = "/secret"  # the directory of what only the pods may read
WORK = "/work"  # the directory that they may write to
FILES = ("sslrootcert", "sslcert", "sslkey")  # libpq settings that name a file
ANSWERS_WITHIN = 10.0  # seconds for a session that only shows which password it used
POSTGRES = 26  # the user of CloudNativePG's images
INDEX = "batch.kubernetes.io/job-completion-index"
PINGS = 20  # the fastest of them bounds the offset of a clock
ANSWERS = 5.0  # seconds for one line of a session
# Reasons of a container that will not start, however long one waits.
HOPELESS = ("ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError")


class Place(Record):
    """Where pods run, and what they run."""

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


def inside(conninfo: str, place: Place) -> tuple[str, dict[str, str]]:
    """Return the same connection from a pod, without a password, and the files that it names."""
    given = {name: str(value) for name, value in conninfo_to_dict(conninfo).items()}
    files = {name: given.pop(name) for name in FILES if name in given}
    for name in ("hostaddr", "passfile", "password"):
        given.pop(name, None)
    given |= {"host": f"{place.cluster}-rw", "port": "5432"}
    given |= {name: f"{SECRETS}/{name}" for name in files}
    return make_conninfo("", **given), files


def password(conninfo: str) -> str:
    """Return the password that libpq uses for a connection, from wherever it takes it.

    Raises:
        BrokenEnvironmentError: the database does not answer.
    """
    try:
        with session.connect(conninfo, ANSWERS_WITHIN) as connection:
            return connection.info.password
    except psycopg.Error as error:
        raise BrokenEnvironmentError(f"the database: {' '.join(str(error).split())}") from None


def new_name(what: str) -> str:
    """Return a name for a Job that no other has."""
    return f"pgdrill-{what}-{secrets.token_hex(4)}"


def metadata(place: Place, job: str) -> dict[str, Any]:
    """Return name and labels of a Job, and of all that hangs on it."""
    labels = {
        "app.kubernetes.io/name": job.rpartition("-")[0],
        "app.kubernetes.io/managed-by": "pgdrill",
        LABEL: place.cluster,
    }
    return {"name": job, "labels": labels}


def job_object(place: Place, job: str, pod: Mapping[str, Any], n: int, lasts: int) -> Any:  # noqa: ANN401  # JSON
    """Return a Job of n pods that Kubernetes ends after so many seconds."""
    about = metadata(place, job)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": about,
        "spec": {
            # Its pods begin once what they mount is there.
            "suspend": True,
            "completionMode": "Indexed",
            "completions": n,
            "parallelism": n,
            "backoffLimit": 0,
            "activeDeadlineSeconds": lasts,
            "ttlSecondsAfterFinished": 60,
            "template": {"metadata": {"labels": about["labels"]}, "spec": pod},
        },
    }


def secret_object(
    place: Place, job: str, files: Mapping[str, str], password: str
) -> dict[str, Any]:
    """Return the Secret of a Job: the password, and the files that its connection names."""
    texts = {name: Path(path).expanduser().read_text() for name, path in files.items()}
    return {"metadata": metadata(place, job), "stringData": texts | {"password": password}}


def pod(
    place: Place, job: str, name: str, command: Sequence[str], *, config: bool
) -> dict[str, Any]:
    """Return a pod that the strictest PodSecurity admits.

    config: whether the Job has a ConfigMap, which the pod finds in /load.
    """
    mounts: list[dict[str, Any]] = [
        {"name": "work", "mountPath": WORK},
        {"name": "secret", "mountPath": SECRETS, "readOnly": True},
    ]
    volumes: list[dict[str, Any]] = [
        {"name": "work", "emptyDir": {}},
        # libpq refuses a key that others may read.
        {"name": "secret", "secret": {"secretName": job, "defaultMode": 0o440}},
    ]
    if config:
        mounts.append({"name": "load", "mountPath": "/load", "readOnly": True})
        volumes.append({"name": "load", "configMap": {"name": job}})
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
                "name": name,
                "image": place.image,
                "imagePullPolicy": "IfNotPresent",
                "command": list(command),
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "env": [
                    {"name": "LC_ALL", "value": "C"},
                    {
                        "name": "PGPASSWORD",
                        "valueFrom": {"secretKeyRef": {"name": job, "key": "password"}},
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
                "volumeMounts": mounts,
            }
        ],
        "volumes": volumes,
    }


def create(place: Place, made: Mapping[str, Any], why: str) -> None:
    """Make a Job with what its pods mount, and let it begin.

    made: the objects `job` and `secret`, and `config` where there is one; why: the option that
    needs it.

    Raises:
        BrokenEnvironmentError: the API server refuses.
    """
    api = place.access.client()
    batch, core = client.BatchV1Api(api), client.CoreV1Api(api)
    bound: Any = {"_request_timeout": timeouts.KUBERNETES_ANSWERS}
    name = made["job"]["metadata"]["name"]
    makers: Mapping[str, Callable[..., object]] = {
        "config": core.create_namespaced_config_map,
        "secret": core.create_namespaced_secret,
    }
    try:
        job = batch.create_namespaced_job(place.namespace, made["job"], **bound)
        owner = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": name,
            "uid": api.sanitize_for_serialization(job)["metadata"]["uid"],
        }
        for kind in makers.keys() & made.keys():
            about = made[kind]["metadata"] | {"ownerReferences": [owner]}
            makers[kind](place.namespace, made[kind] | {"metadata": about}, **bound)
        batch.patch_namespaced_job(name, place.namespace, {"spec": {"suspend": False}}, **bound)
    except (ApiException, HTTPError) as error:
        raise BrokenEnvironmentError(
            f"the Job cannot be made: {kubectl_output.why(error)};"
            f" Role pgdrill-load of infra/kube/rbac.yaml grants what {why} needs"
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
        raise BrokenEnvironmentError(f"Jobs of clients: {kubectl_output.why(error)}") from None
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


# -- its pods --------------------------------------------------------------------------------------


class NeverError(BrokenEnvironmentError):
    """A pod that will not run, however long one waits: it, or its image, is to blame."""


@dataclass(frozen=True)
class Pod:
    """A pod of a Job; waits is what keeps it from running, hopeless: it never will."""

    name: str
    node: str
    waits: str
    hopeless: bool = False


def running(place: Place, job: str, n: int) -> list[Pod]:
    """Wait until all n pods of a Job run; return them in the order of their numbers.

    Raises:
        NeverError: one never will.
        BrokenEnvironmentError: they do not in time, with the reason of a pod or of the Job.
    """
    core = client.CoreV1Api(place.access.client())
    latest: dict[int, Pod] = {}

    def look() -> dict[int, Pod]:
        nonlocal latest
        latest = _pods(core, place, job)
        return latest

    def settled(found: Mapping[int, Pod]) -> bool:
        all_run = len(found) == n and not any(one.waits for one in found.values())
        return all_run or any(one.hopeless for one in found.values())

    try:
        there = eventually(
            f"{n} pods of Job {job}",
            look,
            settled,
            within=timeouts.LOAD_PODS_BEGIN,
            not_yet=(BrokenEnvironmentError,),
        )
    except DeadlineError:
        waits = [f"{one.name} waits: {one.waits}" for one in latest.values() if one.waits]
        raise BrokenEnvironmentError(
            f"Job {job} has no running pods within {timeouts.LOAD_PODS_BEGIN:g} s:"
            f" {'; '.join(waits) or _refused(core, place, job)}"
        ) from None
    for one in there.values():
        if one.hopeless:
            raise NeverError(f"pod {one.name} of image {place.image}: {one.waits}")
    return [one for _, one in sorted(there.items())]


def ended(place: Place, job: str) -> str:
    """Return why a pod of a Job that should run has ended; '' where none has."""
    core = client.CoreV1Api(place.access.client())
    with suppress(DeadlineError):
        found = eventually(
            "a pod that has ended",
            lambda: [one for one in _pods(core, place, job).values() if one.hopeless],
            within=ANSWERS,  # the kubelet reports it some seconds after the container is gone
            not_yet=(BrokenEnvironmentError,),
            silent=True,
        )
        return f"pod {found[0].name} of image {place.image}: {found[0].waits}"
    return ""


def _pods(core: client.CoreV1Api, place: Place, job: str) -> dict[int, Pod]:
    """Return a Job's pods by their numbers."""
    try:
        found = core.list_namespaced_pod(
            place.namespace,
            label_selector=f"batch.kubernetes.io/job-name={job}",
            _request_timeout=timeouts.KUBERNETES_ANSWERS,
        )
    except (ApiException, HTTPError) as error:
        raise BrokenEnvironmentError(kubectl_output.why(error)) from None
    listed = core.api_client.sanitize_for_serialization(found)["items"]
    return {int(one["metadata"]["annotations"][INDEX]): seen(one) for one in listed}


def seen(one: Mapping[str, Any]) -> Pod:
    """Return a pod as the API server describes it."""
    status = one["status"]
    name, node = str(one["metadata"]["name"]), str(one["spec"].get("nodeName", ""))
    if status["phase"] == "Running":
        return Pod(name, node, "")
    states = [container["state"] for container in status.get("containerStatuses", ())]
    waiting = [state["waiting"] for state in states if "waiting" in state]
    ended = [state["terminated"] for state in states if "terminated" in state]
    reasons = [_words(state) for state in (*waiting, *ended)]
    unmet = [condition.get("message", "") for condition in status.get("conditions", ())]
    waits = next(filter(None, (*reasons, *unmet)), str(status["phase"]))
    never = status["phase"] in ("Failed", "Succeeded")
    return Pod(name, node, waits, never or any(s.get("reason") in HOPELESS for s in waiting))


def _words(state: Mapping[str, Any]) -> str:
    """Return the reason and the message of a container's state."""
    text = " ".join(str(state[key]) for key in ("reason", "message") if state.get(key))
    return " ".join(text.split())


def _refused(core: client.CoreV1Api, place: Place, job: str) -> str:
    """Return why the Job has no pods, where an event names it: a quota, or PodSecurity."""
    try:
        events = core.list_namespaced_event(
            place.namespace,
            field_selector=f"involvedObject.name={job}",
            _request_timeout=timeouts.KUBERNETES_ANSWERS,
        ).items
    except (ApiException, HTTPError) as error:
        return f"events cannot be read: {kubectl_output.why(error)}"
    refusals = [str(e.message) for e in events if e.reason == "FailedCreate"]
    return refusals[-1] if refusals else "no event of the Job names a reason"


# -- their clocks ----------------------------------------------------------------------------------


@dataclass
class Clock:
    """By how many seconds a pod's clock is ahead of this machine's, and the error of that."""

    offset: float
    bound: float


def read_clock(asking: Session, now: Callable[[], float]) -> Clock:
    """Measure the offset of a clock; the session answers each line with its nanoseconds.

    Raises:
        BrokenEnvironmentError: it does not answer.
    """
    best = Clock(0.0, float("inf"))
    for _ in range(PINGS):
        sent = now()
        there = int(asking.ask("", within=ANSWERS)) / 1e9
        bound = (now() - sent) / 2
        if bound < best.bound:
            best = Clock(there - sent - bound, bound)
    return best
