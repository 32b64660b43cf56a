"""The address of this host as pods reach it: found by trying, not by the type of system.

The gateway of the docker network is this host where the engine runs on it. With Docker Desktop it
is the virtual machine's, and host.docker.internal is a proxy to this host's loopback address.
"""

import secrets
import socket
from collections.abc import Iterator
from contextlib import suppress

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.observe.alerts import listening_address
from pgdrill.platforms.kind import network, nodes
from pgdrill.provision.commands import Say

DESKTOP = "host.docker.internal"
CONNECTS_WITHIN = 3  # seconds; a packet filter may drop what it does not let through
ARRIVES_WITHIN = 2.0  # seconds more, by way of a proxy
_SEND = 'exec 3<> "/dev/tcp/$1/$2" && echo "$3" >&3'


def address(node: str, say: Say) -> str:
    """Return the address at which pods reach a listener on this host.

    Where none can be found, report it and return the most likely one: only pages are lost.

    Raises:
        BrokenEnvironmentError: the docker network has no IPv4 subnet.
    """
    tried = []
    for host in _candidates(node):
        if reached(node, host):
            return host
        tried.append(host)
    say(
        f"pods cannot reach this host at {' or '.join(tried)}, so no page of an alert will arrive:"
        " does a packet filter let in what comes from the docker network?"
    )
    return tried[0]


def _candidates(node: str) -> Iterator[str]:
    yield network.gateway()
    with suppress(BrokenEnvironmentError):  # resolved by Docker Desktop and its like only
        told = nodes.run(node, "getent", "ahostsv4", DESKTOP, within=10)
        yield told.split()[0]


def reached(node: str, host: str) -> bool:
    """Whether what a node sends to an address arrives at a listener of this process."""
    word = secrets.token_hex(8)
    with socket.create_server((listening_address(host), 0)) as server:
        port = server.getsockname()[1]
        send = ("timeout", str(CONNECTS_WITHIN), "bash", "-c", _SEND, "bash", host, str(port), word)
        try:
            nodes.run(node, *send, within=CONNECTS_WITHIN + 10)
            server.settimeout(ARRIVES_WITHIN)
            connection, _ = server.accept()
            with connection:
                connection.settimeout(ARRIVES_WITHIN)
                return connection.recv(64).decode(errors="replace").strip() == word
        except (BrokenEnvironmentError, OSError):
            return False
