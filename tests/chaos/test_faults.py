"""The cost of each fault of the catalogue for clients; no acknowledged write may be lost."""

from collections.abc import Callable

import pytest

from pgdrill.faults.catalogue import FAULTS, FaultSpec
from pgdrill.platforms.base import Platform, where
from pgdrill.plugin.drill import Drill


def _cases() -> list[object]:
    """Return each fault as a case, with its claim and the smallest profile that drills it."""
    return [
        pytest.param(
            spec, id=spec.name, marks=[pytest.mark.claim(spec.claim), *thorough(spec.profile)]
        )
        for spec in FAULTS.values()
    ]


def thorough(profile: str) -> list[pytest.MarkDecorator]:
    """Return the mark of what profiles smaller than this one leave out."""
    return [] if profile == "quick" else [pytest.mark.thorough(profile)]


@pytest.mark.parametrize("spec", _cases())
def test_fault(
    spec: FaultSpec, platform: Platform, require_capability: Callable[[str], None], drill: Drill
) -> None:
    """Clients write again in time after a fault, and no acknowledged write is lost."""
    if spec.needs:
        require_capability(spec.needs)
    if where(platform) not in spec.cost:
        pytest.skip(f"nothing is promised of {spec.name} on {' '.join(where(platform))}")
    drill(spec)
