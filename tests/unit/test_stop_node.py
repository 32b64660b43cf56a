"""A node is stopped only where the view of it survives."""

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

import pgdrill.platforms.kind  # noqa: F401  # first: it and its faults import each other
from pgdrill.engines.base import Member, PodEngine
from pgdrill.faults.base import FaultNotRealError, NeedsPlacement
from pgdrill.platforms.kind.faults import StopNode
from pgdrill.platforms.kind.nodes import KindNode

pytestmark = pytest.mark.unit


@dataclass
class _Engine:
    """Three instances, the first on the control plane; a switchover takes effect at once."""

    named: str = "pgdrill-1"
    synchronous: bool = True  # its standbys
    asked: list[str] = field(default_factory=list)

    def pods(self) -> dict[str, Any]:
        @dataclass
        class Pod:
            node: str

        nodes = ("control-plane", "worker", "worker2")
        return {f"pgdrill-{n}": Pod(f"pgdrill-{node}") for n, node in enumerate(nodes, 1)}

    def members(self) -> tuple[Member, ...]:
        return tuple(
            Member(
                name=name,
                incarnation=f"{name}/1",
                role="primary" if name == self.named else "standby",
                running=True,
                timeline=1,
                streaming=True,
                synchronous=self.synchronous and name != self.named,
                lag=0,
            )
            for name in self.pods()
        )

    def primary(self) -> Member:
        return next(m for m in self.members() if m.role == "primary")

    def switchover(self, to: str) -> None:
        self.asked.append(to)
        self.named = to


def _fault(engine: _Engine) -> StopNode:
    return StopNode(cast("PodEngine", engine), "primary_away", "primary", KindNode)


def test_primary_on_the_control_plane_is_moved_before() -> None:
    """One switchover to a worker, and none where the primary is on a worker."""
    engine = _Engine()
    fault = _fault(engine)
    assert isinstance(fault, NeedsPlacement)
    fault.place()
    fault.place()
    assert engine.asked == ["pgdrill-2"]


def test_primary_stays_where_nobody_can_take_over() -> None:
    """Without a synchronous standby nothing is requested, and the reason is given."""
    engine = _Engine(synchronous=False)
    with pytest.raises(FaultNotRealError, match="no worker has a synchronous standby"):
        _fault(engine).place()
    assert not engine.asked


def test_control_plane_is_never_stopped() -> None:
    """A caller that forgot to move the primary is refused, and nothing counts as hit."""
    fault = _fault(_Engine())
    with pytest.raises(FaultNotRealError, match="pgdrill-control-plane"):
        fault.inject()
    fault.heal()  # touches nothing
    with pytest.raises(FaultNotRealError, match="was not injected"):
        fault.verify_injected()
