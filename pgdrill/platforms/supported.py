"""Whether a cluster's Kubernetes is one that the operator supports."""

from kubernetes import client

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.provision.components import Catalogue, inside, number


def require_supported(api: client.ApiClient, operator: str, known: Catalogue) -> None:
    """Refuse a cluster whose version is outside the operator's range.

    Raises:
        BrokenEnvironmentError: it is too old or too new for this version of the operator.
    """
    running = str(client.VersionApi(api).get_code(_request_timeout=10).git_version)
    fits = known.kubernetes[operator]
    # A minor is supported whole: 1.32.9 is inside "<1.33", and so is 1.29.0-rc.1 inside ">=1.29".
    if not inside(number(running), fits):
        raise BrokenEnvironmentError(
            f"this cluster runs Kubernetes {running}, and {operator} {known.versions[operator]}"
            f" supports {fits}: `make down up` makes one that fits, or use another --context"
        )
