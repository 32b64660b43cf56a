"""Nodes whose processes can be reached, and what is done to the processes of a pod there."""

from collections.abc import Sequence
from typing import Protocol

from pgdrill.platforms.member_faults import Process

# What undoes a fault reads these: the processes that were stopped, and who is cut off.
STOPPED, CUT_OFF = "/run/pgdrill-stopped", "/run/pgdrill-cut"

_PROCESSES = r"""
for file in $(grep -lsE "$1" /proc/[0-9]*/cgroup); do
  pid=${file#/proc/}; pid=${pid%/cgroup}
  state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$pid/status" 2>/dev/null)
  command=; words=()
  {
    read -r command < "/proc/$pid/comm"
    mapfile -d '' -t words < "/proc/$pid/cmdline"
  } 2>/dev/null
  # A process may end at any moment of this, and is none then.
  [ -n "$state" ] && [ -n "$command" ] &&
    printf '%s\t%s\t%s\t%s\n' "$pid" "$state" "$command" "${words[*]}"
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
    rows = node.run(_PROCESSES, pod_uid.replace("-", "[-_]"))
    found = [line.split("\t", maxsplit=3) for line in rows.splitlines()]
    return [
        Process(int(pid), state, command, title.strip())
        for pid, state, command, title in found
        if command not in ("catatonit", "pause")
    ]


def signal(node: Node, name: str, pids: Sequence[int]) -> None:
    """Send a signal to processes of a node; those that are gone are no error."""
    if pids:
        node.run(_SIGNAL, name, *map(str, pids))
