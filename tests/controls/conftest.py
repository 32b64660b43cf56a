"""Sabotaged set-ups: their verdicts are kept as controls, their trials apart from real ones."""

from dataclasses import replace

import pytest

from pgdrill.drills.failover import Bench
from pgdrill.rundir import RunDir
from tests.controls.control import Control


@pytest.fixture
def control(run: RunDir, request: pytest.FixtureRequest) -> Control:
    """Demand that a sabotage turns verdicts, and keep them."""
    return Control(run.verdicts, request.node.nodeid)


@pytest.fixture
def sabotaged(bench_of_trials: Bench) -> Bench:
    """Everything that a trial works with; its records stay out of the run's own.

    One short trial of each: a sabotage is to be decisive, so that a long look adds nothing.
    """
    return replace(
        bench_of_trials,
        run=RunDir(bench_of_trials.run.path / "controls"),
        settings=replace(bench_of_trials.settings, profile="quick", trials=1),
    )
