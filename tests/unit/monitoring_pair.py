"""A real Prometheus and a real Alertmanager, whose alerts come when a test says so."""

import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests
import yaml

from pgdrill.observe.alerts import Expectation
from pgdrill.observe.deadman import WATCHDOG
from pgdrill.waiting import eventually
from tests.servers import free_port

WITHIN = 15.0  # seconds; on an idle machine every stage comes within one
ALERTS = ("Brief", "Muted", "Loud", "Told")


@dataclass(frozen=True)
class Monitoring:
    """Addresses of the pair, and the names of the conditions that are true."""

    prometheus: str
    alertmanager: str
    conditions: set[str]

    @contextmanager
    def condition(self, name: str) -> Iterator[Expectation]:
        """Make the condition of an alert true for the time of the block."""
        self.conditions.add(name)
        try:
            yield Expectation(name)
        finally:
            self.conditions.discard(name)


@contextmanager
def _target(conditions: set[str]) -> Iterator[str]:
    """Serve one metric for each alert to Prometheus; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            for name in ALERTS:
                self.wfile.write(f'condition{{name="{name}"}} {int(name in conditions)}\n'.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _rule(name: str, expression: str) -> dict[str, object]:
    severity = {"Told": "info", WATCHDOG: "none"}.get(name, "warning")
    return {"alert": name, "expr": expression, "for": "200ms", "labels": {"severity": severity}}


@contextmanager
def programs(at: Path, commands: Mapping[str, Sequence[str]]) -> Iterator[None]:
    """Run programs of Prometheus's, by address, for the time of the block; each is ready in it."""
    with ExitStack() as stack:
        log = stack.enter_context((at / "log").open("w"))
        for command in commands.values():
            process = stack.enter_context(subprocess.Popen(command, stdout=log, stderr=log))
            stack.callback(process.kill)
        for address in commands:
            url = f"http://{address}/-/ready"
            eventually(url, partial(_answers, url), within=WITHIN, every=0.05)
        yield


@contextmanager
def running(at: Path) -> Iterator[Monitoring]:
    """Run a Prometheus with one live and one dead target, and an Alertmanager, both in haste."""
    for program in ("prometheus", "prometheus-alertmanager"):
        assert shutil.which(program), f"missing: apt-get install --no-install-recommends {program}"
    conditions: set[str] = set()
    with _target(conditions) as target:
        yield from _pair(at, target, conditions)


def _pair(at: Path, target: str, conditions: set[str]) -> Iterator[Monitoring]:
    prometheus, alertmanager, webhook, dead = (f"127.0.0.1:{free_port()}" for _ in range(4))
    rules = [_rule(name, f'condition{{name="{name}"}} > 0') for name in ALERTS]
    rules.append(_rule(WATCHDOG, "vector(1)"))
    rules.append(_rule("Bound", "changes(up[30s]) > 1000"))
    rules.append(_rule("Pushed", "rate(pgdrill_load_transactions_total[15s]) > 1000"))
    (at / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "unit", "rules": rules}]}))
    config = {
        "global": {"scrape_interval": "250ms", "evaluation_interval": "200ms"}
        | {"scrape_timeout": "250ms"},
        "rule_files": [str(at / "rules.yaml")],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [where]}]}
            for job, where in (("alive", target), ("dead", dead))
        ],
    }
    (at / "prometheus.yml").write_text(yaml.safe_dump(config))
    route: dict[str, object] = {"receiver": f"{webhook}/pager", "group_by": ["alertname"]}
    route |= {"group_wait": "100ms", "group_interval": "200ms"}
    route["routes"] = [
        {"receiver": f"{webhook}/log", "matchers": ['severity = "info"']},
        {"receiver": f"{webhook}/watchdog", "matchers": ['severity = "none"']}
        | {"repeat_interval": "1ms"},
    ]
    receivers = [
        {"name": f"{webhook}/{name}", "webhook_configs": [{"url": f"http://{webhook}/{name}"}]}
        for name in ("pager", "log", "watchdog")
    ]
    (at / "alertmanager.yml").write_text(yaml.safe_dump({"route": route, "receivers": receivers}))
    commands = {
        prometheus: [
            "prometheus",
            f"--config.file={at}/prometheus.yml",
            f"--storage.tsdb.path={at}/tsdb",
            f"--web.listen-address={prometheus}",
            "--rules.alert.resend-delay=5s",
        ],
        alertmanager: [
            "prometheus-alertmanager",
            f"--config.file={at}/alertmanager.yml",
            f"--storage.path={at}/alertmanager",
            f"--web.listen-address={alertmanager}",
            "--cluster.listen-address=",
        ],
    }
    with programs(at, commands):
        # Prometheus hands a discovered Alertmanager to its notifier after up to 5 s.
        found = f"http://{prometheus}/api/v1/alertmanagers"
        eventually(
            "Prometheus knows its Alertmanager",
            lambda: requests.get(found, timeout=5).json()["data"]["activeAlertmanagers"],
            within=WITHIN,
            every=0.1,
        )
        yield Monitoring(f"http://{prometheus}", f"http://{alertmanager}", conditions)


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=1).ok
    except requests.RequestException:
        return False
