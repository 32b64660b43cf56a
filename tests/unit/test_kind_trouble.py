"""The traces of a killed run, a stopped engine and an unsupported cluster on kind."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from shlex import quote

import psutil
import pytest
import yaml
from kubernetes import client

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.kind import namespaces
from pgdrill.platforms.kind.orphans import building, sweep
from pgdrill.platforms.kind.state import NAMESPACE, RESTORED
from pgdrill.platforms.supported import require_supported
from pgdrill.provision.commands import MARK, logged, workers
from pgdrill.provision.components import catalogue, inside, number
from pgdrill.provision.host import leftover_rules, unmounted
from pgdrill.settings import ROOT
from pgdrill.waiting import eventually

# Output of `iptables-save` while a dockerd of ours runs and nothing else was there before.
FILTER = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A INPUT -i lo -j ACCEPT
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
"""


def test_only_rules_of_the_engine_are_removed() -> None:
    """Rules that jump to its chains or name its bridge go, then its chains; the rest stays."""
    listed = "-P INPUT ACCEPT\n-N DOCKER\n-N MINE\n-A INPUT -i lo -j MINE\n-A MINE -j DROP\n"
    assert leftover_rules(listed + "-A OUTPUT -j DOCKER\n-A DOCKER -i docker0 -j RETURN\n") == [
        ["-D", "OUTPUT", "-j", "DOCKER"],
        ["-F", "DOCKER"],
        ["-X", "DOCKER"],
    ]


needs_iptables = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("iptables"), reason="needs root and iptables"
)


