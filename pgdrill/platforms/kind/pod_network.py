"""The network of one pod, cut on its node: kubelet still reaches it, as on a machine of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

from pgdrill.platforms.kind.nodes import run
from pgdrill.platforms.partition import Cut
from pgdrill.provision.commands import output

_CHAINS = ("INPUT", "OUTPUT", "FORWARD")
_JOIN = """
rm -f /run/pgdrill-cut
for chain in INPUT OUTPUT FORWARD; do
  iptables -w 5 -D "$chain" -j "PGDRILL-$chain" 2> /dev/null
  iptables -w 5 -F "PGDRILL-$chain" 2> /dev/null
  iptables -w 5 -X "PGDRILL-$chain" 2> /dev/null
done
true
"""
# $1: seconds, $2: what ends it. Rules come from stdin, and take effect all at once.
_CUT = """
touch /run/pgdrill-cut && iptables-restore -w 5 --noflush || { rm -f /run/pgdrill-cut; exit 1; }
setsid -f sh -c '
  n=0
  while [ -e /run/pgdrill-cut ] && [ "$n" -lt "$1" ]; do sleep 1; n=$((n + 1)); done
  if [ -e /run/pgdrill-cut ]; then eval "$2"; fi
' sh "$1" "$2" > /dev/null 2>&1 < /dev/null
"""


@dataclass(frozen=True)
class PodNetwork:
    """A pod's address on its node, and the addresses of its peers: other members, API, operator."""

    node: str
    address: str
    peers: Sequence[str]

    def cut(self, whom: Cut, seconds: float) -> None:
        """Drop packets, for so many seconds at most.

        Raises:
            BrokenEnvironmentError: the node refuses.
        """
        command = ("docker", "exec", "-i", self.node, "sh", "-c", _CUT, "sh", f"{seconds:.0f}")
        output(*command, _JOIN, stdin=self._rules(whom), within=30)

    def dropped(self) -> int | None:
        """Return how many packets were dropped; None where nothing is cut."""
        script = "\n".join(
            f"iptables -w 5 -n -v -x -L PGDRILL-{chain} 2> /dev/null" for chain in _CHAINS
        )
        rows = [line.split() for line in run(self.node, "sh", "-c", f"{script}\ntrue").splitlines()]
        packets = [int(row[0]) for row in rows if len(row) > 2 and row[2] == "DROP"]
        return sum(packets) if packets else None

    def join(self) -> None:
        """Let every packet pass; safe to repeat."""
        run(self.node, "sh", "-c", _JOIN)

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
