"""Host names, resolved in a thread: libpq would block the prober during a look-up."""

import socket
import threading

from psycopg.conninfo import conninfo_to_dict, make_conninfo

LOOK_UP_EVERY = 0.5  # seconds: some clouds give a name another address in a failover
MOST = 8  # addresses of one name


class HostNames:
    """A connection string with addresses for names, from the latest successful look-up.

    A client that resolves at each connect would use a new address up to LOOK_UP_EVERY sooner. While
    look-ups of a name fail, its latest addresses are used.
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
        """Stop looking up."""
        self._over.set()

    def _resolved(self) -> bytes:
        """Return it with addresses for each name; libpq tries several of one in turn."""
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
            # Never resolved: libpq reports the error.
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
