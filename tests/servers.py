"""Small HTTP servers of this machine, in the place of releases and of image registries."""

import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

SHUT_DOWN_WITHIN = 0.02  # seconds; by default a server looks for its end twice a second
OF_A_LIST = "application/vnd.oci.image.index.v1+json"
OF_AN_IMAGE = "application/vnd.oci.image.manifest.v1+json"
DIGESTS = {"amd64": f"sha256:{'a' * 64}", "arm64": f"sha256:{'b' * 64}"}


@contextmanager
def serving(
    handler: Callable[..., BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """Run a server on the loopback address for as long as the block lasts; yields its URL.

    tls: it is one of https.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(SHUT_DOWN_WITHIN,), daemon=True).start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def free_port() -> int:
    """Return a port of the loopback address that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def self_signed(directory: Path) -> tuple[Path, Path]:
    """Make a certificate of 127.0.0.1 that is its own authority; return it and its key."""
    certificate, key = directory / "authority", directory / "key"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    named = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*made, *named, *files], check=True, capture_output=True, timeout=60)
    return certificate, key


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def files(directory: Path) -> Iterator[str]:
    """Serve a directory."""
    with serving(partial(_Quiet, directory=str(directory))) as url:
        yield url


@dataclass
class Cutting:
    """A file whose server hangs up after so many bytes of each answer; asked: what came."""

    content: bytes
    after: int
    asked: list[str] = field(default_factory=list)

    @contextmanager
    def url(self) -> Iterator[str]:
        """Serve it."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the name that http.server calls
                asked = self.headers.get("Range", "")
                outer.asked.append(asked)
                start = int(asked.removeprefix("bytes=").rstrip("-") or 0)
                rest = outer.content[start:]
                self.send_response(206 if asked else 200)
                self.send_header("Content-Length", str(len(rest)))
                self.end_headers()
                self.wfile.write(rest[: outer.after])

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        with serving(Handler) as url:
            yield f"{url}/file"


@dataclass
class Registry:
    """Answers questions about images, as much as is asked before a pull; sizes in bytes.

    token: whether it requires the token that it gives to all; asked: what came, host and path.
    """

    sizes: Mapping[str, int]  # by path:tag or path@digest
    token: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)

    @contextmanager
    def url(self) -> Iterator[str]:
        """Serve it."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the name that http.server calls
                parts = urlsplit(self.path)
                if parts.path == "/token":
                    return self._send(200, {"token": "for-anybody"}, "application/json")
                if outer.token and self.headers.get("Authorization") != "Bearer for-anybody":
                    at = f"http://{self.headers['Host']}/token"
                    challenge = f'Bearer realm="{at}",service="here",scope="pull"'
                    return self._send(401, {}, "application/json", challenge)
                path, _, version = parts.path.removeprefix("/v2/").partition("/manifests/")
                outer.asked.append((parse_qs(parts.query).get("ns", [""])[0], path))
                return self._manifest(path, version)

            def _manifest(self, path: str, version: str) -> None:
                of_platform = version in DIGESTS.values()
                named = f"{path}{'@' if ':' in version else ':'}{version}"
                sizes = [s for name, s in outer.sizes.items() if name.startswith(path)]
                if of_platform and sizes:
                    content = {"config": {"size": 1}, "layers": [{"size": sizes[0] - 1}]}
                    return self._send(200, content, OF_AN_IMAGE)
                if named not in outer.sizes:
                    return self._send(404, {"errors": []}, "application/json")
                listed = [
                    {"digest": digest, "platform": {"os": "linux", "architecture": architecture}}
                    for architecture, digest in DIGESTS.items()
                ]
                return self._send(200, {"manifests": listed}, OF_A_LIST)

            def _send(self, code: int, content: object, kind: str, challenge: str = "") -> None:
                body = json.dumps(content).encode()
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                if challenge:
                    self.send_header("WWW-Authenticate", challenge)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        with serving(Handler) as url:
            yield url
