"""Options: one table, four sources, one clear line when a value cannot be."""

from pathlib import Path

import pytest

from pgdrill.errors import BadUsageError
from pgdrill.settings import OPTIONS, resolve


def _resolve(
    given: dict[str, str], environment: dict[str, str], file: Path | None = None
) -> object:
    return resolve(given, environment, file or Path("/nonexistent/pgdrill.toml"))


def test_precedence(tmp_path: Path) -> None:
    """The command line beats the environment, which beats the file, which beats the profile."""
    file = tmp_path / "pgdrill.toml"
    file.write_text('clients = 2\nrows = 5000\nprofile = "quick"\nport-offset = 7\n')
    settings = resolve({"clients": "4"}, {"PGDRILL_CLIENTS": "3", "PGDRILL_ROWS": "6000"}, file)
    assert (settings.clients, settings.rows, settings.port_offset) == (4, 6000, 7)
    assert (settings.duration, settings.trials) == (30, 1), "the file's profile sets the defaults"
    assert settings.sources["rows"] == "PGDRILL_ROWS"


def test_profile_sets_what_nobody_says() -> None:
    """The laptop profile is the assignment's: 300 s of load, 3 trials, a million rows."""
    settings = resolve({}, {}, Path("/nonexistent"))
    assert (settings.profile, settings.duration, settings.trials) == ("laptop", 300, 3)
    assert settings.rows == 1_000_000


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        pytest.param(
            "platform", "docker", "must be one of auto, kind, kube, local, patroni", id="word"
        ),
        pytest.param("clients", "0", "at least 1", id="too-small"),
        pytest.param("clients", "many", "whole number", id="no-number"),
        pytest.param("rows", "999", "at least 1000", id="too-few-rows"),
        pytest.param("rate", "-5", "above 0", id="negative-rate"),
        pytest.param("rate", "inf", "above 0", id="infinite-rate"),
        pytest.param("run_id", "../x", "letters, digits", id="path-in-run-id"),
        pytest.param("duration", "1", "at least 5", id="too-short"),
    ],
)
def test_impossible_values_are_refused(option: str, value: str, complaint: str) -> None:
    """A value that cannot be is refused in one line that names where it came from."""
    for given, environment, source in (
        ({option: value}, {}, "--" + option.replace("_", "-")),
        ({}, {f"PGDRILL_{option.upper()}": value}, f"PGDRILL_{option.upper()}"),
    ):
        with pytest.raises(BadUsageError, match=complaint) as refused:
            _resolve(given, environment)
        assert str(refused.value).startswith(source)
        assert "\n" not in str(refused.value)


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    """A misspelt variable or key is refused, not ignored."""
    with pytest.raises(BadUsageError, match="PGDRILL_CLIENT is set but is no option"):
        _resolve({}, {"PGDRILL_CLIENT": "4"})
    file = tmp_path / "pgdrill.toml"
    for text, complaint in (
        ("client = 4\n", "unknown option 'client'"),
        ("=", "not readable as TOML"),
    ):
        file.write_text(text)
        with pytest.raises(BadUsageError, match=complaint):
            _resolve({}, {}, file)


def test_repeat_command_says_what_was_set() -> None:
    """The command that repeats a run names every option that is no default, and only those."""
    settings = resolve({"clients": "4", "keep": "true"}, {"PGDRILL_RATE": "auto"}, Path("/nowhere"))
    words = '.venv/bin/python -m pytest -m "perf" --clients=4 --rate=auto --keep'
    assert settings.repeat_command("perf") == words


def test_every_option_explains_itself() -> None:
    """Each option has help, and a default in every profile."""
    for option in OPTIONS:
        assert option.help
        if option.by_profile:
            assert set(option.by_profile) == {"quick", "laptop", "full"}


def test_the_settings_of_the_example_are_read() -> None:
    """They name one cluster and break nothing; its tests are drilled elsewhere."""
    file = Path(__file__).parents[2] / "examples" / "your-cluster" / "pgdrill.toml"
    found = resolve({}, {}, file)
    assert (found.platform, found.level) == ("kube", "observe")
    assert (found.context, found.namespace, found.cluster) == ("staging", "db", "pg")
    assert found.budget.own == (("primary_kill.write-gap", 30.0),)
