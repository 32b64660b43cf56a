"""A load on several workers: its parts together are the load that was asked for."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.kubernetes.jobs import Clock, Pod, inside, seen
from pgdrill.platforms.kubernetes.load_arguments import (
    Progress,
    log_prefix,
    renumbered,
    split,
    summed,
    workers_for,
)
from pgdrill.platforms.kubernetes.load_job import Order, objects
from pgdrill.platforms.kubernetes.load_workers import _demand_one_time
from pgdrill.waiting import eventually
from pgdrill.workload.pgbench_process import SCRIPTS
from pgdrill.workload.pgbench_program import with_its_parent
from tests.kubernetes_api import CORE, NAMESPACE, KubernetesApi, listed, place_of

pytestmark = pytest.mark.unit

ASKED = (
    "--client=16", "--jobs=2", "--time=30", "--random-seed=42", "--progress=1",
    "--file=/some where/tpcb.sql@5", "--rate=300.0", "--log", "--log-prefix=/run/pgbench_log",
)  # fmt: skip
PLACE = place_of(pull_secrets=("pull",), workers=3)


def _order(**changed: Any) -> Order:  # noqa: ANN401  # fields differ in type
    fields = {"job": "pgdrill-load-1", "target": "host=pg-rw", "files": {}, "reads": str(SCRIPTS)}
    return Order(place=PLACE, arguments=ASKED, **fields | changed)


def _given(arguments: tuple[str, ...]) -> dict[str, str]:
    return dict(a.partition("=")[::2] for a in arguments)


@given(clients=st.integers(1, 200), wanted=st.integers(1, 20), rate=st.floats(1, 1e5))
def test_the_parts_are_the_whole(clients: int, wanted: int, rate: float) -> None:
    """Clients and rate add up, no seed is used twice, and each client has one number of its own."""
    asked = (f"--client={clients}", f"--rate={rate}", "--random-seed=7")
    parts = split(asked, workers_for(asked, wanted))
    given_to = [_given(part.arguments) for part in parts]
    assert len(parts) == min(clients, wanted)
    assert sum(int(one["--client"]) for one in given_to) == clients
    assert sum(float(one["--rate"]) for one in given_to) == pytest.approx(rate, rel=1e-4)
    assert len({one["--random-seed"] for one in given_to}) == len(parts)
    numbers = [
        n for part in parts for n in range(part.first_client, part.first_client + part.clients)
    ]
    assert numbers == list(range(clients))


def test_a_worker_has_its_own_paths() -> None:
    """The scripts and the log are where a pod has them; what is nobody's in particular stays."""
    first, second = split(ASKED, 2)
    assert _given(first.arguments) == {
        "--client": "8", "--jobs": "1", "--time": "30", "--random-seed": "42", "--progress": "1",
        "--file": "/load/tpcb.sql@5", "--rate": "150", "--log": "", "--log-prefix": "/work/log",
    }  # fmt: skip
    assert _given(second.arguments)["--random-seed"] != "42"
    assert log_prefix(ASKED) == "/run/pgbench_log"


def test_what_is_no_load_has_one_worker() -> None:
    """The making of the tables cannot be divided."""
    arguments = ("--initialize", "--scale=16")
    assert workers_for(arguments, 3) == 1
    assert split(arguments, 1)[0].arguments == arguments


def test_figures_are_summed_up() -> None:
    """The first lines are sums over all workers; a figure that one of them lacks has none."""
    texts = [
        "number of transactions actually processed: 100\ntps = 10.5 (without initial time)\n",
        "number of transactions actually processed: 50\ntps = 5.25 (without initial time)\n",
    ]
    assert summed(texts).startswith("number of transactions actually processed: 150\ntps = 15.75\n")
    assert not summed([*texts, "pgbench: error"]).startswith("number")


def test_progress_is_that_of_all() -> None:
    """A second is reported once, when all workers have: rates add up, latency is their mean."""
    progress = Progress(2)
    assert progress.line("progress: 1.0 s, 30.0 tps, lat 2.000 ms stddev 1") is None
    assert progress.line("progress: 2.0 s, 40.0 tps, lat 2.000 ms stddev 1") is None
    found = progress.line("progress: 1.0 s, 10.0 tps, lat 6.000 ms stddev 1")
    assert found == "progress: 1.0 s, 40.0 tps, lat 3.000 ms"
    assert progress.line("progress: 2.0 s, 0.0 tps, lat -nan ms") == (
        "progress: 2.0 s, 40.0 tps, lat 2.000 ms"
    )
    assert progress.line("pgbench: error") is None


def test_a_client_that_ends_is_one_of_all() -> None:
    """Client 3 of two workers is two clients."""
    line = "pgbench: error: client 3 script 1 aborted in command 4"
    assert {renumbered(line, 0), renumbered(line, 8)} == {line, line.replace("3", "11", 1)}


