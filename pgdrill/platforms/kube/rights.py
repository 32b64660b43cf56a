"""The rights that each level needs from the API, checked before anything is done."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from pgdrill import timeouts
from pgdrill.engines.cnpg import GROUP
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.kube.discovery import Namespace, refusal
from pgdrill.settings import below

Level = Literal["observe", "load", "fault", "node"]


@dataclass(frozen=True)
class Right:
    """One thing to be allowed; optional: what is done without where it is not.

    In the cluster's namespace; those of level node in that of the privileged pods; those that are
    global in no namespace, or in all of them.
    """

    level: Level
    verb: str
    resource: str  # with its subresource
    group: str
    why: str
    optional: str = ""
    is_global: bool = False

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{f'.{self.group}' if self.group else ''}"


JOB_VERBS = ("create", "patch", "list", "delete")
_SECRET = Right("observe", "get", "secrets", "", "the user that applications connect as")
_ALWAYS = (
    Right("observe", "get", "namespaces", "", "labels that mark production"),
    Right("observe", "get", "clusters", GROUP, "what the cluster is asked to be, and its state"),
    Right("observe", "list", "pods", "", "the members"),
    Right("observe", "list", "services", "", "addresses"),
    Right(
        "observe", "list", "events", "", "diagnostics", "diagnostics of a failed test lack events"
    ),
    Right(
        "observe", "get", "pods/log", "", "diagnostics", "diagnostics of a failed test lack logs"
    ),
    Right("fault", "delete", "pods", "", "primary_kill, standby_kill and their kin"),
    Right("fault", "patch", "clusters/status", GROUP, "switchover"),
    Right("fault", "list", "clusters", GROUP, "who is named and promoted, and when"),
    Right("fault", "watch", "clusters", GROUP, "who is named and promoted, and when"),
    Right("fault", "list", "endpointslices", "discovery.k8s.io", "the member that clients reach"),
    Right("fault", "watch", "endpointslices", "discovery.k8s.io", "the member that clients reach"),
)


# With --load=cluster or --prober-image: pods that carry clients, and exec to follow them.
_LOAD_INSIDE = (
    *(Right("load", verb, "jobs", "batch", "pods that carry clients") for verb in JOB_VERBS),
    Right("load", "create", "configmaps", "", "the scripts of those pods"),
    Right("load", "create", "secrets", "", "their password"),
    # A websocket is opened by GET: which verb that asks for depends on the version of Kubernetes.
    Right("load", "get", "pods/exec", "", "following those pods, and fetching their logs"),
    Right("load", "create", "pods/exec", "", "following those pods, and fetching their logs"),
)

_ON_NODES = (
    *(
        Right("node", verb, "pods", "", "privileged pods on the nodes")
        for verb in ("create", "list", "delete")
    ),
    Right("node", "get", "pods/exec", "", "faults of processes, volumes, networks"),
    Right("node", "create", "pods/exec", "", "faults of processes, volumes, networks"),
)


_SEES = "what is wrong is seen after the cluster was made, not before"
# For a cluster of our own, by helm, which keeps its release in a Secret.
_MAKING = (
    *(
        Right("observe", verb, resource, group, "making a cluster, and removing it")
        for resource, group in (
            ("secrets", ""),
            ("configmaps", ""),
            ("services", ""),
            ("clusters", GROUP),
        )
        for verb in ("create", "get", "list", "update", "patch", "delete")
    ),
    *(
        Right("observe", "list", resource, group, why, _SEES, is_global=True)
        for resource, group, why in (
            ("deployments", "apps", "the operator's version"),
            ("storageclasses", "storage.k8s.io", "a default class"),
        )
    ),
)
_OWN_NAMESPACE = tuple(
    Right("observe", verb, "namespaces", "", "a namespace of pgdrill's own", is_global=True)
    for verb in ("create", "delete")
)


@dataclass(frozen=True)
class Answer:
    """Whether a right is there, in a namespace; '': in all of them."""

    right: Right
    namespace: str
    allowed: bool


def to_make(namespace: bool) -> tuple[Right, ...]:
    """Return the rights to make a cluster; namespace: and a namespace for it."""
    return (*(_OWN_NAMESPACE if namespace else ()), *_MAKING)


def needed(secret: bool, inside: bool, nodes: bool) -> tuple[Right, ...]:
    """Return every right, those of all levels.

    secret: whether the operator's Secret is read; inside: whether pods carry clients; nodes:
    whether privileged pods break things.
    """
    return (
        *([_SECRET] if secret else []),
        *_ALWAYS,
        *(_LOAD_INSIDE if inside else []),
        *(_ON_NODES if nodes else []),
    )


def ask(found: Namespace, rights: Iterable[Right], nodes: str = "") -> tuple[Answer, ...]:
    """Ask the API server about each right; nodes: the namespace of privileged pods.

    Raises:
        BrokenEnvironmentError: it does not answer.
    """
    return tuple(_ask(found, rights, nodes))


def _ask(found: Namespace, rights: Iterable[Right], nodes: str) -> Iterator[Answer]:
    api = client.AuthorizationV1Api(found.api)
    for right in rights:
        resource, _, part = right.resource.partition("/")
        namespace = nodes if right.level == "node" else found.namespace
        namespace = "" if right.is_global else namespace
        attributes = {
            "namespace": namespace,
            "verb": right.verb,
            "group": right.group,
            "resource": resource,
            "subresource": part,
        }
        if resource == "namespaces" and right.verb != "create":
            attributes["name"] = found.namespace
        body: Any = {"spec": {"resourceAttributes": attributes}}
        try:
            answer = api.create_self_subject_access_review(
                body, _request_timeout=timeouts.KUBERNETES_ANSWERS
            )
        except (ApiException, HTTPError) as error:
            raise refusal(error, found.access, found.api) from None
        status = found.api.sanitize_for_serialization(answer)["status"]
        yield Answer(right, namespace, bool(status["allowed"]))


def who(found: Namespace) -> str:
    """Return the user name that the API server knows; the context's name where it gives none."""
    try:
        answer = client.AuthenticationV1Api(found.api).create_self_subject_review(
            client.V1SelfSubjectReview(), _request_timeout=timeouts.KUBERNETES_ANSWERS
        )
        return str(found.api.sanitize_for_serialization(answer)["status"]["userInfo"]["username"])
    except (ApiException, HTTPError, KeyError):  # Kubernetes before 1.28 has no such thing
        return f"the user of context {found.access.context}"


def demand(answers: Iterable[Answer], level: str, found: Namespace) -> None:
    """Refuse where a right of the level is missing.

    Raises:
        BrokenEnvironmentError: with each of them.
    """
    missing: dict[str, list[str]] = {}
    for answer in answers:
        right = answer.right
        if not answer.allowed and not right.optional and right.level in below(level):
            missing.setdefault(answer.namespace, []).append(str(right))
    if missing:
        lacks = "; ".join(
            f"{', '.join(r)} in {f'namespace {where}' if where else 'the whole of Kubernetes'}"
            for where, r in missing.items()
        )
        raise BrokenEnvironmentError(
            f"{who(found)} may not {lacks}, which --level={level} needs: infra/kube/rbac.yaml has"
            " the roles, infra/kube/node.yaml that of --level=node"
        )
