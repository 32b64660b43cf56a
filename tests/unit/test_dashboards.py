"""Dashboards equal their description, in Grafana's own types, with the limits of the rules."""

import json
import math
import re

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard as GrafanaDashboard

from pgdrill.dashboards import shared
from pgdrill.dashboards.catalogue import DASHBOARDS
from pgdrill.dashboards.grafana import DIRECTORY, file_of, text_of
from pgdrill.dashboards.panels import Dashboard
from pgdrill.observe import rulefiles
from pgdrill.settings import ROOT

pytestmark = pytest.mark.unit

ALERTS = ROOT / "infra" / "alerts"
FUNCTIONS = [
    "sum",
    "max",
    "count",
    "by",
    "or",
    "vector",
    "rate",
    "histogram_quantile",
    "max_over_time",
    "min_over_time",
]
each = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)


def _series(expression: str) -> set[str]:
    """Names of the series that PromQL reads."""
    bare = re.sub(r"{.*?}|\[.*?\]|by \(.*?\)", "", expression)
    return set(re.findall(r"[A-Za-z_][\w:]*", bare)) - set(FUNCTIONS)


def _recorded() -> set[str]:
    """Names of the series that the rule files of `local` record."""
    files = [ALERTS / "recording.patroni.yaml", *ALERTS.glob("rules/*.yaml")]
    groups = rulefiles.groups(files)
    return {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}


def _thresholds() -> dict[str, float]:
    """Last number of each alert's expression, by alert."""
    found = {name: rule["expr"] for name, rule in rulefiles.alerts().items()}
    return {name: float(expr.split()[-1]) for name, expr in found.items() if "> " in expr}


@each
def test_the_file_is_what_the_generator_writes(dashboard: Dashboard) -> None:
    """The JSON is never edited by hand, nor left behind."""
    told = "run `make dashboards` and commit what it writes"
    assert file_of(dashboard).read_text() == text_of(dashboard), told


def test_no_file_is_left_over() -> None:
    """The directory holds the JSON of our dashboards and of no other."""
    assert set(DIRECTORY.glob("*.json")) == {file_of(dashboard) for dashboard in DASHBOARDS}


@each
def test_grafanas_types_know_all_of_it(dashboard: Dashboard) -> None:
    """Read by Grafana's SDK and written again, a file has lost only two texts."""
    written = json.loads(file_of(dashboard).read_text())
    again = json.loads(json.dumps(GrafanaDashboard.from_json(written), cls=JSONEncoder))
    (mark,) = written["annotations"]["list"]
    del mark["titleFormat"], mark["textFormat"]  # the SDK has no field for them
    assert again == written


@each
def test_panels_have_a_place_of_their_own(dashboard: Dashboard) -> None:
    """Every panel has a number, a place inside the grid that no other covers, and a source."""
    panels = json.loads(file_of(dashboard).read_text())["panels"]
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken)), "panels overlap"
    assert max(x for x, _ in taken) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {p["datasource"]["uid"] for p in panels if p["type"] != "row"} == {"${datasource}"}


@each
def test_panels_serve_every_platform(dashboard: Dashboard) -> None:
    """Panels read series that recording files give, the load's own, and Prometheus' alerts."""
    ours = _recorded() | {"pgdrill:backup_age_seconds", "ALERTS"}
    for _, panel in dashboard.panels():
        for query in panel.queries:
            foreign = {s for s in _series(query.expr) - ours if not s.startswith("pgdrill_load_")}
            assert not foreign, f"{panel.title} reads {foreign}"


def test_few_panels_may_be_empty() -> None:
    """Panels that may lack data on a healthy cluster are listed by name, and no other lacks it."""
    excused = {p.title: p.only for d in DASHBOARDS for _, p in d.panels() if p.only}
    assert excused == {
        "Latency of the load": "load",
        "Transactions of the load": "load",
        "Alerts": "alert",
        "Newest backup": "backup",
        "WAL that waits for the archive": "backup",
    }


def test_limits_are_those_of_the_rules() -> None:
    """A dashed line is where the alert fires."""
    thresholds = _thresholds()
    assert thresholds["PgReplicationLagHigh"] == shared.LIMIT_LAG
    assert thresholds["PgDiskFilling"] == shared.LIMIT_DISK
    factors = rulefiles.alerts()["PgArchiveLagging"]["expr"].split("> ")[1].split(" * ")
    assert math.prod(map(int, factors)) == shared.LIMIT_WAITING


def test_a_value_means_what_its_step_says() -> None:
    """A step counts from its value on; a word takes precedence over a step."""
    assert [shared.MEMBERS_UP.tone(n) for n in (0, 1, 2, 3)] == ["bad", "bad", "warn", "good"]
    assert [shared.FULLEST.tone(n) for n in (0.69, 0.7, 0.8)] == ["good", "warn", "bad"]
