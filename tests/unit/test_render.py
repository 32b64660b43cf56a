"""The embedded platform's configuration, rendered and read by the programs that will use it."""

import configparser
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from pgdrill.platforms.local.layout import MEMBERS, RESTORED, ROLES, Layout
from pgdrill.settings import ROOT

TEMPLATES = ROOT / "infra/local/templates"
SECRETS = {role: f"secret-of-{role}" for role in ROLES}


@pytest.fixture
def rendered(tmp_path: Path) -> Path:
    """A directory with every template rendered, as the playbook would."""
    variables: dict[str, Any] = _variables(tmp_path)
    environment = _environment()
    etc = tmp_path / "etc"
    (etc / "rules").mkdir(parents=True)
    for template in TEMPLATES.glob("*.j2"):
        (etc / template.stem).write_text(environment.get_template(template.name).render(variables))
    for rule in variables["pgdrill_rule_sources"]:
        (etc / "rules" / Path(rule).name).write_text(Path(rule).read_text())
    return etc


def _variables(state: Path) -> dict[str, Any]:
    return Layout(str(state), 20_000, True, "postgres", SECRETS).variables()


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )


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


def test_what_is_restored_is_a_cluster_of_its_own(tmp_path: Path) -> None:
    """Restored members have a scope of their own, come from the archive, and do not write to it."""
    variables = _variables(tmp_path) | {"pgdrill_restore": "pgbackrest restore"}
    environment = _environment()
    for member in variables["pgdrill_restored"]:
        text = environment.get_template("patroni.yml.j2").render(variables, item=member)
        read = yaml.safe_load(text)
        postgresql = read["bootstrap"]["dcs"]["postgresql"]
        assert read["scope"] == "restored"
        assert read["bootstrap"]["restore"]["command"] == "pgbackrest restore"
        assert postgresql["parameters"]["archive_mode"] == "off"
        assert "recovery_conf" not in postgresql
        assert member["name"] in read["postgresql"]["parameters"]["unix_socket_directories"]
    (tmp_path / "haproxy.cfg").write_text(
        environment.get_template("haproxy.cfg.j2").render(variables)
    )
    _accepts(["/usr/sbin/haproxy", "-c", "-f", tmp_path / "haproxy.cfg"])
    said = (tmp_path / "haproxy.cfg").read_text()
    assert all(f"server {name} {address}:" in said for name, address in RESTORED.items())
    assert not any(f"server {name} " in said for name in MEMBERS)
