"""The owner of a namespace: pgdrill touches those of its names only if they carry its label."""

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from pgdrill import timeouts
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.kind.state import ARCHIVE, MONITORING, NAMESPACE, RESTORED

LABEL, VALUE = "pgdrill.io/managed", "true"  # infra/ declares every namespace with it
OURS = (NAMESPACE, ARCHIVE, MONITORING, RESTORED)


def refuse_foreign(api: client.ApiClient, *names: str) -> None:
    """Refuse a namespace of these names that pgdrill did not make.

    Raises:
        BrokenEnvironmentError: there is one without the label, or the API server does not answer.
    """
    try:
        listed = client.CoreV1Api(api).list_namespace(_request_timeout=timeouts.KUBERNETES_ANSWERS)
    except (ApiException, HTTPError) as error:
        why = getattr(error, "reason", None) or error
        raise BrokenEnvironmentError(f"the API server: {why}") from None
    for found in api.sanitize_for_serialization(listed)["items"]:
        name, labels = found["metadata"]["name"], found["metadata"].get("labels", {})
        if name in names and labels.get(LABEL) != VALUE:
            raise BrokenEnvironmentError(
                f"namespace {name} was not made by pgdrill, it lacks the label {LABEL}={VALUE}:"
                f" remove it, or hand it over by `kubectl label namespace {name} {LABEL}={VALUE}`"
            )
