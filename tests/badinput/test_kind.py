"""The machine cannot carry kind: exit code 2, one line, and nothing is made."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgdrill.platforms.kind import preflight
from pgdrill.platforms.kind.state import plan
from tests.badinput.commands import ENVIRONMENT
from tests.badinput.conftest import listening
from tests.badinput.orphans import leftovers
from tests.badinput.stubs import Machine
from tests.servers import free_port

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
NODES = ("pgdrill-control-plane", "pgdrill-worker")


def test_engine_does_not_answer(machine: Machine) -> None:
    """A docker client without an engine is refused, with its address and its error."""
    machine.tools.add_silent_docker()
    said = ("unix:///nonexistent", "Cannot connect to the Docker daemon", "unset DOCKER_HOST")
    machine.installation.pgdrill("up").refuses(ENVIRONMENT, *said)
    machine.is_untouched()
    suite = machine.installation.pytest("-m", "smoke")
    suite.refuses(ENVIRONMENT, *said)
    assert not machine.installation.runs(), suite.output
    machine.is_untouched()


@pytest.mark.skipif(not shutil.which("docker"), reason="needs a real docker client")
def test_engine_hangs(machine: Machine) -> None:
    """An engine that accepts connections and never answers is refused as one that is not there."""
    port = free_port()
    machine.tools.add("docker", f'exec {shutil.which("docker")} "$@"')
    hanging = machine.with_(DOCKER_HOST=f"tcp://127.0.0.1:{port}")
    with listening("127.0.0.1", port):
        said = (f"127.0.0.1:{port}", "no end after", "start it")
        hanging.pgdrill("up", within=120).refuses(ENVIRONMENT, *said)
    machine.is_untouched()


def test_no_go(machine: Machine) -> None:
    """Without Go, what would have to be built is named, and how to get one."""
    (machine.tools.directory / "go").unlink()
    machine.tools.add_docker()
    machine.installation.pgdrill("up", "--images=build").refuses(
        ENVIRONMENT, "there is no Go", "apt-get install golang-go", "go.dev/dl", "--images=pull"
    )
    machine.is_untouched()


@contextmanager
def _small_disk(place: Path) -> Iterator[Path]:
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)]
    subprocess.run(mount, check=True, timeout=10)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True, timeout=10)


@needs_root
def test_cache_too_small(machine: Machine) -> None:
    """A disk that cannot hold the images is named before an engine is installed or started."""
    machine.tools.add_silent_docker()
    with _small_disk(machine.installation.state.parent / "disk") as disk:
        small = machine.with_(PGDRILL_CACHE_DIR=str(disk / "cache"))
        for how, needed in (
            ("build", preflight.NEEDED_FREE_GB),
            ("auto", preflight.NEEDED_TO_PULL_GB),
        ):
            small.pgdrill("up", f"--images={how}").refuses(
                ENVIRONMENT, f"{disk}/cache has 0 GB free", f" {needed}:", "set PGDRILL_CACHE_DIR"
            )
        assert list(disk.iterdir()) == []
    machine.is_untouched()


@needs_root
def test_data_root_too_small(machine: Machine) -> None:
    """The disk that the engine keeps its images on counts as well."""
    with _small_disk(machine.installation.state.parent / "disk") as disk:
        machine.tools.add_docker(data=disk)
        machine.installation.pgdrill("up").refuses(
            ENVIRONMENT, f"{disk} has 0 GB free", "make room", "`data-root`"
        )
    machine.is_untouched()


def test_too_little_memory(machine: Machine) -> None:
    """An engine with too little memory (Docker Desktop's default) is named with what is needed."""
    machine.tools.add_docker(memory=2e9)
    machine.installation.pgdrill("up").refuses(
        ENVIRONMENT, "2.0 GB of memory", f"needs {preflight.NEEDED_MEMORY_GB}", "--platform=local"
    )
    machine.is_untouched()


@pytest.mark.parametrize(
    ("info", "named"),
    [
        ({"SecurityOptions": ["name=seccomp,profile=default", "name=rootless"]}, "rootless Docker"),
        # What podman 4 and 5 answer to `docker info --format={{json .}}`, reduced.
        (
            {
                "ServerVersion": None,
                "host": {"memTotal": 16_000_000_000, "os": "linux"},
                "store": {"graphRoot": "/var"},
                "version": {"Version": "5.4.0"},
            },
            "podman",
        ),
    ],
)
def test_an_engine_without_loop_devices(
    machine: Machine, info: dict[str, object], named: str
) -> None:
    """Rootless Docker, and podman under Docker's name, are refused in one line; auto goes on."""
    machine.tools.add_docker(info=info)
    machine.installation.pgdrill("up").refuses(
        ENVIRONMENT, f"engine is {named}", "loop devices", "--platform=local"
    )
    machine.is_untouched()
    auto = machine.with_(PGDRILL_PLATFORM="auto").pgdrill("status")
    assert f"platform: local (auto: the container engine is {named}" in auto.output


@pytest.mark.parametrize("command", ["up", "down"])
def test_cluster_of_somebody_else(machine: Machine, command: str) -> None:
    """A cluster of our name is left alone; the refusal names the command that removes it."""
    machine.tools.add_docker(nodes=NODES)
    machine.installation.pgdrill(command).refuses(
        ENVIRONMENT, "kind cluster named pgdrill", str(machine.installation.state),
        f"docker rm --force --volumes {' '.join(NODES)}",
    )  # fmt: skip
    machine.is_untouched()


def test_pool_overlaps_a_used_address(machine: Machine) -> None:
    """A container where the load balancer's addresses belong is named before anything is made."""
    machine.tools.add_docker(taken="172.18.255.240")
    machine.installation.pgdrill("up").refuses(
        ENVIRONMENT, "172.18.255.240", "pool 172.18.255.234-172.18.255.254", "remove that container"
    )
    machine.is_untouched()


def test_foreign_files_are_left_alone(machine: Machine) -> None:
    """Neither `up` nor `down` touches a directory with files that are not pgdrill's."""
    state = machine.installation.state
    treasure = state / "treasure"
    state.mkdir()
    treasure.write_text("mine")
    machine.tools.add_docker()
    for command in ("up", "down"):
        machine.installation.pgdrill(command).refuses(ENVIRONMENT, str(state), "not pgdrill's")
        assert list(state.iterdir()) == [treasure], command


def test_down_without_up(machine: Machine) -> None:
    """Taking down what was never up is fine, once and twice, with an engine and without."""
    for _ in range(2):
        machine.installation.pgdrill("down").succeeds()
        machine.is_untouched()
    machine.tools.add_docker()
    machine.installation.pgdrill("down").succeeds()
    machine.is_untouched()


def test_down_while_the_engine_is_gone(machine: Machine) -> None:
    """Nodes that cannot be seen are not forgotten: `down` refuses, and keeps its records."""
    plan(machine.installation.state, "node:1", built=True, cores=2).save()
    machine.tools.add_silent_docker()
    machine.installation.pgdrill("down").refuses(
        ENVIRONMENT, "engine that holds the nodes", "Cannot connect", "start it"
    )
    assert (machine.installation.state / "installation.json").exists()

    machine.tools.add_docker()  # it is back, and the nodes were removed meanwhile
    machine.installation.pgdrill("down").succeeds()
    assert leftovers(machine.installation.state) == []
