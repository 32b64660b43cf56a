"""Whether a new session gets in at each member, and can write through the way in, for Prometheus.

Usage: session-probe.py HOST:PORT WAY_IN NAME=MEMBER..., addresses as HOST:PORT; the rest of how to
log in is in libpq's variables. Each scrape opens a session to each address, all at once. The
exporters keep theirs, and would notice nothing of a postmaster that hangs.
"""

import sys
from concurrent.futures import Future, ThreadPoolExecutor, wait
from http.server import BaseHTTPRequestHandler, HTTPServer

import psycopg

ANSWER_WITHIN = 1.2  # seconds; Prometheus waits for 1.5
WAY_IN = "the way in"


def opened(address: str) -> bool:
    """Open a session; return whether it can write.

    A server that hangs is given up after two seconds, libpq's shortest.
    """
    host, _, port = address.rpartition(":")
    with psycopg.connect(host=host, port=int(port), connect_timeout=2) as session:
        return session.info.parameter_status("in_hot_standby") == "off"


class Probe:
    """Tries every address; never twice at a time, so that what hangs costs one thread each."""

    def __init__(self, addresses: dict[str, str]) -> None:
        self._addresses = addresses
        self._running: dict[str, Future[bool]] = {}
        self._pool = ThreadPoolExecutor(len(addresses))

    def metrics(self) -> str:
        """Try all, and return what came of it."""
        late = {name for name, future in self._running.items() if not future.done()}
        for name, address in self._addresses.items():
            if name not in late:
                self._running[name] = self._pool.submit(opened, address)
        wait(self._running.values(), timeout=ANSWER_WITHIN)
        lines = []
        for name, future in self._running.items():
            done = name not in late and future.done() and future.exception() is None
            if name == WAY_IN:
                lines.append(f"pgdrill_way_in_writable {int(done and future.result())}")
            else:
                lines.append(f'pgdrill_session_opens{{member="{name}"}} {int(done)}')
        return "\n".join(lines) + "\n"


def main(listen: str, way_in: str, *members: str) -> None:
    """Serve until killed."""
    probe = Probe({WAY_IN: way_in, **dict(member.split("=", 1) for member in members)})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = probe.metrics().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: a line for each scrape would fill the log."""

    host, _, port = listen.rpartition(":")
    HTTPServer((host, int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
