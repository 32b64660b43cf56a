"""Alert rules: each is tested both ways by promtool, explained, and proven live or excused."""

import inspect
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from pgdrill.judge.budgets import BAD_TRANSACTIONS
from pgdrill.observe import rulefiles
from pgdrill.observe.deadman import WATCHDOG
from pgdrill.observe.prometheus import UNALERTED
from pgdrill.settings import ROOT
from tests.alerts import actions
from tests.alerts import test_fires_and_resolves as live
from tests.alerts.scenarios import SCENARIOS, Exemption

ALERTS = ROOT / "infra" / "alerts"
RULE_FILES = sorted([*ALERTS.glob("*.yaml"), *ALERTS.glob("rules/*.yaml")])
TEST_FILES = sorted(ALERTS.glob("tests/*.yaml"))
RULE = "groups:\n  - name: a\n    rules:\n      - {}: X\n        expr: {}\n"


def _rules() -> dict[str, Mapping[str, Any]]:
    """Alert rules by name, from every rule file."""
    return rulefiles.alerts_of(rulefiles.groups(RULE_FILES))


def _repository() -> str:
    """Return the address of this repository."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return str(project["urls"]["Repository"])


def _tested(*, fires: bool) -> set[str]:
    """Alerts that promtool tests name in a story that fires, or in one that never does."""
    found = set()
    for file in TEST_FILES:
        for story in yaml.safe_load(file.read_text())["tests"]:
            cases = story.get("alert_rule_test", [])
            for name in {case["alertname"] for case in cases}:
                if fires == any(c["exp_alerts"] for c in cases if c["alertname"] == name):
                    found.add(name)
    return found


def _promtool(*arguments: str | Path) -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool is missing: apt-get install --no-install-recommends prometheus"
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_are_valid() -> None:
    """Every rule file is one that Prometheus accepts."""
    _promtool("check", "rules", *RULE_FILES)
    assert rulefiles.complaints(RULE_FILES, shutil.which("promtool")) == []


@pytest.mark.parametrize(
    ("written", "expected", "without"),
    [
        pytest.param("groups:\n  - name: a\n   rules:\n", "{}:3: expected", True, id="yaml"),
        pytest.param(RULE.format("alrt", "up == 1"), "{}: .* line 4: field alrt", False, id="key"),
        pytest.param(RULE.format("alert", "up{ == 1"), "{}: 5:.*parse error", False, id="query"),
    ],
)
def test_lint_names_file_and_line_of_a_broken_rule(
    tmp_path: Path, written: str, expected: str, without: bool
) -> None:
    """A rule file that Prometheus would refuse is refused, YAML even where promtool is missing."""
    broken = tmp_path / "broken.yaml"
    broken.write_text(written)
    files = [*RULE_FILES, broken]
    (said,) = rulefiles.complaints(files, shutil.which("promtool"))
    assert re.match(expected.format(re.escape(str(broken))), said), said
    assert bool(rulefiles.complaints(files, None)) == without


def test_make_lint_checks_every_rule_file() -> None:
    """`make lint` prints that promtool took the files, or in one line that it could not."""
    recipe = subprocess.run(
        ["make", "--dry-run", "--always-make", "lint"],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=True,
    ).stdout  # fmt: skip
    (line,) = [line for line in recipe.splitlines() if "rulefiles" in line]
    checked = {file for word in line.split()[3:] for file in ROOT.glob(word)}
    assert checked == set(RULE_FILES)
    command = [sys.executable, *line.split()[1:3], *map(str, RULE_FILES)]
    for path, words in ((os.environ["PATH"], "promtool takes all"), ("/", "promtool is missing")):
        environment = os.environ | {"PATH": path}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert words in done.stdout


@pytest.mark.parametrize("file", TEST_FILES, ids=lambda f: f.stem)
def test_rules_tell_stories_apart(file: Path) -> None:
    """Every alert fires in its story and stays quiet in the near miss."""
    _promtool("test", "rules", file)


def test_every_alert_is_tested_both_ways() -> None:
    """No alert lacks a story in which it fires, or one in which it does not."""
    assert _tested(fires=True) == set(_rules())
    assert _tested(fires=False) == set(_rules())


@pytest.mark.parametrize("name", sorted(_rules()))
def test_an_alert_explains_itself(name: str) -> None:
    """An alert has its severity, its meaning, and a runbook, in four sections."""
    rule = _rules()[name]
    severities = ("none",) if name == WATCHDOG else ("critical", "warning", "info")
    assert rule["labels"]["severity"] in severities
    assert "for" in rule or rule["labels"]["severity"] == "info"
    assert {"summary", "description", "runbook_url"} <= set(rule["annotations"])
    # The person who is paged has the page, and no checkout.
    assert (
        rule["annotations"]["runbook_url"] == f"{_repository()}/blob/main/docs/runbooks/{name}.md"
    )
    runbook = (ROOT / "docs" / "runbooks" / f"{name}.md").read_text()
    headings = re.findall(r"^## (.+)$", runbook, re.MULTILINE)
    assert headings == ["Meaning", "Impact", "Diagnosis", "Mitigation"]


@pytest.mark.parametrize("name", sorted(_rules()))
def test_an_alert_serves_every_engine(name: str) -> None:
    """Alerts read normalised series and our own load; only recording files are for one engine."""
    expression = _rules()[name]["expr"]
    assert not re.search(r"\b(patroni|cnpg|pg|node|up|kubelet)(_\w+)?\s*[{\[>=<*]", expression)
    assert re.search(r"\bpgdrill(:|_load_)", expression)


def test_the_operators_recordings_read_series_that_exist() -> None:
    """Every cnpg_pgdrill_* comes from a query that the chart hands in, every job from a target."""
    recordings = (ALERTS / "recording.cnpg.yaml").read_text()
    queries = [
        yaml.safe_load((ROOT / "infra" / file).read_text())
        for file in ("local/exporter-queries.yaml", "helm/postgres-cnpg/queries.yaml")
    ]
    given = {
        f"cnpg_{name}_{column}"
        for file in queries
        for name, query in file.items()
        for metric in query["metrics"]
        for column in metric
    }
    read = set(re.findall(r"cnpg_pgdrill_\w+", recordings)) - {"cnpg_pgdrill_"}
    assert read
    assert read <= given
    targets = (ROOT / "infra/helm/monitoring/templates/targets.yaml").read_text()
    jobs = set(re.findall(r'job="([\w-]+)"', recordings))
    assert jobs
    assert jobs <= set(re.findall(r"targetLabel: job, replacement: ([\w-]+)", targets))


def test_what_is_scraped_slowly_feeds_no_alert() -> None:
    """Slow targets are those whose pace does not count, and no alert reads what comes from them."""
    targets = (ROOT / "infra/helm/monitoring/templates/targets.yaml").read_text()
    monitors, own = targets.split("{{- range")
    slow = [part for part in monitors.split("---") if "slowScrapeInterval" in part]
    assert [re.findall(r"^  name: (\S+)", part, re.M) for part in slow] == [["kubelet"]]
    assert 'list "prometheus" "alertmanager"' in own
    assert "slowScrapeInterval" in own
    assert {"kubelet", "prometheus", "alertmanager"} == UNALERTED
    groups = yaml.safe_load((ALERTS / "recording.cnpg.yaml").read_text())["groups"]
    recorded = {rule["record"]: rule["expr"] for group in groups for rule in group["rules"]}
    from_kubelet = {name for name, expression in recorded.items() if "container_" in expression}
    assert from_kubelet
    read = " ".join(rule["expr"] for rule in _rules().values())
    reached = {name for name in recorded if name in read}
    while more := {n for n in recorded for r in reached if n in recorded[r]} - reached:
        reached |= more
    assert reached
    assert not reached & from_kubelet


def test_every_alert_has_a_live_scenario_or_a_reason() -> None:
    """The inventory of scenarios names exactly the alerts there are, and tests that exist."""
    assert set(SCENARIOS) == set(_rules())
    nothing = cast("actions.Scene", None)  # they are not played here
    expected = {one.name: one.alert for one in actions.scenarios(nothing)}
    for alert, scenario in SCENARIOS.items():
        if isinstance(scenario, Exemption):
            assert scenario.reason, f"{alert} is excused without a reason"
        else:
            name = scenario.removeprefix("test_")
            assert f'result_of("{name}")' in inspect.getsource(getattr(live, scenario))
            assert expected[name] == alert


def test_limits_of_the_live_scenarios_are_those_of_the_rules() -> None:
    """A scenario measures its condition against the threshold that the rule has."""
    assert _rules()["PgReplicationLagHigh"]["expr"].endswith(f"> {actions.LIMIT_LAG:g}")
    assert _rules()["PgCommitsWait"]["expr"].endswith(f"> {actions.LIMIT_WAIT:g}")
    assert _rules()["PgConnectionsNearLimit"]["expr"].endswith(f"> {actions.LIMIT_SHARE:.2f}")
    assert _rules()["PgVacuumHeldBack"]["expr"].endswith(f"> {actions.LIMIT_AGE:g}")
    assert _rules()["PgCrashLoop"]["expr"].endswith(f"> {actions.CRASHES - 1}")
    for alert in ("PgDiskFilling", "PgArchiveFilling"):
        assert _rules()[alert]["expr"].endswith(f"> {actions.LIMIT_DISK:.2f}")


def test_burn_is_measured_against_the_objective() -> None:
    """Both windows of a burn alert compare with a multiple of what the objective allows."""
    allowed = BAD_TRANSACTIONS.limit / 100
    for name, factor in (("PgSloBurnFast", 14.4), ("PgSloBurnSlow", 6)):
        limits = re.findall(r"> (\S+ \* \S+)", _rules()[name]["expr"])
        assert limits == [f"{factor:g} * {allowed:g}"] * 2