def test_an_order_is_read_as_it_was_written() -> None:
    """It crosses to another process as one argument, and holds no password."""
    order = _order(files={"sslrootcert": "/ca"})
    assert Order.model_validate_json(order.model_dump_json()) == order


def test_a_pod_goes_by_the_service_and_takes_files_along() -> None:
    """Neither this machine's address nor its password file is of use there."""
    given = (
        "host=10.0.0.1 port=5433 dbname=shop user=app passfile=/p password=hidden"
        " sslmode=verify-full sslrootcert=/ca.crt hostaddr=10.0.0.1"
    )
    target, files = inside(given, PLACE)
    assert dict(word.split("=", 1) for word in target.split()) == {
        "host": "pg-rw", "port": "5432", "dbname": "shop", "user": "app",
        "sslmode": "verify-full", "sslrootcert": "/secret/sslrootcert",
    }  # fmt: skip
    assert files == {"sslrootcert": "/ca.crt"}


def test_no_object_but_the_secret_holds_the_password() -> None:
    """Neither the Job nor the ConfigMap; the pod is one that the strictest PodSecurity admits."""
    order = _order()
    made = objects(order, "hidden", [part.arguments for part in split(ASKED, 3)], 90)
    assert made["secret"]["stringData"] == {"password": "hidden"}
    assert "hidden" not in str(made["job"]) + str(made["config"])
    assert made["config"]["data"]["arguments-2"].splitlines()[-1] == "host=pg-rw"
    assert {"tpcb.sql", "worker.sh"} < made["config"]["data"].keys()
    spec = made["job"]["spec"]
    assert spec["suspend"] is True
    assert (spec["completions"], spec["parallelism"], spec["activeDeadlineSeconds"]) == (3, 3, 90)
    pod = spec["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_clocks_that_differ_are_refused() -> None:
    """By what they may differ at most, the error of the measurement included."""
    _demand_one_time([Clock(5.0, 0.01), Clock(5.05, 0.01)])  # of this machine's they may differ
    with pytest.raises(BrokenEnvironmentError, match=r"may differ by 130 ms.*NTP"):
        _demand_one_time([Clock(0.0, 0.02), Clock(0.09, 0.02)])


def _pod(**status: Any) -> Pod:  # noqa: ANN401  # JSON
    return seen({"metadata": {"name": "p"}, "spec": {"nodeName": "n"}, "status": status})


def _container(**state: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
    return {"containerStatuses": [{"state": state}]}


def test_a_pod_that_waits_names_its_reason() -> None:
    """The kubelet's reason where it has one, else the scheduler's."""
    assert _pod(phase="Running") == Pod("p", "n", "")
    image = _container(waiting={"reason": "ErrImagePull", "message": "not found"})
    assert _pod(phase="Pending", **image).waits == "ErrImagePull not found"
    alone = {"conditions": [{"status": "False", "message": "0/1 nodes are available"}]}
    assert _pod(phase="Pending", **alone).waits == "0/1 nodes are available"


def test_a_pod_that_will_never_run_is_not_waited_for() -> None:
    """A pull that was given up, and a container that has ended; one first pull may yet succeed."""
    first, again = (
        _container(waiting={"reason": reason}) for reason in ("ErrImagePull", "ImagePullBackOff")
    )
    assert not _pod(phase="Pending", **first).hopeless
    assert _pod(phase="Pending", **again).hopeless
    ended = _container(terminated={"exitCode": 1, "reason": "Error", "message": "no prober\n"})
    assert _pod(phase="Failed", **ended) == Pod("p", "n", "Error no prober", hopeless=True)


def test_a_load_whose_caller_is_killed_leaves_no_job(tmp_path: Path) -> None:
    """Its program ends with its caller, and removes what would go on to its own end."""
    api, jobs = KubernetesApi(5432), f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
    for path in (jobs, f"{CORE}/configmaps", f"{CORE}/secrets"):
        api.objects[path] = listed()
    api.objects[f"{CORE}/pods"] = listed()  # its pods never begin
    with api.kubeconfig(tmp_path) as kubeconfig:
        order = _order(target="").model_copy(update={"place": place_of(kubeconfig=str(kubeconfig))})
        program = "pgdrill.platforms.kubernetes.load_workers"
        caller = subprocess.Popen(
            [
                *("sh", "-c", '"$@" & wait', "sh", *with_its_parent("TERM")),
                *(sys.executable, "-m", program, order.model_dump_json()),
            ]
        )
        try:
            eventually("its Job", lambda: api.objects[jobs]["items"], within=30)
        finally:
            caller.kill()
            caller.wait(10)
        eventually("no Job", lambda: api.objects[jobs]["items"], lambda left: not left, within=10)
