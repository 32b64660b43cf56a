"""A smaller profile leaves the longest faults out, and names them."""

import subprocess
import sys

import pytest

from pgdrill.settings import ROOT

WITHIN = 60.0  # seconds to collect every test on a busy machine
LAST, AWAY = "test_fault_on_defaults[primary_delete]", "test_fault[primary_away]"


def _collected(*words: str) -> tuple[str, list[str]]:
    """Return pytest's first lines, and the names of the tests it would run."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "chaos", *words]
    asked = subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=WITHIN
    )
    return asked.stdout, [li.rpartition("::")[2] for li in asked.stdout.splitlines() if "::" in li]


@pytest.mark.parametrize(
    ("profile", "left"),
    [
        ("quick", {AWAY: "laptop", LAST: "full"}),
        ("laptop", {LAST: "full"}),
        ("full", {}),
    ],
)
def test_profile_names_what_it_leaves_out(profile: str, left: dict[str, str]) -> None:
    """A profile names the tests that it leaves out, with the profile that runs them."""
    said, run = _collected(f"--profile={profile}")
    assert "test_fault[primary_kill]" in run
    assert {AWAY, LAST} - set(run) == set(left)
    named = [line for line in said.splitlines() if line.startswith(f"profile {profile} leaves")]
    assert len(named) == len(left)
    for line, (name, by) in zip(named, left.items(), strict=True):
        assert name in line.split(": ")[0]
        assert f"--profile={by} " in line


def test_a_name_always_runs() -> None:
    """A test selected by name runs in any profile."""
    said, run = _collected("--profile=quick", "-k", "on_defaults and primary_delete")
    assert run == [LAST]
    assert "leaves out" not in said


def test_only_the_suites_that_are_asked_for_are_imported() -> None:
    """What another suite holds is not counted; a path that is given is collected all the same."""
    said, run = _collected("--profile=full")
    assert f"\n{len(run)} tests collected in" in said
    said, run = _collected("--profile=full", "tests/chaos", "tests/unit/test_profiles.py")
    assert run
    assert "deselected" in said
