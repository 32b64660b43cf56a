"""An existing Patroni cluster, for which the local one stands: drilled, and left as it was."""

import re
import sys
from pathlib import Path
from typing import Any

import requests

from pgdrill.platforms.base import wait_healthy
from pgdrill.platforms.local import LocalPlatform
from pgdrill.platforms.local.layout import MEMBERS
from pgdrill.records import Detection, Trial, Verdict
from pgdrill.rundir import Records, RunDir
from pgdrill.settings import ROOT
from tests.badinput.commands import Installation, run
from tests.badinput.conftest import Running

SEES = "PgFailoverHappened"  # an alert of local, which stands for one of theirs
HEALS = 90.0  # seconds to be redundant again
# Whatever of a database a drill could have left changed, on whichever member it is looked up.
_OBJECTS = """
SELECT 'schema', nspname::text, nspowner::regrole::text FROM pg_namespace
  WHERE nspname NOT LIKE 'pg\\_%'
UNION ALL SELECT 'relation', oid::regclass::text, relfilenode::text FROM pg_class
  WHERE oid >= 16384 AND relnamespace <> 'pg_toast'::regnamespace
UNION ALL SELECT 'role', rolname, rolconfig::text FROM pg_roles
UNION ALL SELECT 'slot', slot_name, plugin FROM pg_replication_slots WHERE slot_type = 'logical'
ORDER BY 1, 2
"""


def _theirs(platform: LocalPlatform) -> tuple[Any, Any, list[str]]:
    """Return the objects of the database, Patroni's configuration, and its members."""
    with platform.cluster().connect() as session:
        objects = session.execute(_OBJECTS).fetchall()
    url = f"http://{platform.layout.member_endpoint(next(iter(MEMBERS)), 'rest')}"
    listed = requests.get(f"{url}/cluster", timeout=5).json()["members"]
    configuration = requests.get(f"{url}/config", timeout=5).json()
    return objects, configuration, sorted(member["name"] for member in listed)


def test_somebody_s_cluster_is_drilled_and_left_as_it_was(running: Running, tmp_path: Path) -> None:
    """A newcomer's settings by `init`, smoke, a switchover that their own alert has to see, and a
    standby that is frozen by a shell on its machine.

    All that moved is the primary.
    """
    local = running.platform
    wait_healthy(local.engine, within=HEALS)
    before, leads = _theirs(local), local.engine.primary()
    # One address of three: the others are those that it lists.
    url = f"http://{local.layout.member_endpoint(next(iter(MEMBERS)), 'rest')}"
    at, passfile = local.layout.endpoint("rw"), running.installation.state / "etc" / "passfile"
    dsn = f"host={at.host} port={at.port} dbname=shop user=pgdrill passfile={passfile}"
    newcomer = Installation(tmp_path / "state", tmp_path / "reports", {"PGDRILL_PLATFORM": ""})
    newcomer.pgdrill(
        "init", f"--patroni={url}", f"--dsn={dsn}", cwd=tmp_path, within=HEALS
    ).succeeds()
    with (tmp_path / "pgdrill.toml").open("a") as settings:  # its last table is that of the alerts
        settings.write(f'switchover = "{SEES}"\n')
    tests = [str(ROOT / "tests" / "smoke" / "test_topology.py"), str(ROOT / "tests" / "chaos")]
    faults = "test_fault and (switchover or standby_freeze)"
    picked = ["-k", f"topology or {faults}", "--level=node", "--ssh=local"]
    picked += ["--profile=laptop", "--trials=1"]
    picked += [f"--prometheus-url={local.prometheus_url}"]
    picked += [f"--alertmanager-url={local.alertmanager_url}"]
    command = [sys.executable, "-m", "pytest", f"--rootdir={ROOT}", *tests, *picked]
    confirmed = [*command, "--yes-break=pgdrill"]
    drilled = run(confirmed, within=3 * HEALS, env=newcomer.environment(), cwd=tmp_path)
    assert "cluster pgdrill" in drilled.output
    assert "BROKEN" in drilled.output
    (made,) = newcomer.runs()
    records = Records(RunDir(made))
    # Seconds are judged by the chaos suite of `local`, where nothing else runs; all else, here.
    wrong = [v for v in records.all(Verdict) if v.outcome != "met"]
    assert all(v.outcome == "broken" and v.budget.unit == "s" for v in wrong), drilled.output
    assert drilled.code == (1 if wrong else 0), drilled.output
    assert not re.search(r"FAILED \S*test_topology", drilled.output), drilled.output
    trials = {trial.experiment: trial for trial in records.all(Trial)}
    assert trials.keys() == {"switchover", "standby_freeze"}
    assert all(t.tuning == "loop-wait-1" and t.verified for t in trials.values())
    trial = trials["switchover"]
    assert trial.timeline_after > trial.timeline_before
    noticed = next(one for one in records.all(Detection) if one.expected)
    assert noticed.expected == (SEES,)
    assert noticed.arrived(SEES) is not None, drilled.output
    assert local.engine.primary().name != leads.name
    assert _theirs(local) == before
    assert not [file for file in newcomer.state.rglob("*") if file.is_file()]
