"""The network of one member: each member's processes are in a control group of their own.

All addresses are of one interface, and a packet to 127.0.10.1 comes from 127.0.0.1, whoever sent
it. So packets are marked by the control group of the socket that sends them, and looked at again
where they arrive, by that of the socket that receives them.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.partition import Cut
from pgdrill.platforms.self_undo import undo_later
from pgdrill.provision.commands import output

_MOUNTED = Path("/sys/fs/cgroup")  # nft takes the names of control groups as below it
_MEMBER, _PEER = 0x70670001, 0x70670002  # marks on packets

# The answer to a SYN is no full socket's yet, and may have no mark. It opens nothing where the SYN
# was dropped.
_RULES = """
table inet {table} {{
  chain sent {{
    type filter hook output priority filter; policy accept;
    {sent}
  }}
  chain received {{
    type filter hook input priority filter; policy accept;
    tcp flags & (syn | ack) == syn | ack accept
    {received}
  }}
}}
"""
# $1: a file that is there while the cut lasts, $2: seconds, $3: the table. Rules come from stdin.
_LATER = undo_later(
    'rm -f "$1"; nft delete table inet "$3"', mark='"$1"', seconds='"$2"', arguments='"$3"'
)
_CUT = f"""
touch "$1" && nft --file - || {{ rm -f "$1"; exit 1; }}
{_LATER}
"""


def cgroups() -> Path | None:
    """Return where control groups can be made that packets are told apart by; None: nowhere."""
    for mounted in psutil.disk_partitions(all=True):
        place = Path(mounted.mountpoint)
        if mounted.fstype == "cgroup2" and place.is_relative_to(_MOUNTED):
            return place if os.geteuid() == 0 and os.access(place, os.W_OK) else None
    return None


@dataclass(frozen=True)
class MemberNetwork:
    """One member's control group, those of its peers, and the table of nft's that cuts it off.

    mark: a file that is there while it is cut off.
    """

    group: Path
    peers: Sequence[Path]
    table: str
    mark: Path

    def possible(self) -> bool:
        """Whether this machine can tell packets apart by control groups."""
        groups = (self.group, *self.peers)
        if not all(group.is_dir() for group in groups):
            return False
        try:
            output("nft", "--check", "--file", "-", stdin=self._rules("peers"), within=10)
        except BrokenEnvironmentError:
            return False
        return True

    def cut(self, whom: Cut, seconds: float) -> None:
        """Drop packets, for so many seconds at most.

        Raises:
            BrokenEnvironmentError: nft refuses.
        """
        arguments = (str(self.mark), f"{seconds:.0f}", self.table)
        output("sh", "-c", _CUT, "sh", *arguments, stdin=self._rules(whom), within=10)

    def dropped(self) -> int | None:
        """Return how many packets were dropped; None where nothing is cut."""
        try:
            listed = output("nft", "list", "table", "inet", self.table, within=10)
        except BrokenEnvironmentError:
            return None
        words = listed.split()
        return sum(int(words[n + 1]) for n, word in enumerate(words) if word == "packets")

    def join(self) -> None:
        """Let every packet pass; safe to repeat."""
        self.mark.unlink(missing_ok=True)
        if self.dropped() is not None:
            output("nft", "delete", "table", "inet", self.table, within=10)

    def _rules(self, whom: Cut) -> str:
        member = _of(self.group)
        sent = [f"{member} meta mark set {_MEMBER:#x}"]
        if whom == "peers":
            sent += [f"{_of(peer)} meta mark set {_PEER:#x}" for peer in self.peers]
            received = [
                *(f"meta mark {_MEMBER:#x} {_of(peer)} counter drop" for peer in self.peers),
                f"meta mark {_PEER:#x} {member} counter drop",
            ]
        else:
            received = [f"meta mark {_MEMBER:#x} {member} accept", f"{member} counter drop"]
            if whom == "everybody":
                received.append(f"meta mark {_MEMBER:#x} counter drop")
        between = "\n    "
        return _RULES.format(
            table=self.table, sent=between.join(sent), received=between.join(received)
        )


def _of(group: Path) -> str:
    """Return what matches the sockets of a control group right below the root of them all."""
    return f'socket cgroupv2 level 1 "{group.relative_to(_MOUNTED)}"'
