"""Nodes of a kind cluster: containers whose processes and file systems can be reached."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.base import LAST
from pgdrill.platforms.volume_hang import Hangable
from pgdrill.provision.commands import output


def run(node: str, *command: str, within: float = 30.0) -> str:
    """Run a command in a node."""
    return output("docker", "exec", node, *command, within=within)


@dataclass(frozen=True)
class KindNode:
    """A node that is a container of this machine."""

    name: str

    def run(self, script: str, *arguments: str) -> str:
        """Run a bash script.

        Raises:
            BrokenEnvironmentError: it fails, or the container does not run.
        """
        return run(self.name, "bash", "-c", script, "bash", *arguments)

    on_host = run


def is_running(node: str) -> bool:
    """Whether a node's container runs."""
    try:
        return output("docker", "inspect", "--format={{.State.Running}}", node).strip() == "true"
    except BrokenEnvironmentError:
        return False


@dataclass(frozen=True)
class NodeVolume(Hangable):
    """A file system of a true size inside a node: a member's, or the archive's."""

    node: str
    path: str

    @classmethod
    def of(cls, volume: Mapping[str, Any]) -> "NodeVolume":
        """Return the place of a persistent volume, described in the API's own JSON."""
        (term,) = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
        return cls(term["matchExpressions"][0]["values"][0], volume["spec"]["local"]["path"])

    @property
    def _filler(self) -> str:
        return f"{self.path}/pgdrill-filler"

    def _blocks(self) -> tuple[int, int, int, int]:
        text = run(self.node, "stat", "-f", "-c", "%b %f %a %S", self.path)
        blocks, free, available, size = map(int, text.split())
        return blocks, free, available, size

    def used(self) -> float:
        """Return the share in use, 0 to 1, as node-exporter computes it (root's reserve apart)."""
        blocks, free, available, _ = self._blocks()
        return (blocks - free) / (blocks - free + available)

    def free(self) -> int:
        """Return the bytes that anybody but root may still write."""
        _, _, available, size = self._blocks()
        return available * size

    def fill(self, share: float) -> None:
        """Fill with a file of our own until share is in use.

        Raises:
            ValueError: more than share is in use already.
        """
        blocks, _, _, size = self._blocks()
        missing = int((share - self.used()) * blocks) * size
        if missing <= 0:
            raise ValueError(f"{self.node}:{self.path} is at {self.used():.0%} already")
        run(self.node, "fallocate", "-l", str(missing), self._filler)

    def fill_up(self) -> None:
        """Fill with a file of our own until no byte can be written."""
        _, _, available, size = self._blocks()
        script = (
            'if [ "$1" -gt 0 ]; then fallocate -l "$1" "$2"; fi; '
            'dd if=/dev/zero bs=1M oflag=append conv=notrunc of="$2" 2> /dev/null || true'
        )
        run(self.node, "sh", "-c", script, "sh", str(available * size - LAST), self._filler)

    def release(self) -> None:
        """Remove that file; safe to repeat."""
        run(self.node, "rm", "-f", self._filler)

    def empty(self) -> None:
        """Remove everything that is on it."""
        script = 'find "$1" -mindepth 1 -maxdepth 1 ! -name lost+found -exec rm -rf {} +'
        run(self.node, "sh", "-c", script, "sh", self.path)

    def _shell(self, script: str, *arguments: str) -> str:
        return run(self.node, "sh", "-c", script, "sh", self.path, *arguments)

    def read_last(self, pattern: str) -> str:
        """Return the content of the file that comes last by name of those that match."""
        script = f'cat "$(ls "$1"/{pattern} | tail -n 1)"'
        return run(self.node, "sh", "-c", script, "sh", self.path)
