"""The probe that opens new sessions, against a real server."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import requests

from pgdrill.settings import ROOT
from pgdrill.waiting import eventually
from tests.servers import free_port
from tests.unit.conftest import ScratchPostgres

PROBE = ROOT / "infra/local/session-probe.py"
WITHIN = 10.0  # seconds; a new session takes milliseconds


@contextmanager
def _probing(way_in: int, member: int) -> Iterator[str]:
    """Run the probe as supervisor does; yield its address."""
    at = f"127.0.0.1:{free_port()}"
    addresses = (f"127.0.0.1:{way_in}", f"pg1=127.0.0.1:{member}")
    environment = os.environ | {"PGUSER": "postgres", "PGDATABASE": "postgres"}
    command = [sys.executable, str(PROBE), at, *addresses]
    with subprocess.Popen(command, env=environment) as running:
        try:
            yield f"http://{at}/metrics"
        finally:
            running.kill()


def _seen(url: str) -> str:
    try:
        # As long as Prometheus waits (infra/local/templates/prometheus.yml.j2).
        return requests.get(url, timeout=1.5).text
    except requests.ConnectionError:
        return ""


def _comes(url: str, opens: int, writable: int) -> None:
    wanted = f'pgdrill_way_in_writable {writable}\npgdrill_session_opens{{member="pg1"}} {opens}\n'
    eventually("what is tried", lambda: _seen(url), lambda text: text == wanted, within=WITHIN)


def test_a_postmaster_that_hangs_lets_nobody_in(scratch_postgres: ScratchPostgres) -> None:
    """A new session gets in, not while the postmaster hangs, and again when it goes on."""
    postmaster = scratch_postgres.pid()
    with _probing(scratch_postgres.port, scratch_postgres.port) as url:
        _comes(url, 1, 1)
        os.kill(postmaster, signal.SIGSTOP)
        try:
            _comes(url, 0, 0)
        finally:
            os.kill(postmaster, signal.SIGCONT)
        _comes(url, 1, 1)


def test_a_way_in_that_refuses_is_told_from_its_member(scratch_postgres: ScratchPostgres) -> None:
    """Without a server nothing can be written, whatever the member does."""
    with _probing(free_port(), scratch_postgres.port) as url:
        _comes(url, 1, 0)


def test_it_answers_before_prometheus_gives_it_up() -> None:
    """What hangs is told as such, and does not make the probe look dead."""
    config = (ROOT / "infra/local/templates/prometheus.yml.j2").read_text()
    (limit,) = re.findall(r"scrape_timeout: (\d+)ms", config)
    (within,) = re.findall(r"^ANSWER_WITHIN = (\S+)", PROBE.read_text(), re.M)
    assert float(within) * 1000 < int(limit)
