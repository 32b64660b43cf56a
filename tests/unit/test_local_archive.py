"""The timeline histories of a restored member, as the embedded platform reads them."""

from pathlib import Path

import pytest

from pgdrill.platforms.local.archive import recovered

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("histories", "stored", "over"),
    [
        ((), "000000010000000000000007", False),
        (("00000002",), "000000010000000000000007", True),
        # Of before a failover: the archive's own, which lies there while recovery goes on.
        (("00000009", "0000000A"), "0000000A000000000000009D", False),
        (("0000000A", "0000000B"), "0000000A000000000000009D", True),
        (("00000002",), "", True),
    ],
)
def test_recovery_is_over_once_a_timeline_of_its_own_has_begun(
    tmp_path: Path, histories: tuple[str, ...], stored: str, over: bool
) -> None:
    """A history that came from the archive does not show where recovery ended."""
    wal = tmp_path / "pg_wal"
    wal.mkdir()
    for name in histories:
        (wal / f"{name}.history").touch()
    assert recovered(tmp_path, stored) is over
