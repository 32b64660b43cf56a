"""A user's shell: proxies, libpq's variables, file mode, locale. None of it reaches a drill."""

import json
import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from pgdrill.settings import Settings, cache_dir
from tests.badinput.commands import Installation
from tests.badinput.conftest import UP

HOSTILE: Mapping[str, str] = {
    # An address without a listener: everything through it fails.
    "http_proxy": "http://127.0.0.1:9",
    "no_proxy": "localhost,127.0.0.1",
    "NO_PROXY": "localhost,127.0.0.1",
    "PGPASSWORD": "another",
    "PGSSLMODE": "require",
    "PGHOST": "nowhere.example",
    "PGOPTIONS": "-c synchronous_commit=off -c default_transaction_read_only=on",
    "LC_ALL": "de_DE.ISO-8859-1",
    "LANG": "de_DE.ISO-8859-1",
    "TERM": "dumb",
    "TZ": "Asia/Kathmandu",
}


@pytest.fixture
def hostile(fresh: Installation, tmp_path: Path) -> Installation:
    """An installation whose commands run in such a shell, with a home that libpq must not read."""
    home = tmp_path / "home"
    (home / ".postgresql").mkdir(parents=True)
    for name in ("postgresql.crt", "postgresql.key"):
        (home / ".postgresql" / name).write_text("nobody's")
    (home / ".pgpass").write_text("*:*:*:*:another\n")
    (home / ".pgpass").chmod(0o600)
    (home / ".pg_service.conf").write_text("[x]\nhost=nowhere.example\n")
    places = {"HOME": str(home), "PGDRILL_CACHE_DIR": str(cache_dir())}
    return Installation(fresh.state, fresh.reports, {**HOSTILE, **places})


def _make_locale(name: str) -> None:
    """Make a locale that Debian leaves out; where that cannot be done it is an unknown one."""
    with suppress(OSError):
        command = ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", name]
        subprocess.run(command, capture_output=True, timeout=60)


def test_a_drill_in_a_strangers_shell(hostile: Installation, pgdrill_settings: Settings) -> None:
    """Up, seeded, asked and drilled with a killed primary: every promise kept, no row lost."""
    _make_locale(HOSTILE["LC_ALL"])
    slow = ["--slow"] if pgdrill_settings.slow else []
    mask = os.umask(0o077)
    try:
        hostile.pgdrill("up", within=UP).succeeds()
        hostile.pgdrill("seed", "--rows=2000").succeeds()
        told = json.loads(hostile.pgdrill("status", "--json").succeeds().output)
        drilled = hostile.pytest(
            "-m", "smoke or chaos", "--profile=quick", "--rows=2000", "-k",
            "test_topology or (primary_kill and not defaults)", *slow, within=240,
        )  # fmt: skip
    finally:
        os.umask(mask)
    drilled.succeeds()
    assert told["up"], told
    assert "acked-lost 0" in drilled.output
    (run,) = hostile.runs()
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "≤" in page
    assert run.stat().st_mode & 0o777 == 0o755
