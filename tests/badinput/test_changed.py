"""Settings that were changed in the files are in force after `up`, and so are those put back."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import requests

from pgdrill.settings import ROOT
from tests.badinput.commands import Outcome, run
from tests.badinput.conftest import UP, Running

# file, its text, the text that replaces it
CHANGES = (
    ("infra/alerts/rules/availability.yaml", "for: 8s", "for: 7s"),
    ("infra/local/templates/haproxy.cfg.j2", "maxconn 2000", "maxconn 1900"),
    ("infra/local/templates/patroni.yml.j2", "retry_interval: 500ms", "retry_interval: 700ms"),
    ("infra/local/templates/patroni.yml.j2", "shared_buffers: 192MB", "shared_buffers: 160MB"),
)

MAXCONN = "haproxy_process_max_connections"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of this checkout, with other settings in its files."""
    copy = tmp_path / "check out"
    shutil.copytree(
        ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "reports", ".*_cache")
    )
    (copy / ".venv").symlink_to(ROOT / ".venv")
    for name, before, after in CHANGES:
        file = copy / name
        text = file.read_text()
        assert before in text, f"{name} does not say '{before}'"
        file.write_text(text.replace(before, after))
    return copy


def test_up_puts_changed_settings_into_force(running: Running, checkout: Path) -> None:
    """A rule, a line of the balancer and settings of Patroni: reloaded, then put back."""
    before = _in_force(running)
    try:
        changed = _up(running, checkout).output
        there = _in_force(running)
    finally:
        _up(running, ROOT)
    assert {"7", "1900", "700ms", "160MB"} == set(there.values())
    for program in ("prometheus", "haproxy", "patroni"):
        assert f"changed: {program}" in changed, changed
    assert _in_force(running) == before
    assert "changed:" not in _up(running, ROOT).output


def _up(running: Running, checkout: Path) -> Outcome:
    environment = running.installation.environment() | {"PYTHONPATH": str(checkout)}
    command = [str(ROOT / ".venv/bin/python"), "-m", "pgdrill", "up"]
    return run(command, within=UP, env=environment, cwd=checkout).succeeds()


def _in_force(running: Running) -> dict[str, str]:
    """Return the value that the process itself reports for each."""
    platform = running.platform
    groups = _json(f"{platform.prometheus_url}/api/v1/rules")["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"] if rule["type"] == "alerting"]
    balancer = f"http://{platform.layout.endpoint('haproxy_stats')}/metrics"
    said = requests.get(balancer, timeout=5).text.splitlines()
    (limit,) = [one.split()[1] for one in said if one.startswith(f"{MAXCONN} ")]
    found = {
        "for": f"{next(r['duration'] for r in rules if r['name'] == 'PgMemberDown'):g}",
        "maxconn": f"{float(limit):g}",
    }
    cluster = platform.cluster()
    for member, at in cluster.members.items():
        with cluster.connect(at) as session:
            for setting in ("wal_retrieve_retry_interval", "shared_buffers"):
                row = session.execute(f"SHOW {setting}").fetchone()
                found[f"{member} {setting}"] = str(row[0]) if row else "?"
    return found


def _json(url: str) -> Any:  # noqa: ANN401  # JSON
    return requests.get(url, timeout=5).json()
