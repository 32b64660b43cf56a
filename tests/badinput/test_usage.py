"""Invalid requests: exit code 4 and one line, before anything is changed."""

from pathlib import Path

import pytest

from pgdrill.settings import ROOT
from tests.badinput.commands import USAGE, Installation

WRONG_VALUES = [
    pytest.param(["--clients=0"], ["--clients=0", "at least 1"], id="no-clients"),
    pytest.param(["--rows=10"], ["--rows=10", "at least 1000"], id="too-few-rows"),
    pytest.param(["--profile=huge"], ["--profile=huge", "quick", "full"], id="unknown-profile"),
    pytest.param(["--engine=cnpg"], ["--engine=cnpg", "local", "patroni"], id="wrong-engine"),
    pytest.param(["--postgres=17"], ["--postgres=17", "local", "kind"], id="wrong-postgres"),
    pytest.param(["--kubernetes=1.30"], ["--kubernetes=1.30", "kind"], id="no-kubernetes"),
    pytest.param(["--postgres=9"], ["--postgres=9", "15, 17"], id="unknown-postgres"),
    pytest.param(["--port-offset=x"], ["--port-offset=x", "whole number"], id="no-number"),
]


@pytest.fixture
def asked(tmp_path: Path) -> Installation:
    """Commands that are refused before they make anything: no take-down is needed."""
    return Installation(tmp_path / "state", tmp_path / "reports", {})


def _with(asked: Installation, **variables: str) -> Installation:
    return Installation(asked.state, asked.reports, variables)


def _nothing_made(asked: Installation) -> None:
    assert not asked.state.exists()
    assert not asked.runs()


@pytest.mark.parametrize(("words", "said"), WRONG_VALUES)
def test_wrong_value_of_a_command(asked: Installation, words: list[str], said: list[str]) -> None:
    """A command names the option, the value and what would be right."""
    asked.pgdrill("up", *words).refuses(USAGE, *said)
    _nothing_made(asked)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["frobnicate"], ["frobnicate", "'up'", "--help"], id="unknown-command"),
        pytest.param(["up", "--nope"], ["--nope", "--help"], id="unknown-option"),
        pytest.param(["report", "none"], ["none", "no run directory"], id="unknown-run"),
    ],
)
def test_unknown_word(asked: Installation, words: list[str], said: list[str]) -> None:
    """An unknown word is named, and help is offered."""
    asked.pgdrill(*words).refuses(USAGE, *said)
    _nothing_made(asked)


@pytest.mark.parametrize(("words", "said"), [WRONG_VALUES[0], WRONG_VALUES[3]])
def test_wrong_value_of_a_suite(asked: Installation, words: list[str], said: list[str]) -> None:
    """A suite refuses as a command does, and leaves no run directory."""
    asked.pytest("-m", "smoke", *words).refuses(USAGE, *said)
    _nothing_made(asked)


def test_wrong_value_in_the_environment(asked: Installation) -> None:
    """A variable with a wrong value is named as the culprit."""
    _with(asked, PGDRILL_TRIALS="-1").pgdrill("up").refuses(USAGE, "PGDRILL_TRIALS=-1", "least 1")
    _nothing_made(asked)


def test_unknown_variable(asked: Installation) -> None:
    """A misspelt PGDRILL_ variable is refused: ignored, it would change what is measured."""
    misspelt = _with(asked, PGDRILL_CLIENT="4")
    misspelt.pgdrill("up").refuses(USAGE, "PGDRILL_CLIENT ", "no option", "PGDRILL_CLIENTS")
    misspelt.pytest("-m", "smoke").refuses(USAGE, "PGDRILL_CLIENT ", "PGDRILL_CLIENTS")
    _nothing_made(asked)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"rows = = 1", "not readable as TOML", id="no-toml"),
        pytest.param(b"rows = '\xff'", "not readable as TOML", id="no-utf-8"),
        pytest.param(b"row = 5000", "unknown option 'row'", id="unknown-key"),
        pytest.param(b"clients = 0", "clients=0", id="wrong-value"),
    ],
)
def test_broken_file(asked: Installation, tmp_path: Path, content: bytes, said: str) -> None:
    """A broken pgdrill.toml is named, with what is wrong in it."""
    (tmp_path / "pgdrill.toml").write_bytes(content)
    asked.pgdrill("up", cwd=tmp_path).refuses(USAGE, "pgdrill.toml", said)
    _nothing_made(asked)


def test_broken_file_and_a_suite(asked: Installation, tmp_path: Path) -> None:
    """A suite reads the same file with the same result."""
    (tmp_path / "pgdrill.toml").write_text("rows = = 1")
    words = ("-c", str(ROOT / "pytest.ini"), "-m", "smoke")
    asked.pytest(*words, cwd=tmp_path).refuses(USAGE, "pgdrill.toml", "not readable as TOML")


def test_run_directory_exists(asked: Installation) -> None:
    """A run never mixes its numbers with another's: the directory stays as it was."""
    kept = asked.reports / "mine" / "verdicts.jsonl"
    kept.parent.mkdir(parents=True)
    kept.write_text("another run's\n")
    asked.pytest("-m", "smoke", "--run-id=mine").refuses(
        USAGE, str(kept.parent), "exists", "--run-id"
    )
    assert list(kept.parent.iterdir()) == [kept]
    assert kept.read_text() == "another run's\n"


def test_run_directory_cannot_be_made(asked: Installation) -> None:
    """A reports directory that is a file is named, and what to choose instead."""
    asked.reports.write_text("")
    asked.pytest("-m", "smoke").refuses(USAGE, str(asked.reports), "--reports-dir")
