"""Talking to supervisor over its socket, with a deadline on every call."""

import http.client
import socket
import xmlrpc.client
from pathlib import Path
from typing import Any


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(str(self._path))


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> _Connection:  # noqa: ANN401  # as declared above us
        connection = _Connection(self._path)
        self._connection = (host, connection)  # what close() closes
        return connection


class Supervisor:
    """The few calls that the platform needs."""

    def __init__(self, sock: Path) -> None:
        self._sock = sock
        self._gone: set[str] = set()  # programs that the configuration does not have any more

    def _call(self, method: str, *arguments: object) -> Any:  # noqa: ANN401  # XML-RPC is untyped
        transport = _Transport(self._sock)
        with xmlrpc.client.ServerProxy("http://localhost", transport=transport) as proxy:
            return getattr(proxy.supervisor, method)(*arguments)

    def answers(self) -> bool:
        """Whether a supervisor listens on the socket."""
        try:
            return bool(self._call("getState")["statename"])
        except OSError:
            return False

    def states(self) -> dict[str, str]:
        """State by program name; empty when no supervisor answers."""
        try:
            return {p["name"]: p["statename"] for p in self._call("getAllProcessInfo")}
        except OSError:
            return {}

    def stop(self, program: str) -> None:
        """Stop a program (by SIGKILL, as configured) and keep it stopped."""
        try:
            self._call("stopProcess", program, True)
        except xmlrpc.client.Fault as fault:
            if "NOT_RUNNING" not in fault.faultString:
                raise

    def start(self, program: str) -> None:
        """Start a program; one that runs already is fine."""
        try:
            self._call("startProcess", program, False)
        except xmlrpc.client.Fault as fault:
            if "ALREADY_STARTED" not in fault.faultString:
                raise

    def signal(self, program: str, name: str) -> None:
        """Send a signal, such as HUP, to a program; one that does not run gets nothing."""
        try:
            self._call("signalProcess", program, name)
        except xmlrpc.client.Fault as fault:
            if "NOT_RUNNING" not in fault.faultString:
                raise

    def changed(self) -> list[str]:
        """Read the configuration again; return the programs that are new, changed, or gone."""
        added, changed, removed = self._call("reloadConfig")[0]
        self._gone = set(removed)
        return [*added, *changed, *removed]

    def restart_changed(self, program: str) -> None:
        """Stop a program and start it as the configuration has it now, where it still does."""
        if program in self.states():
            self.remove(program)
        if program not in self._gone:
            self._call("addProcessGroup", program)

    def load(self) -> None:
        """Add programs whose configuration is new; none of them is started."""
        added, _, _ = self._call("reloadConfig")[0]
        for group in added:
            self._call("addProcessGroup", group)

    def remove(self, program: str) -> None:
        """Stop a program and forget it."""
        self.stop(program)
        self._call("removeProcessGroup", program)

    def shutdown(self) -> None:
        """Stop everything; returns at once. No supervisor is fine."""
        try:
            self._call("shutdown")
        except OSError:
            return
