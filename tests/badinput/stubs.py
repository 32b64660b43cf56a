"""Broken tools for a PATH of their own: a docker client without an engine, or with a poor one."""

import json
import stat
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.badinput.commands import Installation
from tests.badinput.orphans import leftovers

SILENT = """\
case "$*" in
  "context inspect"*) echo "${DOCKER_HOST:-unix:///var/run/docker.sock}" ;;
  *) echo "Cannot connect to the Docker daemon. Is the docker daemon running?" >&2; exit 1 ;;
esac
"""
ANSWERING = """\
case "$*" in
  info*) cat {told}/info ;;
  "ps "*label=*) cat {told}/nodes ;;
  "ps "* | "images "*) ;;
  pull*) echo "failed to register layer: {pull}" >&2; exit 1 ;;
  "network inspect kind") test -s {told}/network && cat {told}/network ;;
  *) echo "docker $*: not here" >&2; exit 1 ;;
esac
"""


@dataclass(frozen=True)
class Tools:
    """A directory that is the whole PATH of a command."""

    directory: Path

    @property
    def path(self) -> str:
        """Value of PATH."""
        return str(self.directory)

    def add(self, name: str, script: str) -> None:
        """Put a shell script there."""
        self.directory.mkdir(exist_ok=True)
        file = self.directory / name
        file.write_text("#!/bin/sh\nPATH=/usr/bin:/bin\n" + textwrap.dedent(script))
        file.chmod(file.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)

    def add_silent_docker(self) -> None:
        """Put a docker client there that finds no engine."""
        self.add("docker", SILENT)

    def add_docker(
        self,
        *,
        memory: float = 16e9,
        data: Path = Path("/var"),
        nodes: tuple[str, ...] = (),
        taken: str | None = None,
        info: Mapping[str, Any] | None = None,
        pull: str = "no network",
    ) -> None:
        """Install a docker client whose engine answers as given, and which refuses everything else.

        info replaces or extends the output of `docker info`; memory: bytes; nodes are those of a
        kind cluster named pgdrill; taken is an address that a container in the network kind
        (172.18.0.0/16) has; pull is the error of every pull.
        """
        told = self.directory.with_name("docker-says")
        told.mkdir(exist_ok=True)
        says = {"MemTotal": memory, "OSType": "linux", "DockerRootDir": str(data)}
        says |= {"ServerVersion": "20.10"} | dict(info or {})
        (told / "info").write_text(json.dumps(says))
        (told / "nodes").write_text("\n".join(nodes))
        (told / "network").write_text(json.dumps([_network(taken)]) if taken else "")
        self.add("docker", ANSWERING.format(told=told, pull=pull))


def _network(taken: str) -> dict[str, Any]:
    return {
        "Containers": {"1": {"IPv4Address": f"{taken}/16"}},
        "IPAM": {"Config": [{"Subnet": "172.18.0.0/16"}]},
    }


@dataclass(frozen=True)
class Machine:
    """Commands for kind that see no tools but those that a test puts there."""

    tools: Tools
    installation: Installation
    cache: Path

    def with_(self, **variables: str) -> Installation:
        """Return the commands with more variables set."""
        settings = {**self.installation.settings, **variables}
        return Installation(self.installation.state, self.installation.reports, settings)

    def is_untouched(self) -> None:
        """Assert that neither state nor anything in the cache was made."""
        assert leftovers(self.installation.state) == []
        assert not self.cache.exists() or list(self.cache.iterdir()) == []


def bare_machine(place: Path) -> Machine:
    """Return a machine with no container engine, and a Go that no command ever calls."""
    tools = Tools(place / "bin")
    tools.add("go", "echo 'this Go builds nothing' >&2; exit 1")
    settings = {
        "PGDRILL_PLATFORM": "kind",
        "PGDRILL_CACHE_DIR": str(place / "cache"),
        "GOCACHE": str(place / "go"),
        "PATH": tools.path,
        "DOCKER_HOST": "unix:///nonexistent",
    }
    installation = Installation(place / "state", place / "reports", settings)
    return Machine(tools, installation, place / "cache")
