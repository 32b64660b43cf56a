"""Faults of the archive's store: away, full, its bucket gone, its credentials revoked."""

from collections.abc import Callable

from kubernetes import client

from pgdrill import timeouts
from pgdrill.faults.base import Fault
from pgdrill.platforms.archive_faults import ArchiveFull, ArchiveUnreachable, BackupsMissing
from pgdrill.platforms.base import Cluster
from pgdrill.platforms.kind import store
from pgdrill.platforms.kind.state import ARCHIVE
from pgdrill.platforms.kubernetes.access import Access
from pgdrill.platforms.kubernetes.faults import Deployment

NAME = "archive"  # of the deployment, its pods, and the secret that it reads
KEY = "ACCESS_SECRET_KEY"


class ScaleStoreToZero(ArchiveUnreachable):
    """Scale the store to nothing: its address refuses connections."""

    def __init__(self, cluster: Callable[[], Cluster], access: Access) -> None:
        super().__init__(cluster)
        self._store = _deployment(access)

    def _break(self) -> None:
        self._store.scale(0)
        self._store.demand_gone()

    def _restore(self) -> None:
        self._store.scale(1)
        self._store.demand_back()


class RevokeCredentials(ArchiveUnreachable):
    """Change the secret key in the store but not in its clients: it refuses every request."""

    name = "archive_refused"

    def __init__(
        self, api: client.ApiClient, cluster: Callable[[], Cluster], access: Access
    ) -> None:
        super().__init__(cluster)
        self._core = client.CoreV1Api(api)
        self._store = _deployment(access)
        self._before = ""

    def _break(self) -> None:
        found = self._core.read_namespaced_secret(
            NAME, ARCHIVE, _request_timeout=timeouts.KUBERNETES_ANSWERS
        )
        self._before = str((found.data or {})[KEY])
        self._change({"stringData": {KEY: "revoked"}})

    def _restore(self) -> None:
        if self._before:
            self._change({"data": {KEY: self._before}})

    def _change(self, change: dict[str, object]) -> None:
        """Change the store's secret, and restart the store: it reads the secret only then."""
        self._core.patch_namespaced_secret(
            NAME, ARCHIVE, change, _request_timeout=timeouts.KUBERNETES_ANSWERS
        )
        self._store.scale(0)
        self._store.demand_gone()
        self._store.scale(1)
        self._store.demand_back()


class RemoveBucket(BackupsMissing):
    """Take the bucket away with all that is in it."""

    def __init__(self, cluster: Callable[[], Cluster]) -> None:
        super().__init__(cluster, _labels)

    def _break(self) -> None:
        store.move_bucket_away()

    def _restore(self) -> None:
        store.repair_store()


def store_faults(
    api: client.ApiClient, cluster: Callable[[], Cluster], access: Access
) -> tuple[Fault, ...]:
    """Return every fault of the archive."""
    return (
        ScaleStoreToZero(cluster, access),
        ArchiveFull(cluster, store.VOLUME),
        RemoveBucket(cluster),
        RevokeCredentials(api, cluster, access),
    )


def _deployment(access: Access) -> Deployment:
    return Deployment(NAME, ARCHIVE, f"app.kubernetes.io/name={NAME}", access)


def _labels() -> tuple[str, ...]:
    return tuple(backup.label for backup in store.backups())
