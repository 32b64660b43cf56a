"""What a platform says is free on its members' volumes."""

import os
from pathlib import Path
from typing import cast

import pytest

from pgdrill.platforms.base import Platform, free_bytes
from pgdrill.platforms.local.volume import DirectoryVolume

pytestmark = pytest.mark.unit
NEAR = 64 * 2**20  # bytes; others write to this file system, too


def test_members_of_one_file_system_share_what_is_free(tmp_path: Path) -> None:
    """Each has to keep the same rows there."""
    stat = os.statvfs(tmp_path)
    free = stat.f_bavail * stat.f_frsize
    assert DirectoryVolume(tmp_path).free() == pytest.approx(free, abs=NEAR)
    assert DirectoryVolume(tmp_path, 3).free() == pytest.approx(free / 3, abs=NEAR)


def test_volumes_that_are_not_reached_are_left_out() -> None:
    """Somebody's own cluster: its volumes are not looked at, and nothing is refused for them."""

    class Somebodys:
        """A platform that asks before it does something, and reaches no volume."""

        def permit(self, level: str) -> None:
            """Allow it."""

    assert free_bytes(cast(Platform, Somebodys())) == {}
