"""What the operator's own fail-over settings cost beside ours: the same faults on the same cluster.

Left out where a run is on these settings as a whole (--timing=default): the other tests are it.
"""

from collections.abc import Iterator

import pytest

from fixtures.chaos import Drill
from pgdrill.platforms.base import Platform

pytestmark = [pytest.mark.thorough, pytest.mark.usefixtures("on_defaults")]


@pytest.fixture(scope="module")
def on_defaults(platform: Platform) -> Iterator[None]:
    """The operator's own settings, for the tests of this file; it replaces every pod twice."""
    if "timings" not in platform.capabilities:
        pytest.skip(f"{platform.name} lacks the capability timings")
    if platform.tuning_name == "default":
        pytest.skip("the whole run is on the operator's own settings")
    with platform.timed("default"):
        yield


def test_primary_kill_on_defaults(drill: Drill) -> None:
    """A force-deleted primary serves its open sessions to the end and new ones not at all."""
    trials = drill("primary_kill")
    assert all(t.timeline_after > t.timeline_before for t in trials), "no fail-over happened"


@pytest.mark.thorough("full")  # 200 s a trial to meet the same smart shutdown as above
def test_primary_delete_on_defaults(drill: Drill) -> None:
    """A politely deleted primary waits for its sessions to leave."""
    trials = drill("primary_delete")
    assert all(t.timeline_after > t.timeline_before for t in trials), "no fail-over happened"


def test_switchover_on_defaults(drill: Drill) -> None:
    """A planned switchover waits for the old primary to stop by itself."""
    trials = drill("switchover")
    assert all(t.timeline_after > t.timeline_before for t in trials), "no switchover happened"
