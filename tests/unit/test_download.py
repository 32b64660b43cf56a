"""Files of releases: whole and right, or refused in one line."""

import hashlib
from pathlib import Path

import pytest

from pgdrill.provision.download import NotFetchedError, WrongBytesError, fetch, mirrored, published
from tests.servers import Cutting, files

CONTENT = bytes(range(256)) * 400


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_cut_download_goes_on_where_it_was(tmp_path: Path) -> None:
    """A server that hangs up three times is asked for the rest only, and the file is whole."""
    cutting, said = Cutting(CONTENT, after=40_000), list[str]()
    into = tmp_path / "tool"
    with cutting.url() as url:
        assert fetch("a tool", url, _digest(CONTENT), into, said.append) == len(CONTENT)
    assert into.read_bytes() == CONTENT
    assert cutting.asked == ["", "bytes=40000-", "bytes=80000-"]
    assert len(said) == 2
    assert "cut off" in said[0]


def test_a_partial_file_of_an_earlier_run_is_gone_on_with(tmp_path: Path) -> None:
    """Parts that a killed run had fetched are not fetched again."""
    cutting = Cutting(CONTENT, after=len(CONTENT))
    (tmp_path / "tool.partial").write_bytes(CONTENT[:1000])
    with cutting.url() as url:
        fetch("a tool", url, _digest(CONTENT), tmp_path / "tool", print)
    assert cutting.asked == ["bytes=1000-"]


def test_a_wrong_byte_is_refused_by_name(tmp_path: Path) -> None:
    """A file with another digest is named with its address, and not kept."""
    served = tmp_path / "served"
    served.mkdir()
    (served / "tool").write_bytes(CONTENT[:-1] + b"x")
    with files(served) as url, pytest.raises(WrongBytesError, match=rf"a tool: {url}/tool has"):
        fetch("a tool", f"{url}/tool", _digest(CONTENT), tmp_path / "tool", print)
    assert [file.name for file in tmp_path.iterdir()] == ["served"]


def test_what_cannot_be_had_is_named(tmp_path: Path) -> None:
    """No server, no such file, and an invalid checksum are refused in a line each."""
    (tmp_path / "sum").write_text("<html>not here</html>")
    with files(tmp_path) as url:
        with pytest.raises(NotFetchedError, match=r"a tool: .*/none answers 404"):
            fetch("a tool", f"{url}/none", _digest(CONTENT), tmp_path / "tool", print)
        with pytest.raises(NotFetchedError, match="holds no SHA-256"):
            published("a tool", f"{url}/sum")
    with pytest.raises(NotFetchedError, match=r"cannot be reached \(.*refused"):
        fetch("a tool", f"{url}/tool", _digest(CONTENT), tmp_path / "tool", print)
    with pytest.raises(NotFetchedError, match=r"cannot be reached \(.*refused"):
        published("a tool", f"{url}/sum")


def test_a_mirror_of_releases_keeps_host_and_path() -> None:
    """Two hosts below one mirror cannot be mixed up."""
    url = "https://dl.example/release/v1/kubectl"
    assert mirrored(url, "http://here:1/r") == "http://here:1/r/dl.example/release/v1/kubectl"
    assert mirrored(url, "") == url
