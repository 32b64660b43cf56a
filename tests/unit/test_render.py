"""The embedded platform's configuration, rendered and read by the programs that will use it."""

import configparser
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from pgdrill.platforms.local.layout import MEMBERS, Layout
from pgdrill.settings import ROOT

TEMPLATES = ROOT / "infra/local/templates"
SECRETS = {role: f"secret-of-{role}" for role in ("superuser", "replication", "rewind")} | {
    role: f"secret-of-{role}" for role in ("pgdrill", "exporter")
}


@pytest.fixture
def rendered(tmp_path: Path) -> Path:
    """A directory with every template rendered, as the playbook would."""
    layout = Layout(str(tmp_path), 20_000, True, "postgres", SECRETS)
    variables: dict[str, Any] = layout.variables()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    etc = tmp_path / "etc"
    (etc / "rules").mkdir(parents=True)
    for template in TEMPLATES.glob("*.j2"):
        (etc / template.stem).write_text(environment.get_template(template.name).render(variables))
    for rule in variables["pgdrill_rule_sources"]:
        (etc / "rules" / Path(rule).name).write_text(Path(rule).read_text())
    return etc


def _accepts(command: Sequence[str | Path]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr


def test_haproxy_accepts_its_configuration(rendered: Path) -> None:
    """HAProxy takes the load balancer's configuration."""
    _accepts(["/usr/sbin/haproxy", "-c", "-f", rendered / "haproxy.cfg"])


def test_prometheus_accepts_its_configuration(rendered: Path) -> None:
    """Prometheus takes its configuration and every rule file that it names."""
    _accepts(["/usr/bin/promtool", "check", "config", rendered / "prometheus.yml"])


def test_supervisor_keeps_every_process(rendered: Path) -> None:
    """Supervisor has a program for each member's Patroni and exporter, and for the rest."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(rendered / "supervisord.conf")
    programs = {name.removeprefix("program:") for name in config.sections() if ":" in name}
    expected = {"etcd", "haproxy", "prometheus", "alertmanager", "pushgateway"}
    expected |= {f"{kind}-{member}" for kind in ("patroni", "exporter") for member in MEMBERS}
    assert expected <= programs
    assert all("secret" not in config[s].get("command", "") for s in config.sections())


def test_the_lease_leaves_time_to_retry(rendered: Path) -> None:
    """Patroni's own rule holds: loop_wait + 2 x retry_timeout <= ttl, else leaders flap."""
    dcs = yaml.safe_load((rendered / "patroni.yml").read_text())["bootstrap"]["dcs"]
    assert dcs["loop_wait"] + 2 * dcs["retry_timeout"] <= dcs["ttl"]
    assert dcs["synchronous_mode"] == "quorum"
    assert dcs["synchronous_mode_strict"] is True
