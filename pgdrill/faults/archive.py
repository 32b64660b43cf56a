"""The archive takes no WAL: what every engine's primary says of that, and of its end."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import psycopg

from pgdrill.observe.archiver import Archiver, archiver, switch_wal
from pgdrill.platforms.base import Cluster
from pgdrill.waiting import eventually

# Seconds: a client of S3 tries some times before it gives a file up, and PostgreSQL three times
# before it waits for a minute.
REFUSED_WITHIN = 90.0
STORED_WITHIN = 90.0


class ArchiveAway(ABC):
    """Take the archive away from the members: no WAL file can be stored."""

    name = "archive_away"

    def __init__(self, cluster: Callable[[], Cluster]) -> None:
        self._cluster = cluster
        self._hit = False

    @abstractmethod
    def _take(self) -> None:
        """Take it away."""

    @abstractmethod
    def _give(self) -> None:
        """Give it back."""

    def inject(self) -> str:
        """Take it away, and give the primary a file to store."""
        self._hit = True
        self._take()
        self._switch_wal()
        return "archive"

    def verify_injected(self) -> str:
        """The primary has failed to store a file since."""
        said = eventually(
            "a WAL file that is refused",
            self._archiver,
            lambda seen: seen.failing,
            within=REFUSED_WITHIN,
            not_yet=(psycopg.Error,),
        )
        return f"{said.failed} attempts to store {said.file} failed"

    def heal(self) -> None:
        """Give it back."""
        if self._hit:
            self._give()

    def verify_healed(self) -> str:
        """Every file is stored; a switch makes PostgreSQL try at once and not after a minute."""
        self._switch_wal()
        said = eventually(
            "no WAL file waits",
            self._archiver,
            lambda seen: not seen.failing and not seen.waiting,
            within=STORED_WITHIN,
            not_yet=(psycopg.Error,),
        )
        return f"{said.file} is stored, nothing waits"

    def _archiver(self) -> Archiver:
        with self._cluster().connect(statement_timeout=5) as session:
            return archiver(session)

    def _switch_wal(self) -> None:
        with self._cluster().connect(statement_timeout=5) as session:
            switch_wal(session)
