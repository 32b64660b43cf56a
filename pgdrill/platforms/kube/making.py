"""A cluster of pgdrill's own on the user's Kubernetes: by its chart, in a namespace of its own."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from pgdrill import timeouts
from pgdrill.errors import BadUsageError, BrokenEnvironmentError
from pgdrill.platforms.kube.discovery import Namespace, demand_new, find_clusters, refusal
from pgdrill.platforms.kubernetes import jobs, kubectl_output
from pgdrill.provision.commands import Say, output
from pgdrill.provision.supply import Supply
from pgdrill.provision.toolchain import tool
from pgdrill.settings import ROOT, read_file
from pgdrill.waiting import DeadlineError, eventually

NAMESPACE = "pgdrill"  # where none is named
# Of the Cluster. The operator makes a ServiceAccount of that name, or takes one that is there for
# its instances: the user that drills, in a namespace that was given, is called pgdrill.
NAME = "drilled"
MARK = "pgdrill.io/namespace"  # the label of a namespace that is pgdrill's
MADE, GIVEN = "made", "given"  # its values: removed with the cluster, or not
OURS = ("app.kubernetes.io/managed-by", "pgdrill")  # a label of what helm does not make
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
CHART = ROOT / "infra" / "helm" / "postgres-cnpg"
VALUES: Mapping[str, Any] = {
    "storage": {"class": "", "size": "4Gi"},
    "tolerateControlPlane": False,
    "antiAffinity": "preferred",  # there may be fewer nodes than instances
    "pooler": None,  # its autoscaler needs a patch of the operator's definitions
}
STARTS = ("PodInitializing", "ContainerCreating")  # reasons of a pod that is about to run
HELM_WITHIN = 120.0 * timeouts.FACTOR  # seconds to send a few objects
GONE_WITHIN = 180.0 * timeouts.FACTOR  # seconds; an instance may take 30 to stop


@dataclass(frozen=True)
class OwnCluster:
    """The cluster, whether it is there or not; values is a file for its chart, '' where none is."""

    at: Namespace
    values: str
    say: Say

    # -- before anything is made -------------------------------------------------------------------

    def demand_namespace(self) -> None:
        """Refuse a namespace that is not pgdrill's.

        Raises:
            BadUsageError: it is somebody else's.
            BrokenEnvironmentError: the API server does not answer or refuses.
        """
        if self.mark not in ("", MADE, GIVEN):
            raise BadUsageError(
                f"namespace {self.at.namespace} is not pgdrill's: name the Cluster in it with"
                " --cluster=NAME; or let pgdrill make one, in a namespace that is not there yet,"
                f" or that has the label {MARK}={GIVEN}"
            )

    @property
    def mark(self) -> str:
        """The label of the namespace: '' where there is no such namespace, '-' where none is set.

        Raises:
            BrokenEnvironmentError: the API server does not answer or refuses.
        """
        try:
            found = self._core.read_namespace(
                self.at.namespace, _request_timeout=timeouts.KUBERNETES_ANSWERS
            )
        except (ApiException, HTTPError) as error:
            if getattr(error, "status", None) == 404:
                return ""
            raise self._refused(error) from None
        labels = self._plain(found)["metadata"].get("labels", {})
        return str(labels.get(MARK, "-"))

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        """The Cluster object that will be made.

        Raises:
            BadUsageError: the file cannot be read, or the chart does not take the values.
        """
        if self.values:
            read_file(self.values, "chart-values")
        try:
            text = self._helm("template", NAME)
        except BrokenEnvironmentError as error:
            if not self.values:
                raise
            raise BadUsageError(f"--chart-values={self.values}: {error}") from None
        objects = [one for one in yaml.safe_load_all(text) if one]
        return next(one for one in objects if one["kind"] == "Cluster")

    def demand_operator(self) -> None:
        """Refuse a Kubernetes without an operator that is new enough.

        Raises:
            BrokenEnvironmentError: there is none, or it is older.
        """
        find_clusters(self.at.access, self.at.namespace)  # refuses where the definition is missing
        if operator := self.operator:
            demand_new(operator, NAME)

    @cached_property
    def operator(self) -> str:
        """The operator's version; '' where it may not be looked up, or its image has none."""
        try:
            found = client.AppsV1Api(self.at.api).list_deployment_for_all_namespaces(
                label_selector="app.kubernetes.io/name=cloudnative-pg",
                _request_timeout=timeouts.KUBERNETES_ANSWERS,
            )
        except (ApiException, HTTPError):
            return ""
        images = (
            container["image"]
            for one in self._plain(found)["items"]
            for container in one["spec"]["template"]["spec"]["containers"]
        )
        versions = (re.search(r":v?(\d+\.\d+\.\d+)", image) for image in images)
        return next((version[1] for version in versions if version), "")

    def demand_storage(self) -> None:
        """Refuse where nothing would give the instances their volumes.

        Raises:
            BrokenEnvironmentError: no storage class is named, and none is the default.
        """
        if self.manifest["spec"]["storage"].get("storageClass"):
            return
        try:
            found = client.StorageV1Api(self.at.api).list_storage_class(
                _request_timeout=timeouts.KUBERNETES_ANSWERS
            )
        except (ApiException, HTTPError):
            return
        classes = {
            one["metadata"]["name"]: one["metadata"].get("annotations", {}).get(DEFAULT_CLASS)
            for one in self._plain(found)["items"]
        }
        if "true" not in classes.values():
            raise BrokenEnvironmentError(
                f"no storage class is the default one; there is {', '.join(classes) or 'none'}:"
                " name one in a file, `storage: {class: NAME, size: 4Gi}`, for --chart-values=FILE"
            )

    # -- made and removed --------------------------------------------------------------------------

    def make(self) -> None:
        """Send it all to the API server; safe to repeat.

        Raises:
            BrokenEnvironmentError: it refuses.
        """
        about = dict([OURS])
        namespace: Any = {"metadata": {"name": self.at.namespace, "labels": about | {MARK: MADE}}}
        if not self.mark:
            self._create(lambda **more: self._core.create_namespace(namespace, **more))
        spec = self.manifest["spec"]["bootstrap"]["initdb"]
        account: Any = {
            "metadata": {"name": spec["secret"]["name"], "labels": about},
            "type": "kubernetes.io/basic-auth",
            "stringData": {"username": spec["owner"], "password": secrets.token_urlsafe(24)},
        }
        self._create(
            lambda **more: self._core.create_namespaced_secret(self.at.namespace, account, **more)
        )
        self._helm("upgrade", "--install", "--history-max=1", *self._reached, NAME)

    def _create(self, create: Any) -> None:  # noqa: ANN401  # of the client, which has no types
        try:
            create(_request_timeout=timeouts.KUBERNETES_ANSWERS)
        except (ApiException, HTTPError) as error:
            if getattr(error, "status", None) != 409:  # it is there already
                raise self._refused(error) from None

    def remove(self) -> str:
        """Remove it, with its namespace where pgdrill made that; return the namespace's label.

        Raises:
            BadUsageError: the namespace is somebody else's.
            BrokenEnvironmentError: the API server does not answer or refuses, or something stays.
        """
        self.demand_namespace()
        if not (mark := self.mark):
            return mark
        uninstall = ("uninstall", "--ignore-not-found", *self._reached, NAME)
        output(self._program, *uninstall, within=HELM_WITHIN)
        within = timeouts.KUBERNETES_ANSWERS
        try:
            made = self._core.list_namespaced_secret(
                self.at.namespace, label_selector="=".join(OURS), _request_timeout=within
            )
            for one in self._plain(made)["items"]:
                name = one["metadata"]["name"]
                self._core.delete_namespaced_secret(
                    name, self.at.namespace, _request_timeout=within
                )
            if mark == MADE:
                self._core.delete_namespace(self.at.namespace, _request_timeout=within)
            eventually(
                f"the instances of {NAME} to be gone" if mark == GIVEN else "the namespace to go",
                self._pods if mark == GIVEN else lambda: self.mark,
                lambda left: not left,
                within=GONE_WITHIN,
                not_yet=(BrokenEnvironmentError,),
            )
        except (ApiException, HTTPError) as error:
            raise self._refused(error) from None
        except DeadlineError as error:
            raise BrokenEnvironmentError(str(error)) from None
        return mark

    def pending(self) -> jobs.Pod | None:
        """Return a pod that something keeps from running; None where there is none.

        Raises:
            BrokenEnvironmentError: the API server does not answer or refuses.
        """
        pods = (jobs.seen(p) for p in self._pods() if p["status"].get("phase") == "Pending")
        return next((pod for pod in pods if pod.waits not in STARTS), None)

    def _pods(self) -> list[dict[str, Any]]:
        try:
            found = self._core.list_namespaced_pod(
                self.at.namespace,
                label_selector=f"cnpg.io/cluster={NAME}",
                _request_timeout=timeouts.KUBERNETES_ANSWERS,
            )
        except (ApiException, HTTPError) as error:
            raise self._refused(error) from None
        return list(self._plain(found)["items"])

    # -- helm and the API --------------------------------------------------------------------------

    @cached_property
    def _program(self) -> Path:
        return tool("helm", Supply(), self.say)

    @property
    def _reached(self) -> tuple[str, ...]:
        access = self.at.access
        return (
            f"--kubeconfig={access.kubeconfig}",
            f"--kube-context={access.context}",
            f"--namespace={self.at.namespace}",
        )

    def _helm(self, *words: str) -> str:
        """Run helm with the chart and the values.

        Raises:
            BrokenEnvironmentError: it fails.
        """
        with TemporaryDirectory() as directory:
            ours = Path(directory) / "values.yaml"
            ours.write_text(yaml.safe_dump(dict(VALUES)))
            theirs = [Path(self.values).expanduser()] if self.values else []
            given = [f"--values={file}" for file in (ours, *theirs)]
            return output(self._program, *words, CHART, *given, within=HELM_WITHIN)

    @property
    def _core(self) -> client.CoreV1Api:
        return client.CoreV1Api(self.at.api)

    def _plain(self, found: object) -> Any:  # noqa: ANN401  # JSON
        return self.at.api.sanitize_for_serialization(found)

    def _refused(self, error: Exception) -> BrokenEnvironmentError:
        if getattr(error, "status", None) == 403:
            return BrokenEnvironmentError(
                f"{kubectl_output.why(error)}: infra/kube/own.yaml has a namespace for a cluster of"
                " pgdrill's own, and the Role; one that is there is named with --cluster=NAME"
            )
        return refusal(error, self.at.access, self.at.api)
