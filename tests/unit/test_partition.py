"""Packets between real processes in real control groups, and the rules that drop them."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pgdrill.platforms.kind.nodes import KindNode
from pgdrill.platforms.kubernetes.pod_network import PodNetwork
from pgdrill.platforms.local.member_network import MemberNetwork, cgroups
from pgdrill.platforms.partition import Cut
from pgdrill.waiting import eventually

pytestmark = pytest.mark.unit

# Listens at an address and, for each line on stdin (an address), prints whether an echo comes from
# there.
PROGRAM = """
import socket, sys, threading
own, port = sys.argv[1], int(sys.argv[2])
server = socket.create_server((own, port))
def echo(one):
    while got := one.recv(9):
        one.sendall(got)
def serve():
    while True:
        threading.Thread(target=echo, args=server.accept()[:1], daemon=True).start()
threading.Thread(target=serve, daemon=True).start()
open_ones = {}
print("ready", flush=True)
for line in sys.stdin:
    to = line.strip()
    try:
        if to not in open_ones:
            open_ones[to] = socket.create_connection((to, port), timeout=0.5)
        open_ones[to].sendall(b"x")
        print("echo" if open_ones[to].recv(9) == b"x" else "closed", flush=True)
    except OSError:
        open_ones.pop(to, None)
        print("silence", flush=True)
"""
ADDRESSES = {"member": "127.0.11.1", "peer": "127.0.11.2", "client": "127.0.11.3"}


class Places:
    """One process in each control group; client is in none."""

    def __init__(self, network: MemberNetwork, stack: ExitStack) -> None:
        with socket.create_server((ADDRESSES["member"], 0)) as free:
            port = str(free.getsockname()[1])
        self._programs: dict[str, subprocess.Popen[str]] = {}
        for name, group in (
            ("member", network.group),
            ("peer", network.peers[0]),
            ("client", None),
        ):
            self._programs[name] = stack.enter_context(_program(group, ADDRESSES[name], port))
        for program in self._programs.values():
            stack.callback(program.kill)
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"

    def reaches(self, one: str, other: str) -> bool:
        """Whether an echo comes back, on a connection that stays open as long as it does."""
        program = self._programs[one]
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(f"{ADDRESSES[other]}\n")
        program.stdin.flush()
        return program.stdout.readline() == "echo\n"


def _program(group: Path | None, *arguments: str) -> subprocess.Popen[str]:
    enter = f"echo $$ > {group}/cgroup.procs && " if group else ""
    command = ["sh", "-c", f'{enter}exec "$@"', "sh", sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def network(tmp_path: Path) -> Iterator[MemberNetwork]:
    """Two control groups of this test's own."""
    place = cgroups()
    if place is None:
        pytest.skip("needs root and cgroup v2")
    member, peer = (place / f"pgdrill-test-{os.getpid()}-{name}" for name in ("member", "peer"))
    member.mkdir()
    peer.mkdir()
    made = MemberNetwork(member, [peer], f"pgdrill_test_{os.getpid()}", tmp_path / "cut-off")
    try:
        if not made.possible():
            pytest.skip("needs nft, and a kernel whose nft knows control groups")
        yield made
    finally:
        made.join()
        for group in (member, peer):
            eventually(
                f"{group} is empty",
                lambda one=group: (one / "cgroup.procs").read_text(),  # type: ignore[misc]
                lambda processes: not processes,
                within=10,
            )
            group.rmdir()


@pytest.mark.parametrize(
    ("whom", "cut"),
    [
        ("everybody", {("member", "peer"), ("member", "client")}),
        ("inbound", {("member", "peer"), ("member", "client")}),
        ("peers", {("member", "peer")}),
    ],
)
def test_a_member_that_is_cut_off_reaches_itself_and_whom_it_may(
    network: MemberNetwork, whom: Cut, cut: set[tuple[str, str]]
) -> None:
    """On connections that were open before, and on new ones; afterwards it reaches everybody."""
    pairs = [(one, other) for one in ADDRESSES for other in ADDRESSES]
    with ExitStack() as stack:
        places = Places(network, stack)
        assert all(places.reaches(*pair) for pair in pairs)
        assert network.dropped() is None
        network.cut(whom, seconds=60)
        for _ in range(2):  # a connection that gets no answer is closed: the second one is new
            silent = {pair for pair in pairs if not places.reaches(*pair)}
            assert silent == cut | {(other, one) for one, other in cut}
        assert (network.dropped() or 0) > 0
        network.join()
        assert network.dropped() is None
        assert all(places.reaches(*pair) for pair in pairs)


def test_a_cut_ends_by_itself(network: MemberNetwork) -> None:
    """Whoever made it may be gone."""
    network.cut("everybody", seconds=1)
    assert network.dropped() == 0
    eventually("its end", network.dropped, lambda seen: seen is None, within=10, every=0.1)
    assert not network.mark.exists()


@pytest.mark.parametrize("whom", ["everybody", "peers", "inbound"])
def test_a_pod_that_is_cut_off_still_answers_its_kubelet(whom: Cut) -> None:
    """No rule drops what its node asks it, and each is in a chain that all packets pass."""
    rules = PodNetwork(KindNode("node"), "10.244.1.2", ["10.244.2.3", "172.18.0.3"])._rules(whom)
    lines = rules.splitlines()
    assert (lines[0], lines[-1]) == ("*filter", "COMMIT")
    drops = [line for line in lines if line.endswith("-j DROP")]
    assert drops
    asked = [line for line in drops if "-A PGDRILL-OUTPUT" in line]
    assert all("--ctdir REPLY" in line for line in asked)
    assert all("--ctdir ORIGINAL" in line for line in drops if "-A PGDRILL-INPUT" in line)
    for chain in ("INPUT", "OUTPUT", "FORWARD"):
        assert f"-I {chain} -j PGDRILL-{chain}" in lines
    reached = [line for line in drops if "FORWARD" in line and "10.244.9.9" not in line]
    assert any("172.18.0.3" in line for line in reached) == (whom == "peers")
