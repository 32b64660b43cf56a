"""The life of an engine of ours: test_kind_engine runs it in namespaces, as their process 1."""

import os
import subprocess
from pathlib import Path

import psutil

from pgdrill.provision import container_engine
from pgdrill.waiting import eventually


def main() -> None:
    """Start, kill, start again and stop; print what is left, and what the network became."""
    before = _network()
    container_engine.ensure(print)
    assert container_engine.answers(), "started, and does not answer"
    assert _network() != before, "dockerd changed nothing: this proves nothing"

    [killed] = [p for p in psutil.process_iter() if p.name() == "dockerd"]
    killed.kill()
    # Its parent does not reap it here, as in many containers: a zombie must not count as an engine.
    eventually("its end", lambda: killed.status() == psutil.STATUS_ZOMBIE, within=10)
    assert container_engine.left_behind(), "a killed engine was taken for one that was stopped"

    container_engine.resume(print)
    assert container_engine.answers(), "started again, and does not answer"
    container_engine.stop()
    assert not container_engine.left_behind()
    print("programs left:", _programs())
    for was, is_now in zip(before, _network(), strict=True):
        print("network:", "as before" if was == is_now else f"{was!r} became {is_now!r}")


def _programs() -> list[str]:
    found = psutil.process_iter(["name", "status"])
    alive = [p for p in found if p.info["status"] != psutil.STATUS_ZOMBIE and p.pid != os.getpid()]
    return [p.info["name"] for p in alive]


def _network() -> list[str]:
    questions = (
        ["ip", "-o", "-br", "link"],
        ["iptables", "-S"],
        ["iptables", "-t", "nat", "-S"],
    )
    told = [
        subprocess.run(q, capture_output=True, text=True, timeout=10, check=True).stdout
        for q in questions
    ]
    return [*told, Path("/proc/sys/net/ipv4/ip_forward").read_text()]


if __name__ == "__main__":
    main()
