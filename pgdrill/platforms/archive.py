"""The contract of an archive: its contents, the range of a restore, and a restored cluster."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol, runtime_checkable

import psycopg

from pgdrill.engines.base import Engine
from pgdrill.errors import BadUsageError
from pgdrill.observe.archiver import Archiver, archiver
from pgdrill.platforms import session
from pgdrill.platforms.base import Cluster, Platform, Volume, health
from pgdrill.progress import Update

Kind = Literal["time", "lsn", "name", "latest"]

SEGMENT = 16 * 2**20  # bytes of a WAL file, unless initdb was given another size

_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]")
_LSN = re.compile(r"[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}")
_NAME = re.compile(r"[A-Za-z_][\w.-]{0,62}")


@dataclass(frozen=True)
class Target:
    """The target of a restore: everything up to here, and nothing after it."""

    kind: Kind
    text: str
    at: datetime | None = None  # of kind time, in UTC

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Read an instant (RFC 3339), an LSN, the name of a restore point, or 'latest'.

        Raises:
            BadUsageError: it is none of these.
        """
        if text == "latest":
            return cls("latest", text)
        if _TIME.match(text):
            return cls._instant(text)
        if _LSN.fullmatch(text):
            return cls("lsn", text.upper())
        if _NAME.fullmatch(text):
            return cls("name", text)
        raise BadUsageError(
            f"'{text}' is no point in time: give an instant such as 2026-11-27T09:30:00Z, an LSN"
            " such as 0/3000060, the name of a restore point, or 'latest'"
        )

    @classmethod
    def _instant(cls, text: str) -> "Target":
        try:
            at = datetime.fromisoformat(text)
        except ValueError as error:
            raise BadUsageError(f"'{text}' is no instant: {error}") from None
        if at.tzinfo is None:
            raise BadUsageError(
                f"'{text}' names no time zone: add Z for UTC, or an offset such as +02:00"
            )
        at = at.astimezone(UTC)
        return cls("time", at.isoformat(sep=" ", timespec="microseconds"), at)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Backup:
    """One good backup of the whole cluster."""

    label: str
    began: datetime
    ended: datetime
    first_lsn: str  # where its WAL begins
    last_lsn: str  # where it is consistent: no earlier point can be restored from it
    size: int  # bytes of the cluster
    stored: int  # bytes that are kept of it, compressed
    segment: int = SEGMENT  # bytes of one of the cluster's WAL files


@dataclass(frozen=True)
class Restored:
    """A cluster that came from the archive."""

    cluster: Cluster
    engine: Engine
    target: str
    backup: str  # label of the backup it began with; '' where that is not known
    steps: Mapping[str, float]  # seconds since the restore began until each step was over


def accepts_writes(cluster: Cluster) -> bool:
    """Whether a write through the cluster's address is committed; it leaves nothing but WAL."""
    try:
        with session.connect(cluster.conninfo(timeout=1), statement_timeout=1.0) as connection:
            connection.execute("SELECT pg_logical_emit_message(true, 'pgdrill', 'restored')")
    except psycopg.Error:
        return False
    return True


def redundant(cluster: Cluster, engine: Engine) -> bool:
    """Whether every member streams, and can be read at its own address.

    A load balancer may need a moment to send sessions to a member that streams already.
    """
    if not health(engine):
        return False
    try:
        for at in cluster.members.values():
            with session.connect(cluster.conninfo(at, timeout=1), statement_timeout=1.0) as member:
                member.execute("SELECT 1")
    except psycopg.Error:
        return False
    return True


@runtime_checkable
class HasArchive(Protocol):
    """A platform with the capability backup."""

    @property
    def archive(self) -> "Archive":
        """Backups and WAL, and what is restored from them."""

    def lose_members(self) -> None:
        """Remove every member and its volume at once, as a fire would; the archive stays.

        Afterwards the platform can only be taken down.
        """


@runtime_checkable
class HasRebuild(Protocol):
    """A platform with the capability rebuild."""

    def rebuild(self, member: str) -> Callable[[], str]:
        """Take a standby's volume away and let it come back.

        Returns what the new copy was made from, once it streams again: 'pgbackrest' (the archive)
        or 'basebackup' (the primary); '' when that is not known.
        """


def archive_of(platform: Platform) -> "Archive | None":
    """Return a platform's archive; None where this installation keeps none."""
    if isinstance(platform, HasArchive) and "backup" in platform.capabilities:
        return platform.archive
    return None


class Archive(Protocol):
    """Backups and WAL of one cluster, and at most one restored cluster."""

    promised_loss: float  # seconds of writes that are lost with every volume, at most

    @property
    def volume(self) -> Volume:
        """The file system that backups and WAL are kept on."""

    def backups(self) -> tuple[Backup, ...]:
        """Every good backup that is kept, oldest first.

        Raises:
            BrokenEnvironmentError: the store does not answer, or is damaged.
        """

    def range(self) -> str:
        """Return the first and last point that can be restored, or that there is none."""

    def back_up(self, update: Update, *, differential: bool = False) -> Backup:
        """Take a backup and return it: a full one, or what changed since the last full one.

        Raises:
            BadUsageError: no differential one can be taken here.
            BrokenEnvironmentError: it failed, with the reason; nothing of it is kept.
        """

    def restore(self, target: Target, update: Update, *, replace: bool = False) -> Restored:
        """Make a new, highly available cluster of what the archive holds up to a point.

        replace: remove the one that was restored before, if there is one.

        Raises:
            BadUsageError: that point cannot be restored, with the first and the last that can.
            BrokenEnvironmentError: it failed, with the reason; nothing of it is left.
        """

    def restored(self) -> Restored | None:
        """Return the cluster that was restored before and is still there."""

    def discard(self) -> None:
        """Remove it; safe to repeat, and after an interrupted restore."""


def archiver_of(cluster: Cluster) -> Archiver:
    """Look at the archiver of a cluster's primary.

    Raises:
        psycopg.Error: it does not answer.
    """
    with cluster.connect(statement_timeout=5) as primary:
        return archiver(primary)
