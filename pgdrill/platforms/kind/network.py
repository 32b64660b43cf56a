"""The load balancer's addresses: an unused part of the docker network."""

import ipaddress
import json
import socket
from collections.abc import Mapping
from typing import Any

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.provision.commands import output, succeeds

NETWORK = "kind"
API_SERVER = 6443  # a port that every control plane listens on
ROUTED_WITHIN = 2.0  # seconds
SIZE = 21  # addresses, at the upper end of the network, where docker assigns last


def pool() -> str:
    """Return a range of addresses inside the docker network, clear of every container.

    Raises:
        BrokenEnvironmentError: the network is too small, or its upper end is in use.
    """
    described = _inspect()
    used = [c["IPv4Address"].split("/")[0] for c in described["Containers"].values()]
    return choose(_subnet(described), [ipaddress.IPv4Address(a) for a in used if a])


def gateway() -> str:
    """Return the engine's own address in the docker network.

    Raises:
        BrokenEnvironmentError: the network has no IPv4 subnet.
    """
    return str(next(_subnet(_inspect()).hosts()))  # docker takes the first


def routable(node: str) -> bool:
    """Whether this host reaches the control plane's node at its address in the docker network.

    Raises:
        BrokenEnvironmentError: the engine has no such node.
    """
    asked = f"{{{{(index .NetworkSettings.Networks {json.dumps(NETWORK)}).IPAddress}}}}"
    address = output("docker", "inspect", f"--format={asked}", node).strip()
    try:
        socket.create_connection((address, API_SERVER), timeout=ROUTED_WITHIN).close()
    except OSError:
        return False
    return True


def _inspect() -> dict[str, Any]:
    return dict(json.loads(output("docker", "network", "inspect", NETWORK))[0])


def _subnet(described: Mapping[str, Any]) -> ipaddress.IPv4Network:
    for config in described["IPAM"]["Config"]:
        subnet = ipaddress.ip_network(config["Subnet"])
        if isinstance(subnet, ipaddress.IPv4Network):
            return subnet
    raise BrokenEnvironmentError(f"the docker network {NETWORK} has no IPv4 subnet")


def refuse_taken() -> None:
    """Check an existing network before a cluster is made that could not use it.

    Raises:
        BrokenEnvironmentError: there is no pool of addresses in it.
    """
    if succeeds("docker", "network", "inspect", NETWORK):
        pool()


def choose(subnet: ipaddress.IPv4Network, used: list[ipaddress.IPv4Address]) -> str:
    """Return the last SIZE usable addresses of a subnet as a range.

    Raises:
        BrokenEnvironmentError: there are not so many, or one of them is used.
    """
    if subnet.num_addresses < 4 * SIZE:
        raise BrokenEnvironmentError(f"the docker network {subnet} is too small for a pool")
    last = subnet.broadcast_address - 1
    first = last - (SIZE - 1)
    taken = [str(a) for a in used if first <= a <= last]
    if taken:
        raise BrokenEnvironmentError(
            f"{', '.join(taken)} lies in the load balancer's pool {first}-{last}:"
            f" remove that container from the docker network {NETWORK}"
        )
    return f"{first}-{last}"
