"""The cluster that the user names: looked up through the API, refused in one line each."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError

from pgdrill import timeouts
from pgdrill.engines.cnpg import GROUP, PLURAL, VERSION
from pgdrill.errors import BadUsageError, BrokenEnvironmentError
from pgdrill.platforms.kubernetes import kubectl_output
from pgdrill.platforms.kubernetes.access import Access

OLDEST = (1, 25)  # of the operator: what its Cluster objects, labels and roles are read as
_OLDEST = ".".join(map(str, OLDEST))
OPERATOR = "cnpg.io/operatorVersion"  # an annotation of all that the operator makes


def choose_context(kubeconfig: str, name: str) -> Access:
    """Return the way to a context; kubeconfig is a file, as KUBECONFIG has it.

    Raises:
        BadUsageError: no context is named, or there is none of that name.
        BrokenEnvironmentError: there is no such file, or it cannot be read.
    """
    file = Path(kubeconfig).expanduser()
    if ":" in kubeconfig:
        raise BrokenEnvironmentError(
            f"KUBECONFIG names several files ({kubeconfig}): `kubectl config view --flatten > FILE`"
            " makes one of them, then set KUBECONFIG=FILE"
        )
    if not file.is_file():
        raise BrokenEnvironmentError(
            f"there is no kubeconfig {file}: set KUBECONFIG to the file that has the context"
        )
    try:
        read = yaml.safe_load(file.read_text())
        there = [str(context["name"]) for context in read.get("contexts") or []]
    except (
        OSError,
        yaml.YAMLError,
        UnicodeDecodeError,
        AttributeError,
        KeyError,
        TypeError,
    ) as error:
        raise BrokenEnvironmentError(f"{file} is no kubeconfig: {_line(error)}") from None
    listed = f"{file} has {', '.join(there) or 'none'}"
    if not name:
        raise BadUsageError(
            f"--platform=kube takes no context that happens to be the current one: {listed}; name"
            " it with --context=NAME"
        )
    if name not in there:
        raise BadUsageError(f"there is no context {name}: {listed}; name one with --context=NAME")
    return Access(file, name)


@dataclass(frozen=True)
class Namespace:
    """A namespace, and the way to it."""

    access: Access
    api: client.ApiClient
    namespace: str


@dataclass(frozen=True)
class FoundCluster(Namespace):
    """One Cluster object and its pods, as they were looked up."""

    name: str
    labels: Mapping[str, str]  # of the namespace
    resource: Mapping[str, Any]
    operator: str  # version, '' where no instance shows it
    hosts: tuple[str, ...] = ()  # addresses of the nodes that its instances are on

    @property
    def server(self) -> str:
        """Address of the API server."""
        return str(self.api.configuration.host)

    @property
    def instances(self) -> int:
        """The number of instances that the Cluster object asks for."""
        return int(self.resource["spec"]["instances"])

    @property
    def members(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(sorted(self.resource.get("status", {}).get("instanceNames", [])))

    @property
    def primary(self) -> str:
        """The instance that the operator has as the primary; '' while there is none."""
        return str(self.resource.get("status", {}).get("currentPrimary", ""))

    @property
    def postgres(self) -> str:
        """The image of PostgreSQL, without the registry."""
        status, spec = self.resource.get("status", {}), self.resource["spec"]
        return str(status.get("image") or spec.get("imageName") or "of unknown version").rpartition(
            "/"
        )[2]

    def demand_well(self) -> None:
        """Refuse a cluster that is not healthy, or whose operator has an unknown version.

        Raises:
            BrokenEnvironmentError: with what is wrong and what to do.
        """
        self._demand_operator()
        status = self.resource.get("status", {})
        ready = int(status.get("readyInstances", 0))
        if ready < self.instances:
            raise BrokenEnvironmentError(
                f"{self.name} has {ready} of {self.instances} instances ready"
                f" ({status.get('phase', 'no phase')}): mend it first; `kubectl --context="
                f"{self.access.context} --namespace={self.namespace} describe cluster {self.name}`"
                " shows why"
            )

    def _demand_operator(self) -> None:
        if not _numbers(self.operator):
            raise BrokenEnvironmentError(
                f"no instance of {self.name} has the annotation {OPERATOR}, so the operator's"
                f" version is not known: pgdrill needs {_OLDEST} or newer"
            )
        demand_new(self.operator, self.name)

    def demand_harmless(self, production: tuple[tuple[str, str], ...]) -> None:
        """Refuse a namespace with one of these labels.

        Raises:
            BrokenEnvironmentError: it has one.
        """
        for label, value in production:
            if self.labels.get(label) == value:
                raise BrokenEnvironmentError(
                    f"namespace {self.namespace} is labelled {label}={value}: pgdrill touches no"
                    " production; drill a copy of it, or set `production-labels` in pgdrill.toml"
                )


def demand_new(operator: str, cluster: str) -> None:
    """Refuse a version of the operator that pgdrill does not know.

    Raises:
        BrokenEnvironmentError: it is older.
    """
    if _numbers(operator)[:2] < OLDEST:
        raise BrokenEnvironmentError(
            f"{cluster} is run by CloudNativePG {operator}: pgdrill needs {_OLDEST} or newer;"
            " upgrade the operator"
        )


def look_up(access: Access, namespace: str, name: str) -> FoundCluster:
    """Look a Cluster object up.

    Raises:
        BrokenEnvironmentError: the API server does not answer or refuses, or there is no such
            namespace or cluster.
    """
    api = client_of(access)
    core, custom = client.CoreV1Api(api), client.CustomObjectsApi(api)
    try:
        described = api.sanitize_for_serialization(
            core.read_namespace(namespace, _request_timeout=timeouts.KUBERNETES_ANSWERS)
        )
        resource = _cluster(custom, access, namespace, name)
        pods = api.sanitize_for_serialization(
            core.list_namespaced_pod(
                namespace,
                label_selector=f"cnpg.io/cluster={name},cnpg.io/podRole=instance",
                _request_timeout=timeouts.KUBERNETES_ANSWERS,
            )
        )["items"]
    except (ApiException, HTTPError) as error:
        raise refusal(error, access, api) from None
    versions = (pod["metadata"].get("annotations", {}).get(OPERATOR) for pod in pods)
    # An upgraded operator leaves older pods as they are for some time.
    newest = max(filter(None, versions), key=_numbers, default="")
    labels = described["metadata"].get("labels", {})
    hosts = tuple(filter(None, (pod["status"].get("hostIP", "") for pod in pods)))
    return FoundCluster(access, api, namespace, name, labels, resource, newest, hosts)


def find_clusters(access: Access, namespace: str) -> list[tuple[str, str]]:
    """Return namespace and name of each Cluster object, of every namespace where none is given.

    Raises:
        BrokenEnvironmentError: the API server does not answer or refuses, or knows no Clusters.
    """
    api = client_of(access)
    try:
        return _listed(client.CustomObjectsApi(api), access, namespace)
    except (ApiException, HTTPError) as error:
        if getattr(error, "status", None) == 403 and not namespace:
            raise BrokenEnvironmentError(
                f"{kubectl_output.why(error)}: name the namespace with --namespace=NAME"
            ) from None
        raise refusal(error, access, api) from None


def _listed(
    custom: client.CustomObjectsApi, access: Access, namespace: str
) -> list[tuple[str, str]]:
    within = timeouts.KUBERNETES_ANSWERS
    try:
        listed: Any = (
            custom.list_namespaced_custom_object(
                GROUP, VERSION, namespace, PLURAL, _request_timeout=within
            )
            if namespace
            else custom.list_cluster_custom_object(GROUP, VERSION, PLURAL, _request_timeout=within)
        )
    except ApiException as error:
        if error.status != 404:
            raise
        raise BrokenEnvironmentError(
            f"context {access.context} has no {PLURAL}.{GROUP}: CloudNativePG is not installed"
        ) from None
    return sorted(
        (one["metadata"].get("namespace", namespace), one["metadata"]["name"])
        for one in listed["items"]
    )


def client_of(access: Access) -> client.ApiClient:
    """Return a client of a context's API.

    Raises:
        BrokenEnvironmentError: the context cannot be used.
    """
    try:
        return access.client()
    except (ConfigException, OSError, ValueError) as error:
        raise BrokenEnvironmentError(
            f"context {access.context} of {access.kubeconfig} cannot be used: {_line(error)}"
        ) from None


def _cluster(
    custom: client.CustomObjectsApi, access: Access, namespace: str, name: str
) -> Mapping[str, Any]:
    try:
        found: Any = custom.get_namespaced_custom_object(
            GROUP, VERSION, namespace, PLURAL, name, _request_timeout=timeouts.KUBERNETES_ANSWERS
        )
        return dict(found)
    except ApiException as error:
        if error.status != 404:
            raise
    there = [found_name for _, found_name in _listed(custom, access, namespace)]
    raise BrokenEnvironmentError(
        f"there is no Cluster {name} in namespace {namespace} of context {access.context}; there"
        f" {'is' if len(there) == 1 else 'are'} {', '.join(there) or 'none'}: name one with"
        " --cluster=NAME"
    )


def credentials(found: FoundCluster) -> dict[str, str]:
    """Return user, password and database of the Secret that the operator keeps for applications.

    Raises:
        BrokenEnvironmentError: it cannot be read, or lacks them.
    """
    bootstrap = found.resource["spec"].get("bootstrap", {})
    how: dict[str, Any] = {}
    for way in ("initdb", "recovery", "pg_basebackup"):
        how = how or bootstrap.get(way, {})
    secret = how.get("secret", {}).get("name") or f"{found.name}-app"
    try:
        read = client.CoreV1Api(found.api).read_namespaced_secret(
            secret, found.namespace, _request_timeout=timeouts.KUBERNETES_ANSWERS
        )
    except ApiException as error:
        if error.status == 404:
            raise BrokenEnvironmentError(
                f"there is no Secret {secret} in namespace {found.namespace}: give the user with"
                " --dsn='user=... dbname=... passfile=...'"
            ) from None
        raise refusal(error, found.access, found.api) from None
    except HTTPError as error:
        raise refusal(error, found.access, found.api) from None
    values = {key: base64.b64decode(text).decode() for key, text in (read.data or {}).items()}
    if not {"username", "password"} <= values.keys():
        raise BrokenEnvironmentError(
            f"Secret {secret} holds no username and password: give the user with"
            " --dsn='user=... dbname=... passfile=...'"
        )
    return {
        "user": values["username"],
        "password": values["password"],
        "dbname": values.get("dbname") or how.get("database") or "app",
    }


def refusal(error: Exception, access: Access, api: client.ApiClient) -> BrokenEnvironmentError:
    """Return the meaning of an answer of the API server, in one line with the remedy."""
    server, name = api.configuration.host, access.context
    status = getattr(error, "status", None)
    if status == 401:
        return BrokenEnvironmentError(
            f"{server} does not know the credentials of context {name} (expired?): log in again, as"
            f" `kubectl --context={name} get pods` would ask you to"
        )
    if status == 403:
        return BrokenEnvironmentError(
            f"{kubectl_output.why(error)}: `kubectl apply -f infra/kube/rbac.yaml` grants what is"
            " needed"
        )
    if status == 404:
        return BrokenEnvironmentError(
            f"{kubectl_output.why(error)} (context {name}): name another with --namespace=NAME"
        )
    if status:
        return BrokenEnvironmentError(f"{server} answers {status}: {kubectl_output.why(error)}")
    return BrokenEnvironmentError(
        f"the API server of context {name}, {server}, cannot be reached: {_line(error)}"
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
