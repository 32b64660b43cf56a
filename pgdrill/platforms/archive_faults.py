"""Faults of the archive, and their evidence, which every engine's primary gives."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import psycopg

from pgdrill import timeouts
from pgdrill.faults.base import FaultNotRealError
from pgdrill.observe.archiver import Archiver, switch_wal
from pgdrill.platforms.archive import archiver_of
from pgdrill.platforms.base import Cluster, Volume
from pgdrill.waiting import eventually


class _ArchiveFault(ABC):
    """Something is wrong with the archive. cluster returns the one that writes to it."""

    name: str

    def __init__(self, cluster: Callable[[], Cluster]) -> None:
        self._cluster = cluster
        self._hit = False

    @abstractmethod
    def _break(self) -> None:
        """Break it."""

    @abstractmethod
    def _restore(self) -> None:
        """Undo that; safe to repeat."""

    def inject(self) -> str:
        """Break it, and produce a WAL file for the primary to store."""
        self._hit = True
        self._break()
        self._switch_wal()
        return "archive"

    @abstractmethod
    def verify_injected(self) -> str:
        """Return one line of evidence that it is broken."""

    def heal(self) -> None:
        """Undo it."""
        if self._hit:
            self._restore()

    def verify_healed(self) -> str:
        """Every file is stored; a switch makes PostgreSQL try at once and not after a minute."""
        self._switch_wal()
        said = eventually(
            "no WAL file waits",
            self._archiver,
            lambda seen: not seen.failing and not seen.waiting,
            within=timeouts.WAL_STORED_AFTER_FAULT,
            not_yet=(psycopg.Error,),
        )
        return f"{said.file} is stored, nothing waits"

    def _archiver(self) -> Archiver:
        return archiver_of(self._cluster())

    def _switch_wal(self) -> None:
        with self._cluster().connect(statement_timeout=5) as session:
            switch_wal(session)


class ArchiveUnreachable(_ArchiveFault):
    """Take the archive away from the members: no WAL file can be stored."""

    name = "archive_away"

    def verify_injected(self) -> str:
        """The primary has failed to store a file since."""
        said = eventually(
            "a WAL file that is refused",
            self._archiver,
            lambda seen: seen.failing,
            within=timeouts.WAL_REFUSED,
            not_yet=(psycopg.Error,),
        )
        return f"{said.failed} attempts to store {said.file} failed"


class ArchiveFull(ArchiveUnreachable):
    """Fill the archive's volume to its last block: no WAL file can be stored."""

    name = "archive_full"

    def __init__(self, cluster: Callable[[], Cluster], volume: Volume) -> None:
        super().__init__(cluster)
        self._volume = volume

    def _break(self) -> None:
        self._volume.fill_up()

    def _restore(self) -> None:
        self._volume.release()


class BackupsMissing(_ArchiveFault):
    """Take away what the archive holds, backups and WAL; whether WAL is stored is another matter.

    backups returns the labels of those that the archive holds.
    """

    name = "backups_gone"

    def __init__(
        self, cluster: Callable[[], Cluster], backups: Callable[[], Sequence[str]]
    ) -> None:
        super().__init__(cluster)
        self._backups = backups
        self._before: tuple[str, ...] = ()

    def inject(self) -> str:
        """Note what is there, and take it away."""
        self._before = tuple(self._backups())
        if not self._before:
            raise FaultNotRealError("there is no backup to take away")
        return super().inject()

    def verify_injected(self) -> str:
        """The archive holds no backup."""
        if self._backups():
            raise FaultNotRealError(f"the archive still holds {', '.join(self._backups())}")
        return f"{len(self._before)} backups are gone"

    def verify_healed(self) -> str:
        """The archive holds its backups again, and every WAL file."""
        gone = set(self._before) - set(self._backups())
        if gone:
            raise FaultNotRealError(f"the archive does not hold {', '.join(sorted(gone))} again")
        return super().verify_healed()
