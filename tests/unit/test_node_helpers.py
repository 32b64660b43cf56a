"""Privileged pods on nodes: what they may hang, and that they undo what whoever made them left."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from pgdrill.engines.cnpg import CnpgEngine
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.faults.base import FaultNotRealError
from pgdrill.platforms.kube import node_helpers
from pgdrill.platforms.kube.node_helpers import LABEL, Helpers, mount_point
from pgdrill.platforms.kubernetes.access import Access
from pgdrill.waiting import eventually
from tests.kubernetes_api import NAME, NAMESPACE, KubernetesApi, listed

pytestmark = pytest.mark.unit

UID = "6793ef6e-ae92-4b15-91c4-8da25035f884"
PODS = "/api/v1/namespaces/pgdrill-node/pods"
OWN = f"/var/lib/kubelet/pods/{UID}/volumes/kubernetes.io~csi/pvc-1/mount"
STAGED = "/var/lib/kubelet/plugins/kubernetes.io/csi/x/globalmount"


def _mounts(*places: tuple[str, str]) -> str:
    """Return /proc/PID/mountinfo of file systems by device and mount point."""
    return "".join(
        f"{n} 1 {device} / {point} rw,relatime - ext4 /dev/x rw\n"
        for n, (device, point) in enumerate(places, 30)
    )


INSIDE = _mounts(("0:50", "/"), ("8:16", "/var/lib/postgresql/data"), ("0:51", "/run"))


def test_a_volume_of_its_own_is_found_on_its_node() -> None:
    """By its device: the kubelet mounts it at a place of its own, and for the pod."""
    outside = _mounts(("8:1", "/"), ("8:16", STAGED), ("8:16", OWN))
    assert mount_point(INSIDE, outside, UID) == STAGED
    assert mount_point(INSIDE, _mounts(("8:1", "/"), ("8:16", OWN)), UID) == OWN


def test_commits_wait_for_the_volume_of_the_wal() -> None:
    """Where there is one, the volume of the tables is left alone."""
    inside = INSIDE + _mounts(("8:32", "/var/lib/postgresql/wal"))
    outside = _mounts(("8:16", OWN), ("8:32", f"{OWN}-wal"))
    assert mount_point(inside, outside, UID) == f"{OWN}-wal"


@pytest.mark.parametrize(
    ("outside", "named"),
    [
        ([("8:16", "/"), ("8:16", OWN)], "/ is on the same device"),
        ([("8:16", "/var"), ("8:16", OWN)], "/var is on"),
        ([("8:16", "/var/lib/kubelet"), ("8:16", OWN)], "/var/lib/kubelet is on"),
        ([("8:16", OWN), ("8:16", OWN.replace(UID, "other"))], "other/volumes"),
        ([("8:1", "/")], "the node is on"),
    ],
)
def test_a_volume_that_others_use_is_never_suspended(
    outside: list[tuple[str, str]], named: str
) -> None:
    """Neither the node's own file system nor that of another pod may hang."""
    with pytest.raises(FaultNotRealError, match="no file system of its own") as refused:
        mount_point(INSIDE, _mounts(*outside), UID)
    assert named in str(refused.value)


def test_a_pod_without_a_volume_is_named() -> None:
    """There is nothing to suspend."""
    with pytest.raises(FaultNotRealError, match="no volume at /var/lib/postgresql/wal or"):
        mount_point(_mounts(("0:50", "/")), _mounts(("8:1", "/")), UID)


def test_a_pod_that_is_asked_to_end_resumes_what_was_stopped(tmp_path: Path) -> None:
    """Whoever stopped it may be gone: the pod itself knows what to undo."""
    script = node_helpers._GUARDIAN.replace("/run/", f"{tmp_path}/")
    script = script.replace("nsenter --target 1 --mount --net -- ", f"cd {tmp_path} && PATH= /bin/")
    hung = subprocess.Popen(["sleep", "60"])
    try:
        hung.send_signal(signal.SIGSTOP)
        (tmp_path / "pgdrill-stopped").write_text(f"{hung.pid} 999999999\n")
        guardian = subprocess.Popen(["bash", "-c", script], start_new_session=True)
        sees = psutil.Process(guardian.pid)
        eventually("its sleep", sees.children, within=10, every=0.05)
        guardian.terminate()
        assert guardian.wait(10) == 0
        assert psutil.Process(hung.pid).status() != psutil.STATUS_STOPPED
        os.killpg(guardian.pid, signal.SIGKILL)  # in a pod its sleep ends with it
    finally:
        hung.kill()
        hung.wait(10)


@pytest.fixture
def api() -> KubernetesApi:
    """A cluster on one node, and a namespace for privileged pods."""
    made = KubernetesApi(5432)
    made.objects[PODS] = listed()
    for one in made.objects[f"/api/v1/namespaces/{NAMESPACE}/pods"]["items"]:
        one["spec"]["nodeName"] = "worker"
    return made


def _no_session(member: str) -> psycopg.Connection[tuple[Any, ...]]:
    raise psycopg.OperationalError(f"{member} is not asked here")


@pytest.fixture
def helpers(api: KubernetesApi, tmp_path: Path) -> Iterator[Helpers]:
    """Helper pods of that cluster."""
    with api.kubeconfig(tmp_path) as kubeconfig:
        access = Access(kubeconfig, "ours")
        engine = CnpgEngine(access.client(), NAMESPACE, NAME, _no_session, "1.30.0")
        yield Helpers(access, "pgdrill-node", engine)


def test_each_node_of_a_member_has_one_pod(api: KubernetesApi, helpers: Helpers) -> None:
    """Made once, bound to its node, privileged, with a deadline; and removed."""
    helpers.demand_admitted()
    assert not api.objects[PODS]["items"]
    helpers.start()
    helpers.start()
    (made,) = api.objects[PODS]["items"]
    spec = made["spec"]
    assert made["metadata"]["labels"][LABEL] == NAME
    assert (spec["nodeName"], spec["hostPID"], spec["activeDeadlineSeconds"]) == (
        "worker", True, node_helpers.LIVES,
    )  # fmt: skip
    assert helpers.remove() == ("worker",)
    assert not api.objects[PODS]["items"]
    assert helpers.remove() == ()


def test_a_namespace_that_refuses_them_is_named(api: KubernetesApi, helpers: Helpers) -> None:
    """With the file that has what is missing; no pod is made."""
    api.denied.add(f"create {PODS}")
    with pytest.raises(BrokenEnvironmentError, match=r"pgdrill-node.*infra/kube/node\.yaml"):
        helpers.demand_admitted()
    assert not api.objects[PODS]["items"]
