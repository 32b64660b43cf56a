"""A file system of a true size, filled and released by one file of our own."""

import errno
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from pgdrill.platforms.base import LAST
from pgdrill.platforms.volume_hang import Hangable
from pgdrill.provision.commands import output

MIB = 1024 * 1024


@dataclass(frozen=True)
class DirectoryVolume(Hangable):
    """A mounted file system, seen through its mount point, or a directory of a shared one."""

    path: Path
    sharers: int = 1  # members whose data is on the same file system

    @property
    def _filler(self) -> Path:
        return self.path / "pgdrill-filler"

    def used(self) -> float:
        """Return the share in use, 0 to 1, as node-exporter computes it (root's reserve apart)."""
        stat = os.statvfs(self.path)
        used = stat.f_blocks - stat.f_bfree
        return used / (used + stat.f_bavail)

    def free(self) -> int:
        """Return the bytes that anybody but root may still write, shared with the other members."""
        stat = os.statvfs(self.path)
        return stat.f_bavail * stat.f_frsize // self.sharers

    def fill(self, share: float) -> None:
        """Fill with a file of our own until share is in use.

        Raises:
            ValueError: more than share is in use already.
        """
        stat = os.statvfs(self.path)
        missing = int((share - self.used()) * stat.f_blocks) * stat.f_frsize
        if missing <= 0:
            raise ValueError(f"{self.path} is at {self.used():.0%} already")
        if sys.platform == "linux":  # pgdrill.platforms.select refuses local elsewhere
            with self._filler.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, missing)

    def fill_up(self) -> None:
        """Fill with a file of our own until no byte can be written."""
        stat = os.statvfs(self.path)
        room = stat.f_bavail * stat.f_frsize - LAST
        zeros = bytes(MIB)
        with self._filler.open("ab", buffering=0) as file:
            if room > 0 and sys.platform == "linux":
                os.posix_fallocate(file.fileno(), 0, room)
            try:
                while file.write(zeros):
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def release(self) -> None:
        """Remove that file; safe to repeat."""
        self._filler.unlink(missing_ok=True)

    def _shell(self, script: str, *arguments: str) -> str:
        return output("sh", "-c", script, "sh", self.path, *arguments)
