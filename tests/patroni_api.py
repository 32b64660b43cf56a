"""A server of this machine that answers as Patroni's REST API does, as far as it is asked."""

import base64
import json
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.servers import serving

SCOPE = "orders"


@dataclass
class PatroniApi:
    """A cluster of members with an address each; what they answer, as a test changes it.

    asked: method, member and path of each request; credentials: those that a POST needs.
    """

    port: int  # where the leader's PostgreSQL listens
    system: str = "1"
    credentials: str = ""
    silent: set[str] = field(default_factory=set)  # members that answer nothing that is JSON
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    view: dict[str, Any] = field(default_factory=dict)
    status: dict[str, dict[str, Any]] = field(default_factory=dict)
    configuration: dict[str, Any] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)

    @property
    def given(self) -> str:
        """The addresses, as --patroni has them."""
        return ",".join(self.urls.values())

    def member(self, name: str) -> dict[str, Any]:
        """Return a member as GET /cluster lists it, to be changed."""
        found: dict[str, Any] = next(m for m in self.view["members"] if m["name"] == name)
        return found

    @contextmanager
    def serving(self) -> Iterator["PatroniApi"]:
        """Serve a leader and two synchronous standbys, all of them well."""
        self.configuration = {"loop_wait": 10, "ttl": 30, "synchronous_mode": True}
        self.view = {"scope": SCOPE, "members": []}
        with ExitStack() as servers:
            for number, name in enumerate(("db1", "db2", "db3")):
                self.urls[name] = servers.enter_context(serving(self._handler(name)))
                leads = number == 0
                self.view["members"].append(
                    {
                        "name": name,
                        "role": "leader" if leads else "sync_standby",
                        "state": "running" if leads else "streaming",
                        "api_url": f"{self.urls[name]}/patroni",
                        "host": "127.0.0.1",
                        "port": self.port if leads else 1,
                        "timeline": 3,
                    }
                )
                self.status[name] = {
                    "state": "running",
                    "role": "primary" if leads else "replica",
                    "postmaster_start_time": f"2026-11-30 07:00:0{number}.5+00:00",
                    "server_version": 160004,
                    "timeline": 3,
                    "database_system_identifier": self.system,
                    "xlog": {"location": 100} if leads else {"replayed_location": 90},
                    "patroni": {"version": "4.1.5", "scope": SCOPE, "name": name},
                } | ({} if leads else {"replication_state": "streaming", "sync_standby": True})
            yield self

    @contextmanager
    def serving_tls(self, name: str, certificate: Path, key: Path) -> Iterator[str]:
        """Serve a member by https as well; yields that address."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        with serving(self._handler(name), context) as url:
            yield url

    def _handler(self, name: str) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the name that http.server calls
                outer.asked.append(("GET", name, self.path))
                if name in outer.silent:
                    return self._send(200, b"<html>a page</html>")
                answers: dict[str, object] = {
                    "/patroni": outer.status[name],
                    "/cluster": outer.view,
                    "/config": outer.configuration,
                }
                return self._send(200, json.dumps(answers[self.path]).encode())

            def do_POST(self) -> None:  # the name that http.server calls
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append(("POST", name, f"{self.path} {json.dumps(body)}"))
                wanted = base64.b64encode(outer.credentials.encode()).decode()
                if outer.credentials and self.headers.get("Authorization") != f"Basic {wanted}":
                    return self._send(401, b"no auth header received")
                return self._send(400 if body == {} else 200, b"as asked")

            def _send(self, code: int, data: bytes) -> None:
                self.send_response(code)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        return Handler
