"""Names of hosts, looked up beside the attempts: libpq would stop the prober while it asks."""

import socket
import threading

from psycopg.conninfo import conninfo_to_dict, make_conninfo

LOOK_UP_EVERY = 0.5  # seconds: a name may lead elsewhere after a failover, as clouds do it
MOST = 8  # addresses of one name


class HostNames:
    """A connection string whose names are addresses, never older than the latest good answer.

    A client that asks at each connect would see a new address up to LOOK_UP_EVERY sooner. While
    nobody answers for a name, its latest addresses are tried.
    """

    def __init__(self, conninfo: str) -> None:
        # A search for Kerberos tickets may block on files and the network.
        self._parts = conninfo_to_dict(make_conninfo(conninfo, gssencmode="disable"))
        self._hosts = str(self._parts.get("host") or "").split(",")
        self._ports = str(self._parts.get("port") or "5432").split(",")
        self._known: dict[str, list[str]] = {}
        self._over = threading.Event()
        self.conninfo = self._resolved()
        if any(map(self._is_name, self._hosts)):
            threading.Thread(target=self._follow, name="names", daemon=True).start()

    def _is_name(self, host: str) -> bool:
        if self._parts.get("hostaddr") or not host or host.startswith(("/", "@")):
            return False
        return not any(_is_address(family, host) for family in (socket.AF_INET, socket.AF_INET6))

    def _follow(self) -> None:
        while not self._over.wait(LOOK_UP_EVERY):
            self.conninfo = self._resolved()

    def close(self) -> None:
        """Look up no more."""
        self._over.set()

    def _resolved(self) -> bytes:
        """Return it with an address for each name; several of one are tried in turn."""
        if not any(map(self._is_name, self._hosts)):
            return make_conninfo("", **self._parts).encode()
        hosts, addresses, ports = [], [], []
        for place, host in enumerate(self._hosts):
            port = self._ports[place if len(self._ports) > 1 else 0]
            for address in self._look_up(host) if self._is_name(host) else [_literal(host)]:
                hosts.append(host)
                addresses.append(address)
                ports.append(port)
        every = {"host": hosts, "hostaddr": addresses, "port": ports}
        return make_conninfo(
            "", **self._parts | {key: ",".join(values) for key, values in every.items()}
        ).encode()

    def _look_up(self, host: str) -> list[str]:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError:
            # Unknown from the first: libpq is to say so.
            return self._known.get(host, [""])
        self._known[host] = list(dict.fromkeys(str(one[4][0]) for one in found))[:MOST]
        return self._known[host]


def _is_address(family: socket.AddressFamily, host: str) -> bool:
    try:
        socket.inet_pton(family, host)
    except OSError:
        return False
    return True


def _literal(host: str) -> str:
    return "" if host.startswith(("/", "@")) else host
