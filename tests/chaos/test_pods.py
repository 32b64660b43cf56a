"""What deleting a pod costs clients: on Kubernetes there are three ways, and they differ."""

from collections.abc import Callable

import pytest

from fixtures.chaos import Drill


@pytest.mark.thorough
def test_primary_grace_1(require: Callable[[str], None], drill: Drill) -> None:
    """Clients write again in time after a primary whose pod got one second to stop."""
    require("pods")
    trials = drill("primary_grace_1")
    assert all(t.timeline_after > t.timeline_before for t in trials), "no fail-over happened"


@pytest.mark.thorough
def test_primary_delete(require: Callable[[str], None], drill: Drill) -> None:
    """Clients write again in time after a primary whose pod was deleted politely."""
    require("pods")
    trials = drill("primary_delete")
    assert all(t.timeline_after > t.timeline_before for t in trials), "no fail-over happened"
