"""A prober in a pod: the same prober to its caller, on this machine's clock, or an error."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pgdrill import __version__
from pgdrill.attempt_log import AttemptLog, Lane, Outcome, load, put_back
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.kubernetes.jobs import Clock
from pgdrill.platforms.kubernetes.probe_job import FILES, STAY, Order, digest, objects
from pgdrill.platforms.kubernetes.probe_pod import between, configured
from pgdrill.records import ProberPod, read
from pgdrill.settings import PACKAGE
from pgdrill.waiting import eventually, pause
from pgdrill.workload.ledger import create_table, read_ids, reconcile
from pgdrill.workload.pgbench_program import Launch
from pgdrill.workload.prober import Prober, pod_file
from tests.kubernetes_api import place_of
from tests.unit.conftest import ScratchPostgres
from tests.unit.prober_elsewhere import AHEAD

pytestmark = pytest.mark.unit

TABLE = "inside"
PLACE = place_of(image="registry.example/prober:1")


def _lanes(conninfo: str) -> list[Lane]:
    return [Lane("fresh", "fresh", conninfo, 20), Lane("held", "held", conninfo, 50, sessions=4)]


@pytest.fixture
def address(scratch_postgres: ScratchPostgres) -> str:
    """A database with an empty ledger."""
    conninfo = scratch_postgres.database("inside")
    create_table(conninfo, TABLE)
    return conninfo


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The directory that the pod would write to; `job` is there while the Job is."""
    directory = tmp_path / "work"
    directory.mkdir()
    return directory


def _carried(conninfo: str, work: Path, **more: str) -> Launch:
    order = Order(place=PLACE, job="pgdrill-prober-1", target=conninfo, files={})
    return Launch(
        (sys.executable, "-m", "tests.unit.prober_elsewhere", order.model_dump_json()),
        os.environ | {"PYTHONPATH": str(PACKAGE.parent), "PROBER_WORK": str(work)} | more,
    )


def test_a_prober_elsewhere_is_the_prober_to_its_caller(
    address: str, tmp_path: Path, work: Path
) -> None:
    """It acknowledges, answers, ends; every attempt is here, with instants of this machine."""
    unreachable = _lanes("host=192.0.2.1 user=nobody")  # an address that only this machine has
    began = time.monotonic()
    with Prober(unreachable, TABLE, tmp_path, launch=_carried(address, work)) as prober:
        assert (work / "job").exists()
        prober.wait_for_acks(20, within=20)
        assert set(prober.acks()) == {"fresh", "held"}
    assert not (work / "job").exists()
    attempts = prober.result()
    assert began < attempts.rows["due"].min() / 1e9 < attempts.rows["ended"].max() / 1e9
    assert attempts.rows["ended"].max() / 1e9 < time.monotonic()
    assert attempts.of(Outcome.ACKED).size == attempts.rows.size > 40
    count = reconcile(attempts, read_ids(address, TABLE))
    assert (count.acked_lost, count.refused_present, count.duplicate) == (0, 0, 0)
    found = read(pod_file(prober.file), ProberPod)
    assert found
    assert (found.pod, found.node) == ("pgdrill-prober-1", "n1")
    assert abs(found.clock_ahead_ms - AHEAD * 1e3) <= found.clock_bound_ms < 100


def test_a_prober_that_is_gone_is_an_error(address: str, tmp_path: Path, work: Path) -> None:
    """Its attempts are not known, so nothing is green; its Job is removed."""
    with Prober(_lanes(address), TABLE, tmp_path, launch=_carried(address, work)) as prober:
        os.kill(int((work / "pid").read_text()), signal.SIGKILL)
        pause(0.5)
    with pytest.raises(BrokenEnvironmentError, match=r"^the prober inside is lost: its session"):
        prober.result()
    assert not (work / "job").exists()


def test_a_pod_that_ended_gives_its_own_reason(address: str, tmp_path: Path, work: Path) -> None:
    """Not that of the session that was cut off with it."""
    launch = _carried(address, work, PROBER_ENDED="pod p of image i: Error it has no prober")
    with Prober(_lanes(address), TABLE, tmp_path, launch=launch) as prober:
        os.kill(int((work / "pid").read_text()), signal.SIGKILL)
        pause(0.5)
    words = "^the prober inside is lost: pod p of image i: Error it has no prober; --prober-image"
    with pytest.raises(BrokenEnvironmentError, match=words):
        prober.result()


def test_a_refused_pod_is_one_line(address: str, tmp_path: Path, work: Path) -> None:
    """The reason of what makes pods is the whole error, and the Job is removed."""
    refused = "pod p: ErrImagePull not found"
    prober = Prober(
        _lanes(address), TABLE, tmp_path, launch=_carried(address, work, PROBER_REFUSED=refused)
    )
    with pytest.raises(BrokenEnvironmentError, match=f"^the prober inside is lost: {refused}$"):
        prober.__enter__()
    assert not (work / "job").exists()