def _apart(script: str, *namespaces: str) -> str:
    """Run a shell script in namespaces of its own, and return what it prints."""
    done = subprocess.run(
        ["unshare", *namespaces, "sh", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_iptables
def test_a_stopped_engine_leaves_no_packet_filter(tmp_path: Path) -> None:
    """In a separate network, everything that dockerd set up is gone and forwarding is off."""
    (tmp_path / "rules").write_text(FILTER)
    record = tmp_path / "before.json"
    record.write_text(json.dumps({"forwarding": "0", "cgroups": []}))
    script = f"""
        set -e
        iptables-restore < {tmp_path}/rules
        echo 1 > /proc/sys/net/ipv4/ip_forward
        {quote(sys.executable)} -c 'from pathlib import Path; from pgdrill.provision import host
        host.restore(Path("{record}"))'
        iptables -S; iptables -t nat -S; cat /proc/sys/net/ipv4/ip_forward
    """
    told = _apart(script, "--net")
    left = [line for line in told.splitlines() if not line.startswith("-P")]
    assert left == ["-A INPUT -i lo -j ACCEPT", "0"], told
    assert "-P FORWARD ACCEPT" in told
    assert not record.exists()


@needs_iptables
def test_a_mount_that_somebody_else_still_shows_stops_nothing(tmp_path: Path) -> None:
    """A bind mount of /sys, for a chroot, keeps one directory busy: all other mounts go."""
    record = tmp_path / "before.json"
    record.write_text(json.dumps({"forwarding": "1", "cgroups": ["busy", "free"]}))
    script = f"""
        set -e
        cd {tmp_path}
        mkdir groups other
        mount -t tmpfs none groups
        mkdir groups/busy groups/free
        mount -t tmpfs none groups/busy
        mount --rbind groups other
        mount --make-rprivate groups
        mount -t tmpfs none groups/free
        cd {quote(str(ROOT))}
        {quote(sys.executable)} -c 'from pathlib import Path; from pgdrill.provision import host
        host.CGROUPS = Path("{tmp_path}/groups")
        host.restore(Path("{record}"))'
        ls {tmp_path}/groups; grep -c "{tmp_path}/groups/" /proc/mounts || true
    """
    told = _apart(script, "--net", "--mount")
    assert told.split() == ["busy", "0"]
    assert not record.exists()


def test_every_controller_without_a_mount_is_mounted() -> None:
    """One that an engine's group kept alive after its last mount went is not taken for mounted."""
    mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"
    row = "{}\t{}\t2\t{}\n".format
    cpu, off = row("cpu", 1, 1), row("rdma", 0, 0)
    fresh = "#\n" + cpu + off + row("net_cls", 0, 1) + row("hugetlb", 0, 1) + row("net_prio", 0, 1)
    assert unmounted(fresh, mounts) == ["net_cls,net_prio", "hugetlb"]
    used = (
        "#\n" + cpu + off + row("net_cls", 12, 1) + row("hugetlb", 11, 1) + row("net_prio", 12, 1)
    )
    assert unmounted(used, mounts) == ["net_cls,net_prio", "hugetlb"]
    apart = "#\n" + cpu + row("net_cls", 12, 1) + row("net_prio", 11, 1)
    assert unmounted(apart, mounts) == ["net_cls", "net_prio"]
    both = (
        mounts + "cgroup /elsewhere cgroup rw,hugetlb 0 0\ncgroup /n cgroup rw,net_cls,net_prio 0 0"
    )
    assert unmounted(used, both) == []


def test_a_failing_block_ends_its_commands(tmp_path: Path) -> None:
    """A mistake is answered at once, not when whatever is compiled has ended."""
    began = time.monotonic()
    log = tmp_path / "log"
    with pytest.raises(ValueError, match="mistake"), workers(1) as work:  # noqa: PT012
        running = work(lambda: logged("sleeping", ["sleep", "60"], log, print, within=60))
        waiting = work(print, "never")
        eventually("its start", log.exists, within=10, every=0.01)
        raise ValueError("a mistake")
    assert time.monotonic() - began < 20
    with pytest.raises(BrokenEnvironmentError, match="sleeping failed"):
        running.result()
    with pytest.raises(CancelledError):
        waiting.result()


def test_programs_of_a_killed_run_are_ended(tmp_path: Path) -> None:
    """An orphan that bears the installation's mark is ended, another's is not."""
    orphans = {state: _orphan(tmp_path / state) for state in ("ours", "others")}
    try:
        sweep(tmp_path / "ours")
        assert not _runs(orphans["ours"])
        assert _runs(orphans["others"])
    finally:
        sweep(tmp_path / "others")
    assert not _runs(orphans["others"])


def _orphan(state: Path) -> psutil.Process:
    told = subprocess.run(
        ["sh", "-c", "sleep 300 > /dev/null 2>&1 & echo $!"],
        env=os.environ | {MARK: str(state)},
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    return psutil.Process(int(told.stdout))


def _runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_the_build_cache_is_cleared_and_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unfinished files are removed, finished ones stay, and a second builder is refused."""
    monkeypatch.setenv("PGDRILL_CACHE_DIR", str(tmp_path))
    finished = tmp_path / "programs/kind-1/kind"
    halves = [tmp_path / "programs/kind-1/kind.7.partial", tmp_path / "rootfs/.making-x/rootfs.tar"]
    for file in (finished, *halves):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    said: list[str] = []
    told = rf"the build cache \(pid {os.getpid()}\)"
    with building(said.append):
        assert finished.exists()
        assert not any(half.exists() for half in halves)
        with pytest.raises(BrokenEnvironmentError, match=told):
            building(said.append).__enter__()
    assert len(said) == len(halves), said
    assert list(tmp_path.glob("*.lock")) == []


@contextmanager
def _answering(told: object) -> Iterator[client.ApiClient]:
    """Serve one answer to every question, as an API server does."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # http.server's name
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(told).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        settings = client.Configuration(host=f"http://127.0.0.1:{server.server_port}")
        try:
            with client.ApiClient(settings) as api:
                yield api
        finally:
            server.shutdown()
            thread.join()


def _api(version: str) -> AbstractContextManager[client.ApiClient]:
    names = "buildDate compiler gitCommit gitTreeState goVersion major minor platform"
    return _answering(dict.fromkeys(names.split(), "x") | {"gitVersion": version})


@pytest.mark.parametrize(
    ("operator", "version"),
    [("1.30.0", "v1.28.15"), ("1.30.0", "v1.37.0"), ("1.25.4", "v1.28.15"), ("1.25.4", "v1.33.0")],
)
def test_a_kubernetes_that_the_operator_does_not_support(operator: str, version: str) -> None:
    """Both versions are named, in one line."""
    with _api(version) as api, pytest.raises(BrokenEnvironmentError, match=version) as refused:
        require_supported(api, "cnpg", catalogue(operator))
    assert "\n" not in str(refused.value)
    assert operator in str(refused.value)


def test_a_kubernetes_that_the_operator_supports() -> None:
    """The one that is built with every operator, and the newest of a range."""
    for operator, newest in (("1.30.0", "v1.36.1"), ("1.25.4", "v1.32.9+k3s1")):
        known = catalogue(operator)
        assert inside(number(known.versions["kubernetes"]), known.kubernetes["cnpg"])
        for version in (known.versions["kubernetes"], newest):
            with _api(version) as api:
                require_supported(api, "cnpg", known)


def _namespaces(labels: Mapping[str, str]) -> AbstractContextManager[client.ApiClient]:
    return _answering({"items": [{"metadata": {"name": RESTORED, "labels": dict(labels)}}]})


@pytest.mark.parametrize("labels", [{}, {namespaces.LABEL: "false"}, {"managed": "true"}])
def test_a_namespace_of_somebody_else_is_not_touched(labels: Mapping[str, str]) -> None:
    """The refusal is one line, with the label that hands the namespace over."""
    with _namespaces(labels) as api, pytest.raises(BrokenEnvironmentError) as refused:
        namespaces.refuse_foreign(api, *namespaces.OURS)
    assert "\n" not in str(refused.value)
    assert f"kubectl label namespace {RESTORED} {namespaces.LABEL}=true" in str(refused.value)


def test_a_namespace_of_pgdrill_or_of_another_name_is_no_obstacle() -> None:
    """The label decides, and only about the names that are asked for."""
    with _namespaces({namespaces.LABEL: namespaces.VALUE}) as api:
        namespaces.refuse_foreign(api, RESTORED)
    with _namespaces({}) as api:
        namespaces.refuse_foreign(api, NAMESPACE)


def test_every_namespace_is_declared_with_the_label() -> None:
    """Or the second `make up` would refuse what the first one made."""
    text = "---\n".join(
        file.read_text() for file in sorted((ROOT / "infra/kustomize").rglob("namespace*.yaml"))
    )
    declared = [one for one in yaml.safe_load_all(text) if one]
    play = yaml.safe_load((ROOT / "infra/ansible/kubernetes-restore.yml").read_text())[0]
    module = play["pre_tasks"][0]["kubernetes.core.k8s"]
    assert {one["metadata"]["name"] for one in declared} == set(namespaces.OURS) - {RESTORED}
    for one in (*declared, module["definition"]):
        assert one["metadata"]["labels"] == {namespaces.LABEL: namespaces.VALUE}
