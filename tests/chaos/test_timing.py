"""The operator's own failover settings compared with ours: the same faults, the same cluster.

Left out where a run is on these settings as a whole (--timing=default): the other tests are it.
"""

from collections.abc import Iterator

import pytest

from pgdrill.faults.catalogue import FAULTS, FaultSpec
from pgdrill.platforms.base import Platform
from pgdrill.plugin.drill import Drill

TIMING = "default"


@pytest.fixture(scope="module")
def on_defaults(platform: Platform) -> Iterator[None]:
    """The operator's own settings, for the tests of this file; it replaces every pod twice."""
    if "timings" not in platform.capabilities:
        pytest.skip(f"{platform.name} lacks the capability timings")
    if platform.tuning_name == TIMING:
        pytest.skip("the whole run is on the operator's own settings")
    with platform.with_timing(TIMING):
        yield


def _cases() -> list[object]:
    """Return each fault that is compared, with what it claims there."""
    return [
        pytest.param(
            spec,
            id=spec.name,
            marks=[pytest.mark.claim(found.claim), pytest.mark.thorough(found.profile)],
        )
        for spec in FAULTS.values()
        if (found := spec.compared.get(TIMING))
    ]


@pytest.mark.usefixtures("on_defaults")
@pytest.mark.parametrize("spec", _cases())
def test_fault_on_defaults(spec: FaultSpec, drill: Drill) -> None:
    """Clients write again in time after a fault under the operator's own failover settings."""
    drill(spec)
