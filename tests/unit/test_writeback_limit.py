"""The writeback limit of a loop device, reset once it holds no volume."""

from pathlib import Path

import pytest

from pgdrill.platforms.local.writeback_limit import release


def limits(sys: Path, name: str, *, strict: str) -> Path:
    """Make what Linux shows of one device."""
    at = sys / "class/bdi" / name
    at.mkdir(parents=True)
    (at / "strict_limit").write_text(f"{strict}\n")
    (at / "max_ratio").write_text("0\n")
    return at


@pytest.mark.parametrize(
    ("name", "holds", "strict", "released"),
    [
        pytest.param("7:1", False, "1", True, id="ours-and-idle"),
        pytest.param("7:1", True, "1", False, id="in-use"),
        pytest.param("7:1", False, "0", False, id="not-strict"),
        pytest.param("8:1", False, "1", False, id="no-loop-device"),
    ],
)
def test_release(tmp_path: Path, name: str, holds: bool, strict: str, released: bool) -> None:
    """Only a loop device with a limit of its own and no file gets the kernel's default."""
    at = limits(tmp_path, name, strict=strict)
    if holds:
        (tmp_path / "block/loop1/loop").mkdir(parents=True)
    release(tmp_path)
    assert (at / "max_ratio").read_text().strip() == ("100" if released else "0")
    assert (at / "strict_limit").read_text().strip() == ("0" if released else strict)


def test_release_where_linux_has_no_such_limit(tmp_path: Path) -> None:
    """Linux before 6.2 has neither file: there is nothing to reset, and no error."""
    (tmp_path / "class/bdi/7:0").mkdir(parents=True)
    release(tmp_path)
    assert not list((tmp_path / "class/bdi/7:0").iterdir())
