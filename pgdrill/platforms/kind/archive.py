"""The archive of the reference platform: the operator's backups, and a cluster of them."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from pgdrill import timeouts
from pgdrill.engines.cnpg import GROUP, VERSION, CnpgEngine
from pgdrill.errors import BadUsageError, BrokenEnvironmentError
from pgdrill.platforms.archive import Backup, Target, accepts_writes, redundant
from pgdrill.platforms.base import Cluster
from pgdrill.platforms.checkpoints import checkpoint
from pgdrill.platforms.kind import lifecycle, namespaces, store
from pgdrill.platforms.kind.nodes import NodeVolume
from pgdrill.platforms.kind.state import (
    ARCHIVE,
    ARCHIVE_TIMEOUT,
    NAME,
    NAMESPACE,
    RESTORED,
    RESTORED_MEMBERS,
    RESTORED_NAME,
    addresses,
    handle,
)
from pgdrill.platforms.kubernetes.platform import connect
from pgdrill.platforms.restoring import Over, RestoringArchive, demand_all_wal
from pgdrill.progress import Update
from pgdrill.waiting import DeadlineError, eventually

if TYPE_CHECKING:
    from pgdrill.platforms.kind import KindPlatform

EXPIRED_WITHIN = 120.0  # seconds for older backups to be removed
REMOVED_WITHIN = 180.0  # seconds for a namespace to be gone, with what ran in it
MAKE_ROOM_ABOVE = 0.5  # share of the store's volume: to remove older backups costs seconds of CPU
BACKUPS = "backups"
CLASS = "pgdrill-sized"  # of the volumes of members
# PostgreSQL's messages when recovery cannot reach its target.
_FAILED = re.compile(r'recovery ended before configured[^"]*|no target backup found|FATAL: [^"]+')


class KindArchive(RestoringArchive):
    """One store for the cluster, and room for one restored cluster in another namespace."""

    promised_loss = ARCHIVE_TIMEOUT + 10.0
    look_every = 0.5  # a look is 20 ms of CPU here

    def __init__(self, platform: "KindPlatform") -> None:
        self._platform = platform
        self._core = client.CoreV1Api(platform.api)
        self._batch = client.BatchV1Api(platform.api)
        self._custom = client.CustomObjectsApi(platform.api)
        super().__init__(platform.cluster, platform.installation.restored)

    @property
    def volume(self) -> NodeVolume:
        """The file system of the store."""
        return store.VOLUME

    def repair_store(self) -> None:
        """Undo what a drill has done to the store's volume.

        Its credentials and its deployment are declared by the playbook.
        """
        store.repair_store()

    def backups(self) -> tuple[Backup, ...]:
        """Every good backup that the store holds, oldest first.

        Raises:
            BrokenEnvironmentError: the store's node does not answer, or a record is damaged.
        """
        return store.backups()

    def back_up(self, update: Update, *, differential: bool = False) -> Backup:
        """Let the operator take a full backup, on the standby that it prefers, and return it.

        Raises:
            BadUsageError: a differential one is asked for.
            BrokenEnvironmentError: it failed, with the operator's reason.
        """
        if differential:
            raise BadUsageError("Barman takes full backups only: leave --differential out")
        update(0, "checkpoint")
        # A backup of a standby begins at its last restart point; WAL since then is replayed.
        checkpoint(self._platform.cluster())
        name = f"{NAME}-{datetime.now(UTC):%Y%m%d%H%M%S}"
        self._call(
            self._custom.create_namespaced_custom_object,
            GROUP, VERSION, NAMESPACE, BACKUPS,
            {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": "Backup",
                "metadata": {"name": name},
                "spec": {"cluster": {"name": NAME}, "method": "barmanObjectStore"},
            },
        )  # fmt: skip

        def status() -> Mapping[str, Any]:
            found = self._call(
                self._custom.get_namespaced_custom_object,
                GROUP, VERSION, NAMESPACE, BACKUPS, name,
            )  # fmt: skip
            seen: Mapping[str, Any] = found.get("status", {})
            update(0, seen.get("phase", "asked for"))
            return seen

        try:
            ended = eventually(
                "the end of the backup",
                status,
                lambda seen: seen.get("phase") in ("completed", "failed"),
                within=timeouts.BACKUP_TAKEN,
                every=self.look_every,
            )
        except DeadlineError:
            raise BrokenEnvironmentError(
                f"the operator did not end the backup within {timeouts.BACKUP_TAKEN:g} s"
            ) from None
        if ended["phase"] == "failed":
            raise BrokenEnvironmentError(f"the backup failed: {ended.get('error', '?')}")
        made = [one for one in self.backups() if one.label == ended.get("backupId")]
        if not made:
            raise BrokenEnvironmentError(
                f"the operator says that backup {ended.get('backupId')} is complete, and it is not"
                " in the store"
            )
        if self.volume.used() > MAKE_ROOM_ABOVE:
            update(0, "removing older ones")
            self._expire()
        return made[0]

    def _expire(self) -> None:
        """Let Barman remove all but the newest backups, and the WAL that only they needed.

        Raises:
            BrokenEnvironmentError: it failed.
        """
        name = f"expire-{datetime.now(UTC):%Y%m%d%H%M%S}"
        template = self._call(self._batch.read_namespaced_cron_job, "expire", ARCHIVE)
        job = {"metadata": {"name": name}, "spec": template["spec"]["jobTemplate"]["spec"]}
        self._call(self._batch.create_namespaced_job, ARCHIVE, job)

        def ended() -> str:
            found = self._call(self._batch.read_namespaced_job, name, ARCHIVE)
            conditions = found["status"].get("conditions") or ()
            true = {c["type"] for c in conditions if c["status"] == "True"}
            return next(iter(true & {"Complete", "Failed"}), "")

        try:
            how = eventually("older backups to be removed", ended, within=EXPIRED_WITHIN)
        except DeadlineError as error:
            raise BrokenEnvironmentError(str(error)) from None
        if how == "Failed":
            raise BrokenEnvironmentError(
                f"Barman could not remove older backups: see the log of job {name} in {ARCHIVE}"
            )
        kept = {backup.label for backup in self.backups()}
        listed = self._call(
            self._custom.list_namespaced_custom_object, GROUP, VERSION, NAMESPACE, BACKUPS
        )
        for found in listed["items"]:
            label = found.get("status", {}).get("backupId")
            if label and label not in kept:
                self._call(
                    self._custom.delete_namespaced_custom_object,
                    GROUP, VERSION, NAMESPACE, BACKUPS, found["metadata"]["name"],
                )  # fmt: skip

    def _call(self, ask: Callable[..., Any], *arguments: object) -> dict[str, Any]:
        """Ask the API server, and return its answer as plain JSON.

        Raises:
            BrokenEnvironmentError: it does not answer, or refuses.
        """
        try:
            answer = ask(*arguments, _request_timeout=timeouts.KUBERNETES_ANSWERS)
        except (ApiException, HTTPError) as error:
            why = getattr(error, "reason", None) or error
            raise BrokenEnvironmentError(f"the API server: {why}") from None
        return dict(self._platform.api.sanitize_for_serialization(answer))

    def _holds(self, file: str) -> bool:
        """Whether a WAL file is in the store."""
        return store.holds(file)

    def _demand_room(self, backup: Backup) -> None:
        """Refuse a namespace that pgdrill did not make, or too few volumes for its three members.

        Raises:
            BrokenEnvironmentError: with the namespace, or the number of nodes that have a volume.
        """
        namespaces.refuse_foreign(self._platform.api, RESTORED)
        free = {
            NodeVolume.of(volume).node
            for volume in self._call(self._core.list_persistent_volume)["items"]
            if volume["spec"].get("storageClassName") == CLASS
            and volume["status"]["phase"] == "Available"
        }
        if len(free) < len(RESTORED_MEMBERS):
            raise BrokenEnvironmentError(
                f"only {len(free)} nodes have a free volume, and a restored cluster needs one on"
                f" {len(RESTORED_MEMBERS)}: `make down up` makes them again"
            )

    def _make(self, target: Target, backup: Backup, over: Over, update: Update) -> None:
        """Let the operator make the first member from the archive, and the others from it.

        Raises:
            BrokenEnvironmentError: it failed, with the reason.
        """
        stored = store.last_file()
        self._platform.declare_restored(recovery_target(target, backup))
        over("prepared")
        self._await("base copy", lambda: "Restore completed" in self._recovery_log(), update)
        over("base copy")
        self._await("replay", self._recovered, update)
        over("replay")
        if target.kind == "latest":
            demand_all_wal(self._history(), stored, backup.segment)
        lifecycle.find_restored(self._platform.api, self._platform.installation)
        cluster, engine = self._beside()
        first = RESTORED_MEMBERS[0]
        self._await("a primary", lambda: _promoted(engine) == first, update)
        over("promotion")
        self._await("the first write", lambda: accepts_writes(cluster), update)
        over("first write")
        self._await("full redundancy", lambda: redundant(cluster, engine), update)
        over("redundancy")

    def _failure(self) -> str:
        """Why the operator's job ended recovery; '' while it continues."""
        pod = self._recovery_pod()
        failed = pod is not None and pod["status"].get("phase") == "Failed"
        return why(self._recovery_log()) if failed else ""

    def _recovery_pod(self) -> dict[str, Any] | None:
        """Return the pod of the operator's job that restores, the latest of its attempts."""
        found = self._call(self._core.list_namespaced_pod, RESTORED)["items"]
        pods = [p for p in found if "-full-recovery-" in p["metadata"]["name"]]
        return max(pods, key=lambda p: str(p["metadata"]["creationTimestamp"]), default=None)

    def _recovery_log(self) -> str:
        """Return the job's output so far; '' before it runs."""
        pod = self._recovery_pod()
        if pod is None:
            return ""
        try:
            return str(
                self._core.read_namespaced_pod_log(
                    pod["metadata"]["name"], RESTORED, _request_timeout=timeouts.KUBERNETES_ANSWERS
                )
            )
        except (ApiException, HTTPError):
            return ""  # its container is being made

    def _recovered(self) -> bool:
        """Whether the job has ended well; it is removed a moment later."""
        pod = self._recovery_pod()
        return pod is None or pod["status"].get("phase") == "Succeeded"

    def _history(self) -> str:
        """Return the first member's latest timeline history, as its volume has it."""
        volume = self._platform.claimed(RESTORED_MEMBERS[0], RESTORED)
        return volume.read_last("pgdata/pg_wal/*.history")

    def _beside(self) -> tuple[Cluster, CnpgEngine]:
        """Return the restored cluster's handle and engine, whether or not it is there.

        Raises:
            BrokenEnvironmentError: it never had addresses.
        """
        found = self._platform.installation
        at = addresses(found.restored_endpoints)
        cluster = handle(found, RESTORED_NAME, at, RESTORED_MEMBERS, prefix=f"{RESTORED_NAME}-")
        sessions = partial(connect, cluster)
        api = self._platform.api
        return cluster, CnpgEngine(api, RESTORED, RESTORED_NAME, sessions, found.operator)

    def discard(self) -> None:
        """Remove the restored cluster; safe to repeat, and after an interrupted restore.

        Raises:
            BrokenEnvironmentError: it does not go, or its namespace was not made by pgdrill.
        """
        namespaces.refuse_foreign(self._platform.api, RESTORED)
        try:
            self._core.delete_namespace(RESTORED, _request_timeout=timeouts.KUBERNETES_ANSWERS)
        except ApiException as error:
            if error.status not in (404, 409):  # there is none, or it goes already
                raise BrokenEnvironmentError(f"{RESTORED} stays: {error.reason}") from None
        except HTTPError as error:
            raise BrokenEnvironmentError(f"{RESTORED} stays: {error}") from None

        def there() -> list[str]:
            names = self._call(self._core.list_namespace)["items"]
            return [n["metadata"]["name"] for n in names if n["metadata"]["name"] == RESTORED]

        try:
            eventually(
                f"{RESTORED} to be gone", there, lambda seen: not seen, within=REMOVED_WITHIN
            )
        except DeadlineError as error:
            raise BrokenEnvironmentError(str(error)) from None
        self._empty_volumes()
        self._platform.installation.restored_endpoints.unlink(missing_ok=True)
        self._record.unlink(missing_ok=True)

    def _empty_volumes(self) -> None:
        """Make volumes of the removed restored cluster claimable again, and empty."""
        for volume in self._call(self._core.list_persistent_volume)["items"]:
            claim = volume["spec"].get("claimRef", {})
            if claim.get("namespace") != RESTORED:
                continue
            NodeVolume.of(volume).empty()
            self._call(
                self._core.patch_persistent_volume,
                volume["metadata"]["name"],
                {"spec": {"claimRef": None}},
            )


def recovery_target(target: Target, backup: Backup) -> dict[str, str]:
    """Return a target in the operator's words; empty is the latest."""
    if target.kind == "latest":
        return {}
    key = {"time": "targetTime", "lsn": "targetLSN", "name": "targetName"}[target.kind]
    text = target.at.isoformat(timespec="microseconds") if target.at else target.text
    return {key: text, "backupID": backup.label}


def _promoted(engine: CnpgEngine) -> str:
    """Return the member that reports the role of primary, '' while there is none."""
    try:
        members = engine.members()
    except BrokenEnvironmentError:
        return ""
    return next((member.name for member in members if member.role == "primary"), "")


def why(log: str) -> str:
    """Return why a recovery stopped, in one line: PostgreSQL's own reason, or the job's."""
    found = _FAILED.findall(log)
    if found:
        return str(found[-1]).strip()
    lines = log.splitlines() or ["its job left no log"]
    errors = [
        said.get("error") or said.get("msg")
        for said in map(_json, lines)
        if said.get("level") == "error"
    ]
    return str((errors or lines)[-1])[:400]


def _json(line: str) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
