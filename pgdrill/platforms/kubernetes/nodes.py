"""Nodes whose processes can be reached, and what is done to the processes of a pod there."""

from collections.abc import Sequence
from typing import Protocol

from pgdrill.platforms.member_faults import Process
from pgdrill.platforms.process_list import SHOW, shown

# What undoes a fault reads these: the processes that were stopped, and who is cut off.
STOPPED, CUT_OFF = "/run/pgdrill-stopped", "/run/pgdrill-cut"

_PROCESSES = f"""
for file in $(grep -lsE "$1" /proc/[0-9]*/cgroup); do
  pid=${{file#/proc/}}; pid=${{pid%/cgroup}}
  {SHOW}
done
true
"""
_SIGNAL = f"""
name=$1; shift
[ "$name" != STOP ] || echo "$*" >> {STOPPED}
kill "-$name" "$@" 2>/dev/null || true
"""


class Node(Protocol):
    """A machine of a Kubernetes cluster."""

    @property
    def name(self) -> str:
        """Its name in Kubernetes."""

    def run(self, script: str, *arguments: str) -> str:
        """Run a bash script as root, where all processes are seen; return what it prints.

        Raises:
            BrokenEnvironmentError: it fails, or the node cannot be reached.
        """

    def on_host(self, script: str, *arguments: str) -> str:
        """Run a shell script as root with the programs and the network of the node itself.

        Raises:
            BrokenEnvironmentError: it fails, or the node cannot be reached.
        """


def processes(node: Node, pod_uid: str) -> list[Process]:
    """Return the processes of a pod, its sandbox's excluded."""
    # Both cgroup drivers: systemd writes the UID with underscores.
    found = shown(node.run(_PROCESSES, pod_uid.replace("-", "[-_]")))
    return [process for process in found if process.command not in ("catatonit", "pause")]


def signal(node: Node, name: str, pids: Sequence[int]) -> None:
    """Send a signal to processes of a node; those that are gone are no error."""
    if pids:
        node.run(_SIGNAL, name, *map(str, pids))
