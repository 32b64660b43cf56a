"""Every promise has a control that breaks it, or a written reason why it has none."""

import importlib
import inspect
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from pgdrill.judge import catalogue
from tests import controls
from tests.controls import inventory


@pytest.fixture(scope="module")
def named() -> dict[str, frozenset[str]]:
    """The promises that each control names."""
    found = {}
    for file in sorted(Path(controls.__file__).parent.glob("test_*.py")):
        module = importlib.import_module(f"tests.controls.{file.stem}")
        for name, test in inspect.getmembers(module, inspect.isfunction):
            if name.startswith("test_"):
                found[name] = inventory.named(getattr(test, "pytestmark", []))
    return found


@pytest.fixture(scope="module")
def controlled(named: dict[str, frozenset[str]]) -> frozenset[str]:
    """All of them."""
    return frozenset[str]().union(*named.values())


def test_every_promise_has_a_control_or_a_reason(controlled: frozenset[str]) -> None:
    """Controls and exemptions together are what `python -m pgdrill budgets` lists."""
    known = catalogue.known()
    assert controlled <= known.keys(), "a control breaks what is no promise"
    missing = [k for k in known.keys() - controlled if not inventory.exemption(k, controlled)]
    assert not missing, f"neither a control nor an exemption: {sorted(missing)}"


def test_no_exemption_has_outlived_its_promise(controlled: frozenset[str]) -> None:
    """Each excuses a promise that is there and that no control breaks, with a sentence."""
    for pattern, reason in inventory.EXEMPT.items():
        excused = [k for k in catalogue.known() if inventory.exemption(k, controlled) == pattern]
        assert excused, f"{pattern} excuses nothing"
        assert len(reason.split()) > 5
    assert not [k for k in controlled if inventory.exemption(k, controlled)]


def test_the_inventory_names_every_promise(named: dict[str, frozenset[str]]) -> None:
    """Each control with its promises, and the others under their exemption."""
    known = catalogue.known()
    lines = inventory.table(known, named)
    text = " ".join(lines)
    for key in known:
        assert key in text or any(
            fnmatchcase(key, pattern) and pattern in text for pattern in inventory.EXEMPT
        )
    assert len(lines) < len(known)