def test_an_interrupted_run_leaves_no_job(address: str, tmp_path: Path, work: Path) -> None:
    """Ctrl-C ends the program that carries it by SIGTERM: it removes the Job first."""
    prober = Prober(_lanes(address), TABLE, tmp_path, launch=_carried(address, work))
    with pytest.raises(KeyboardInterrupt), prober:
        raise KeyboardInterrupt
    assert not (work / "job").exists()


def test_a_killed_run_leaves_no_job(address: str, tmp_path: Path, work: Path) -> None:
    """The program that carries it lives on until it has removed the Job."""
    prober = Prober(_lanes(address), TABLE, tmp_path, launch=_carried(address, work))
    with prober:
        assert prober._process is not None
        assert prober._process.stdin is not None
        prober._process.stdin.close()  # as the kernel closes it for a parent that was killed
        eventually("no Job", lambda: not (work / "job").exists(), within=20)


def test_a_killed_carrier_is_cleaned_up_after(address: str, tmp_path: Path, work: Path) -> None:
    """What it left is removed from here."""
    launch = replace(_carried(address, work), end=lambda: (work / "job").unlink())
    prober = Prober(_lanes(address), TABLE, tmp_path, launch=launch)
    with prober:
        assert prober._process is not None
        prober._process.kill()
        prober._process.wait(10)
    assert not (work / "job").exists()


def test_no_secret_is_outside_of_the_secret() -> None:
    """Neither in the Job nor in what the prober is told; the pod is as strict as a load's."""
    order = Order(place=PLACE, job="pgdrill-prober-1", target="host=pg-rw", files={})
    made = objects(order, "hidden")
    assert made["secret"]["stringData"] == {"password": "hidden"}
    assert "hidden" not in str(made["job"])
    pod = made["job"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod["containers"][0]["image"] == PLACE.image
    assert "configMap" not in str(pod)
    assert made["job"]["metadata"]["labels"]["pgdrill.io/load"] == "pg"
    lane = {"name": "fresh", "conninfo": "host=10.0.0.1 passfile=/home/me/.pgpass"}
    told = json.loads(configured({"lanes": [lane], "table": "t", "file": "/here"}, order.target))
    assert told["lanes"] == [{"name": "fresh", "conninfo": "host=pg-rw"}]
    assert told["file"] == "/work/attempts.npz"


def test_the_digest_is_of_all_that_the_prober_loads() -> None:
    """A change of any of its modules makes an image another version."""
    code = (
        "import sys, pgdrill.workload.probe_loop\n"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('pgdrill')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    loaded = {str(Path(file).relative_to(PACKAGE)) for file in done.stdout.split()}
    assert loaded - {"workload/__init__.py"} == set(FILES)


def _stay(*arguments: str, python: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *python, "-c", STAY, *arguments],
        cwd="/",
        env={"PYTHONPATH": str(PACKAGE.parent)},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_an_image_of_this_version_stays() -> None:
    """And is ended by a signal."""
    with _stay(__version__, digest(), *FILES) as staying:
        with pytest.raises(subprocess.TimeoutExpired):
            staying.wait(2)
        staying.kill()


OTHER = f"its prober differs from this machine's: pgdrill {__version__} there, 9 here"
NONE = "it has no prober of pgdrill: No module named 'pgdrill'"


@pytest.mark.parametrize(
    ("words", "python"),
    [pytest.param(OTHER, (), id="other"), pytest.param(NONE, ("-I",), id="none")],
)
def test_another_image_is_refused(words: str, python: tuple[str, ...]) -> None:
    """Another version, also one of the same number; and one without pgdrill."""
    with _stay("9", "0" * 64, *FILES, python=python) as refused:
        try:
            _, errors = refused.communicate(timeout=20)
        finally:
            refused.kill()
    assert (refused.returncode, errors.strip()) == (1, words)


def test_a_clock_is_known_from_start_to_end() -> None:
    """What it was off by at both looks is inside the bound; one too wide is refused."""
    found = between(Clock(5.0, 0.01), Clock(5.04, 0.02))
    assert found.offset == pytest.approx(5.025)
    assert found.bound == pytest.approx(0.035)
    with pytest.raises(BrokenEnvironmentError, match=r"\+- 110 ms.*wrong by 100 ms"):
        between(Clock(5.0, 0.01), Clock(5.2, 0.01))


def test_what_never_happened_stays_so_on_another_clock(tmp_path: Path) -> None:
    """An attempt that was never sent has no instant of it, whatever the clock."""
    log = AttemptLog([Lane("fresh", "fresh", "", 1)], 2.0)
    second = 10**9
    log.add(1, 0, (5 * second, 6 * second, 0, 7 * second), Outcome.REFUSED, "deadline, never sent")
    log.save(tmp_path / "a.npz")
    put_back(tmp_path / "a.npz", 2.0)
    rows, meta = load(tmp_path / "a.npz")
    instants = [int(rows[0][name]) for name in ("due", "started", "sent", "ended")]
    assert instants == [3 * second, 4 * second, 0, 5 * second]
    assert meta["reasons"][int(rows[0]["reason"])] == "deadline, never sent"
    assert np.array_equal(rows["id"], [1])
