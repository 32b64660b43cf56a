"""Which rules of a user's would see an outage: asked of the real promtool."""

import shutil
from collections.abc import Mapping
from typing import Any

import pytest

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.observe.coverage import LENGTHS, Outage, Seen, coverage, outages, read, shown
from pgdrill.observe.prometheus import Labelled

pytestmark = pytest.mark.unit

PODS = ("pg-1", "pg-2", "pg-3")
STEP = 10.0
LOST = Outage("primary lost", "pg-1", "pg-2", 60.0)


def _series() -> list[Labelled]:
    """Three members as CloudNativePG's exporter shows them, and as Kubernetes does."""
    found = []
    for number, pod in enumerate(PODS):
        at = {"pod": pod, "instance": f"10.0.0.{number}:9187", "job": "db", "namespace": "orders"}
        primary = number == 0
        found += [
            Labelled("up", at, 1.0),
            Labelled("cnpg_pg_replication_in_recovery", at, float(not primary)),
            Labelled("cnpg_pg_replication_streaming_replicas", at, 2.0 * primary),
            Labelled("cnpg_pg_replication_is_wal_receiver_up", at, float(not primary)),
        ]
        state = {"pod": pod, "instance": "10.0.1.1:8080", "job": "ksm", "namespace": "orders"}
        for condition, value in (("true", 1.0), ("false", 0.0)):
            found.append(Labelled("kube_pod_status_ready", state | {"condition": condition}, value))
    return found


def _alert(name: str, query: str, hold: float = 0.0) -> dict[str, Any]:
    return {"type": "alerting", "name": name, "query": query, "duration": hold, "labels": {}}


RULES: list[dict[str, Any]] = [
    {"type": "recording", "name": "db:up", "query": "sum(up)", "labels": {}},
    _alert("Missing", "db:up < 3"),
    _alert("MissingForLong", "db:up < 3", 120),
    _alert("Always", "vector(1)", 1200),
    _alert("NobodyWrites", "(count(cnpg_pg_replication_in_recovery == 0) or vector(0)) < 1", 20),
    _alert("Moved", "changes(cnpg_pg_replication_in_recovery[5m]) > 0"),
    _alert("NoReplica", "max(cnpg_pg_replication_streaming_replicas) < 2"),
    _alert("NotReady", 'kube_pod_status_ready{condition="true"} == 0'),
    _alert("Elsewhere", "node_filesystem_free_bytes < 1"),
]
GROUPS = [{"name": "db", "file": "theirs.yaml", "rules": RULES}]


def _covered(*asked: Outage) -> tuple[Seen, ...]:
    promtool = shutil.which("promtool")
    assert promtool, "promtool is missing: apt-get install --no-install-recommends prometheus"
    return coverage(GROUPS, read(_series(), GROUPS), asked, STEP, promtool)


def test_a_lost_primary_is_seen_by_what_reads_its_signs() -> None:
    """Its exporter is silent, no member writes, roles move; what is always true is no answer."""
    (seen,) = _covered(LOST)
    assert set(seen.alerts) == {"Missing", "NobodyWrites", "Moved", "NotReady", "NoReplica"}
    # The first scrape without it, and the next evaluation.
    assert STEP <= seen.alerts["Missing"] <= STEP + 5
    assert STEP + 20 <= seen.alerts["NobodyWrites"] <= STEP + 25
    assert seen.alerts["Moved"] > LOST.lasting


def test_a_lost_standby_is_another_outage() -> None:
    """The primary still writes, with one standby fewer."""
    (seen,) = _covered(Outage("standby lost", "pg-2", "", 60.0))
    assert set(seen.alerts) == {"Missing", "NoReplica", "NotReady"}


@pytest.mark.parametrize(("lasting", "seen"), [(5.0, False), (60.0, False), (180.0, True)])
def test_an_outage_shorter_than_its_for_is_not_seen(lasting: float, seen: bool) -> None:
    """One between two scrapes is seen by nothing but what it leaves: roles that moved."""
    (found,) = _covered(Outage("primary lost", "pg-1", "pg-2", lasting))
    assert ("MissingForLong" in found.alerts) is seen
    if lasting < STEP:
        assert set(found.alerts) == {"Moved"}


def test_each_length_is_asked_for_both_outages() -> None:
    """Of a primary, after which the first standby is primary, and of that standby."""
    asked = outages("pg-1", ("pg-2", "pg-3"))
    assert [one.lasting for one in asked] == [*LENGTHS, *LENGTHS]
    assert {(one.name, one.lost, one.promoted) for one in asked} == {
        ("primary lost", "pg-1", "pg-2"),
        ("standby lost", "pg-2", ""),
    }


def test_series_that_rules_make_are_not_given_to_them() -> None:
    """They would have two values at each instant; what no rule reads is left out."""
    labels: Mapping[str, str] = {"namespace": "orders"}
    rows = [Labelled(name, labels, 1.0) for name in ("up", "db:up", "ALERTS", "pg_other")]
    assert [one.name for one in read(rows, GROUPS)] == ["up"]


def test_labels_and_values_are_written_as_promtool_reads_them() -> None:
    """Quotes in a label, and a value that is no number."""
    odd = Labelled("up", {"pod": 'a"b\\c'}, float("nan"))
    (written,) = shown([odd], Outage("standby lost", "other", "", 60.0), STEP)
    assert written["series"] == r'up{pod="a\"b\\c"}'
    assert written["values"].startswith("NaNx")


def test_rules_that_promtool_does_not_take_are_an_error_in_one_line() -> None:
    """A function of a newer Prometheus, say; and a program that is not there."""
    groups = [{"name": "db", "rules": [_alert("New", "not_a_function(up)")]}]
    for program, why in (
        (str(shutil.which("promtool")), "unknown function"),
        ("/no/promtool", "No such"),
    ):
        with pytest.raises(BrokenEnvironmentError, match=why) as refused:
            coverage(groups, _series(), (LOST,), STEP, program)
        assert "\n" not in str(refused.value)
