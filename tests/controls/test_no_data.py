"""Missing data must never count as success."""

import pytest

from pgdrill.attempt_log import Lane
from pgdrill.drills import failover as trials
from pgdrill.drills.experiment import control_of
from pgdrill.drills.failover import FRESH_RATE, HELD_RATE, DrillContext
from pgdrill.faults.catalogue import FAULTS
from pgdrill.judge import failover
from pgdrill.observe.prometheus import NoDataError, Prometheus
from pgdrill.platforms.base import Cluster, where
from tests.controls.control import Control


def test_query_without_series_is_an_error(prometheus: Prometheus) -> None:
    """A query that finds no series is refused, so that a typing error is not a quiet cluster."""
    with pytest.raises(NoDataError):
        prometheus.values("pgdrill:no_such_series")


def test_clients_without_a_single_ack_are_no_evidence(
    sabotaged: DrillContext, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial whose clients only reached standbys has neither a gap nor zero lost writes."""
    monkeypatch.setattr(trials, "lanes", to_standbys)
    spec, here = FAULTS["standby_freeze"], where(sabotaged.platform)
    gap = spec.gap(here)
    with control.must_be("invalid", "writes sent to standbys", gap, failover.LOST) as verdicts:
        trial = trials.run_trial(sabotaged, control_of(spec), 1)
        assert all(lane.refused for lane in trial.lanes.values()), "not even refused: no prober"
        failover.judge([trial], spec, here, verdicts)


def to_standbys(cluster: Cluster) -> list[Lane]:
    """Return the lanes of clients at the wrong address, without a wait for acks."""
    wrong = cluster.conninfo(cluster.read_only)
    return [
        Lane("fresh", "fresh", wrong, FRESH_RATE, direct=True),
        Lane("held", "held", wrong, HELD_RATE, direct=True),
    ]
