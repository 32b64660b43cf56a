"""Sabotaged set-ups: their verdicts are kept as controls, their trials apart from real ones."""

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from pgdrill.drills.failover import DrillContext
from pgdrill.judge import catalogue
from pgdrill.records import Verdict
from pgdrill.rundir import RunDir
from tests.controls import inventory
from tests.controls.control import Control

CHOSEN = pytest.StashKey[list[pytest.Item]]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep which controls were chosen."""
    here = Path(__file__).parent
    session.config.stash[CHOSEN] = [item for item in session.items if here in item.path.parents]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print which promises the chosen controls break, and why none breaks the others."""
    items = terminalreporter.config.stash.get(CHOSEN, [])
    if items:
        chosen = {
            item.name.partition("[")[0]: inventory.named(item.iter_markers()) for item in items
        }
        terminalreporter.section("inventory of controls")
        for line in inventory.table(catalogue.known(), chosen):
            terminalreporter.write_line(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Demand of a control that passed that it broke what it names, no more and no less."""
    yield
    control = getattr(item, "funcargs", {}).get("control")
    if isinstance(control, Control):
        named = inventory.named(item.iter_markers())
        assert control.broken == named, f"names {sorted(named)}, broke {sorted(control.broken)}"


@pytest.fixture
def control(run_directory: RunDir, request: pytest.FixtureRequest) -> Control:
    """Demand that a sabotage turns verdicts, and keep them."""
    return Control(run_directory.file(Verdict), request.node.nodeid)


@pytest.fixture
def sabotaged(drill_context: DrillContext) -> DrillContext:
    """Everything that a trial works with; its records stay out of the run's own.

    One short trial of each: a sabotage is to be decisive, so that a long look adds nothing.
    """
    return replace(
        drill_context,
        run=RunDir(drill_context.run.path / "controls"),
        settings=replace(drill_context.settings, profile="quick", trials=1),
    )
