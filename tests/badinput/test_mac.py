"""On a Mac: kind or nothing, and every refusal is one line."""

import sys

import pytest

from tests.badinput.commands import ENVIRONMENT, Outcome, run
from tests.badinput.stubs import Machine

GO = """\
case "$1" in
  version) echo "go version go1.99.0 darwin/arm64" ;;
  env) echo auto ;;
  *) exit 1 ;;
esac
"""


def _pgdrill(machine: Machine, *words: str, platform: str = "kind") -> Outcome:
    command = [sys.executable, "-m", "tests.as_mac", "-m", "pgdrill", *words]
    return run(command, within=60, env=machine.with_(PGDRILL_PLATFORM=platform).environment())


def test_no_engine(machine: Machine) -> None:
    """Without Docker it is kind all the same, and the message names what to start, not local."""
    machine.tools.add_silent_docker()
    told = _pgdrill(machine, "up", platform="auto")
    told.refuses(ENVIRONMENT, "unix:///nonexistent", "Cannot connect to the Docker daemon")
    assert told.output.startswith("platform: kind (auto: the other platform, local, runs on Linux")
    (machine.tools.directory / "docker").unlink()
    told = _pgdrill(machine, "up")
    told.refuses(ENVIRONMENT, "needs a container engine", "there is no docker client")
    assert "local" not in told.output.splitlines()[-1]
    machine.is_untouched()


def test_local_is_refused(machine: Machine) -> None:
    """The platform of Debian's packages and loop mounts is not for a Mac."""
    told = _pgdrill(machine, "up", platform="local")
    told.refuses(ENVIRONMENT, "runs on Linux only and this is Darwin", "--platform=kind")
    machine.is_untouched()


def test_too_little_memory(machine: Machine) -> None:
    """The memory that counts is that of Docker Desktop's virtual machine."""
    machine.tools.add_docker(memory=2e9)
    _pgdrill(machine, "up").refuses(ENVIRONMENT, "the container engine has 2.0 GB of memory")
    machine.is_untouched()


@pytest.mark.parametrize("command", ["status", "seed"])
def test_nothing_is_up(machine: Machine, command: str) -> None:
    """A command that needs a cluster reports that there is none."""
    machine.tools.add_docker()
    _pgdrill(machine, command).refuses(ENVIRONMENT, "make up")


def test_down_without_up(machine: Machine) -> None:
    """Taking down what was never up looks for programs of a killed run, and finds none."""
    machine.tools.add_docker()
    assert "nothing of the platform is left" in _pgdrill(machine, "down").succeeds().output
    machine.is_untouched()


def test_images_are_listed(machine: Machine) -> None:
    """Tools are those of macOS on arm64, images are pulled; none can be built, in spite of Go."""
    machine.tools.add("go", GO)
    machine.tools.add_docker()
    told = _pgdrill(machine, "images").succeeds().output
    assert "kind-darwin-arm64" in told
    assert "-darwin-arm64.tar.gz" in told
    assert "kindest/node" in told
    assert "built" not in told


def test_building_is_refused(machine: Machine) -> None:
    """Images are built on Linux for x86-64 only: on a Mac the message is to pull them."""
    machine.tools.add("go", GO)
    machine.tools.add_docker()
    for tool, version in (("kind", "v0.27.0"), ("kubectl", "v1.29.15"), ("helm", "v3.17.3")):
        machine.tools.add(tool, f"echo {tool} {version}")
    told = _pgdrill(machine, "up", "--images=build")
    told.refuses(ENVIRONMENT, "for x86-64 only", "darwin/arm64", "--images=pull")
