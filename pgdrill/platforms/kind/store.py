"""The contents of the archive's store, read from its volume: objects are plain files there."""

from collections.abc import Mapping
from datetime import UTC, datetime

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.archive import Backup
from pgdrill.platforms.kind import nodes
from pgdrill.platforms.kind.nodes import NodeVolume
from pgdrill.platforms.kind.state import ARCHIVE_VOLUME, CONTROL_PLANE, NAME

# The bucket, and in it the name that the cluster writes under, are both called as the cluster is.
VOLUME = NodeVolume(CONTROL_PLANE, f"/var/pv/{ARCHIVE_VOLUME}")
BUCKET = f"{VOLUME.path}/{NAME}"
_ASIDE = f"{VOLUME.path}/.{NAME}"
# What was stored while the bucket was away, in one of the same name, joins what it held. Files keep
# their extended attributes, in which the store keeps the metadata of an object.
_PUT_BACK = f"""
[ -d {_ASIDE} ] || exit 0
if [ -d {BUCKET} ]; then
  cp -a {BUCKET}/. {_ASIDE}/
  rm -rf {BUCKET}
fi
mv {_ASIDE} {BUCKET}
"""
PLACE = f"{BUCKET}/{NAME}"
_BACKUPS = f"""
cd {PLACE}/base 2> /dev/null || exit 0
for info in */backup.info; do
  [ -e "$info" ] || continue
  backup=${{info%/*}}
  echo "id=$backup"
  echo "stored=$(du -sb "$backup" | cut -f1)"
  cat "$info"
  echo
done
"""


def backups() -> tuple[Backup, ...]:
    """Every good backup that is in the store, oldest first.

    Raises:
        BrokenEnvironmentError: the store's node does not answer.
    """
    found: list[dict[str, str]] = []
    for line in nodes.run(CONTROL_PLANE, "sh", "-c", _BACKUPS).splitlines():
        key, _, value = line.partition("=")
        if key == "id":
            found.append({})
        if value:
            found[-1][key] = value
    good = [backup(said) for said in found if said.get("status") == "DONE"]
    return tuple(sorted(good, key=lambda one: one.ended))


def backup(said: Mapping[str, str]) -> Backup:
    """Read Barman's description of a backup, and its size on the volume.

    Raises:
        BrokenEnvironmentError: it is damaged.
    """
    try:
        return Backup(
            label=said["id"],
            began=_instant(said["begin_time"]),
            ended=_instant(said["end_time"]),
            first_lsn=said["begin_xlog"],
            last_lsn=said["end_xlog"],
            size=int(said["cluster_size"]),
            stored=int(said["stored"]),
            segment=int(said["xlog_segment_size"]),
        )
    except (KeyError, ValueError) as error:
        raise BrokenEnvironmentError(
            f"the record of backup {said.get('id', '?')} in the archive is damaged: {error}"
        ) from None


def holds(file: str) -> bool:
    """Whether a WAL file is in the store, compressed or not."""
    pattern = f"{PLACE}/wals/{file[:16]}/{file}*"
    return bool(nodes.run(CONTROL_PLANE, "sh", "-c", f"ls {pattern} 2> /dev/null || true").strip())


def last_file() -> str:
    """Return the name of the last WAL file in the store, '' where it holds none."""
    script = f"ls {PLACE}/wals/*/ 2> /dev/null | grep -E '^[0-9A-F]{{24}}' | sort | tail -n 1"
    return nodes.run(CONTROL_PLANE, "sh", "-c", script).strip()[:24]


def move_bucket_away() -> None:
    """Move the bucket away with all that is in it, as if the wrong one had been deleted.

    Raises:
        BrokenEnvironmentError: the store's node does not answer.
    """
    nodes.run(CONTROL_PLANE, "mv", BUCKET, _ASIDE)


def repair_store() -> None:
    """Put back what a drill has taken from the store's volume, or put on it; safe to repeat.

    Raises:
        BrokenEnvironmentError: the store's node does not answer.
    """
    VOLUME.release()
    nodes.run(CONTROL_PLANE, "sh", "-c", _PUT_BACK)


def _instant(text: str) -> datetime:
    """Read an instant of Barman's; one without a zone is of a pod's clock, which is UTC."""
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
