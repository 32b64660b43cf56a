"""The network of one pod, cut on its node: kubelet still reaches it, as on a machine of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

from pgdrill.platforms.kubernetes.nodes import CUT_OFF, Node
from pgdrill.platforms.partition import Cut
from pgdrill.platforms.self_undo import undo_later

_CHAINS = ("INPUT", "OUTPUT", "FORWARD")
JOIN = f"""
rm -f {CUT_OFF}
for chain in INPUT OUTPUT FORWARD; do
  iptables -w 5 -D "$chain" -j "PGDRILL-$chain" 2> /dev/null
  iptables -w 5 -F "PGDRILL-$chain" 2> /dev/null
  iptables -w 5 -X "PGDRILL-$chain" 2> /dev/null
done
true
"""
# $1: seconds, $2: what ends it, $3: the rules, which take effect all at once.
_CUT = f"""
touch {CUT_OFF}
printf '%s' "$3" | iptables-restore -w 5 --noflush || {{ rm -f {CUT_OFF}; exit 1; }}
{undo_later('eval "$3"', mark=CUT_OFF, seconds='"$1"', arguments='"$2"')}
"""


@dataclass(frozen=True)
class PodNetwork:
    """A pod's address on its node, and the addresses of its peers: other members, API, operator."""

    node: Node
    address: str
    peers: Sequence[str]

    def cut(self, whom: Cut, seconds: float) -> None:
        """Drop packets, for so many seconds at most.

        Raises:
            BrokenEnvironmentError: the node refuses.
        """
        self.node.on_host(_CUT, f"{seconds:.0f}", JOIN, self._rules(whom))

    def dropped(self) -> int | None:
        """Return how many packets were dropped; None where nothing is cut."""
        script = "\n".join(
            f"iptables -w 5 -n -v -x -L PGDRILL-{chain} 2> /dev/null" for chain in _CHAINS
        )
        rows = [line.split() for line in self.node.on_host(f"{script}\ntrue").splitlines()]
        packets = [int(row[0]) for row in rows if len(row) > 2 and row[2] == "DROP"]
        return sum(packets) if packets else None

    def join(self) -> None:
        """Let every packet pass; safe to repeat."""
        self.node.on_host(JOIN)

    def _rules(self, whom: Cut) -> str:
        """Return what iptables-restore reads.

        What kubelet asks the pod, and the answers, pass between the node itself and the pod; what
        the pod asks the node (the API server, where it runs there) does not.
        """
        to = f"-d {self.address}"
        drops = [f"OUTPUT {to} -m conntrack --ctstate ESTABLISHED --ctdir REPLY"]
        if whom == "peers":
            for peer in self.peers:
                drops += [f"FORWARD {to} -s {peer}", f"FORWARD -s {self.address} -d {peer}"]
        else:
            drops.append(f"FORWARD {to}")
        if whom == "everybody":
            drops.append(f"FORWARD -s {self.address}")
        if whom != "inbound":
            drops.append(f"INPUT -s {self.address} -m conntrack --ctdir ORIGINAL")
        return "\n".join(
            [
                "*filter",
                *(f":PGDRILL-{chain} - [0:0]" for chain in _CHAINS),
                *(f"-A PGDRILL-{rule} -j DROP" for rule in drops),
                *(f"-I {chain} -j PGDRILL-{chain}" for chain in _CHAINS),
                "COMMIT\n",
            ]
        )
