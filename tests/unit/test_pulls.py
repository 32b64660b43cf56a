"""Pulling by another program: again after a cut, at once given up where another try is no use."""

from pathlib import Path

import pytest

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.provision import pulls

PULLS = """\
#!/bin/sh
echo try >> {tries}
[ "$(wc -l < {tries})" -gt {fails} ] && exit 0
echo '{says}' >&2
exit 1
"""


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulls, "TRY_AGAIN_EVERY", 0.01)


def _pull(place: Path, says: str, fails: int) -> list[str]:
    """Pull by a program that fails so often; return the printed lines."""
    script, said = place / "docker", list[str]()
    script.write_text(PULLS.format(tries=place / "tries", fails=fails, says=says))
    script.chmod(0o755)
    pulls.pull("pulling it", [str(script)], place / "log", said.append, within=20)
    return said


def test_a_cut_pull_goes_on(tmp_path: Path) -> None:
    """Two cuts are reported with their reason, and the third try succeeds."""
    said = _pull(tmp_path, "unexpected EOF", fails=2)
    assert len(said) == 2
    assert all("unexpected EOF" in line and "going on" in line for line in said)
    assert (tmp_path / "tries").read_text().count("try") == 3


def test_cuts_without_end_are_given_up(tmp_path: Path) -> None:
    """After so many tries the last words are the reason."""
    with pytest.raises(BrokenEnvironmentError, match=r"pulling it failed: .*connection reset"):
        _pull(tmp_path, "connection reset by peer", fails=99)
    assert (tmp_path / "tries").read_text().count("try") == pulls.TRIES


@pytest.mark.parametrize(
    ("says", "named"),
    [
        ("write /var/lib/x: no space left on device", "make room where Docker keeps its data"),
        ("http: server gave HTTP response to HTTPS client", "insecure-registries"),
        ("manifest unknown: manifest unknown", "manifest unknown"),
    ],
)
def test_what_no_try_mends_is_said_at_once(tmp_path: Path, says: str, named: str) -> None:
    """A full disk, a mirror without TLS and a missing image are refused in one line, unrepeated."""
    with pytest.raises(BrokenEnvironmentError) as raised:
        _pull(tmp_path, says, fails=99)
    assert named in str(raised.value)
    assert "\n" not in str(raised.value)
    assert (tmp_path / "tries").read_text().count("try") == 1
