"""Objects followed by a watch, against a server that speaks the API's chunks."""

import json
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from kubernetes import client

from pgdrill.engines.informer import FIRST_WITHIN, Informer
from pgdrill.waiting import eventually, throughout

pytestmark = pytest.mark.unit

Say = queue.Queue[tuple[str, str, str] | int | None]  # kind, name and field; a status; the end


@pytest.fixture
def say() -> Say:
    """The server's next answer."""
    return queue.Queue()


@pytest.fixture
def followed(say: Say) -> Iterator[Informer]:
    """Follow the answers of a server in this test."""

    class Watched(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # http.server's name
            assert "watch=true" in self.path
            begun = False
            while True:
                said = say.get(timeout=30)
                if isinstance(said, int):
                    self.send_error(said)
                    return
                if not begun:
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    begun = True
                self._chunk(said)
                if said is None:
                    return

        def _chunk(self, said: tuple[str, str, str] | None) -> None:
            line = b""
            if said is not None:
                kind, name, field = said
                described = {"metadata": {"name": name}, "status": {"targetPrimary": field}}
                line = json.dumps({"type": kind, "object": described}).encode() + b"\n"
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Watched) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        settings = client.Configuration(host=f"http://127.0.0.1:{server.server_port}")
        settings.retries = False
        try:
            with client.ApiClient(settings) as api:
                listing = client.CustomObjectsApi(api).list_namespaced_custom_object
                yield Informer(listing, "g", "v1", "n", "clusters", field_selector="x=y")
        finally:
            say.put(None)
            server.shutdown()
            thread.join()


def _names(followed: Informer) -> dict[str, str]:
    return {o["metadata"]["name"]: o["status"]["targetPrimary"] for o in followed.objects()}


def _becomes(followed: Informer, wanted: dict[str, str]) -> None:
    eventually("what was said", lambda: _names(followed), lambda s: s == wanted, within=10, every=0)


def test_every_change_is_known(say: Say, followed: Informer) -> None:
    """The first objects are known at once; then every change, addition and removal."""
    say.put(("ADDED", "one", "a"))
    with followed:
        assert _names(followed) == {"one": "a"}
        say.put(("MODIFIED", "one", "b"))
        say.put(("ADDED", "two", "c"))
        _becomes(followed, {"one": "b", "two": "c"})
        say.put(("DELETED", "one", "b"))
        _becomes(followed, {"two": "c"})


def test_nothing_is_known_of_a_silent_server(say: Say, followed: Informer) -> None:
    """An error clears the state; the next watch, which lists everything again, restores it."""
    say.put(("ADDED", "one", "a"))
    with followed:
        say.put(None)
        say.put(500)
        _becomes(followed, {})
        say.put(("ADDED", "two", "b"))
        _becomes(followed, {"two": "b"})


def test_a_watch_that_ends_in_peace_is_resumed(say: Say, followed: Informer) -> None:
    """Known objects stay until the next watch begins, which drops those that are gone."""
    say.put(("ADDED", "one", "a"))
    with followed:
        say.put(None)
        throughout("one", lambda: _names(followed), lambda s: s == {"one": "a"}, lasting=0.5)
        say.put(("ADDED", "two", "b"))
        _becomes(followed, {"two": "b"})


def test_following_ends_at_once(say: Say, followed: Informer) -> None:
    """The end of the block does not wait for the next change."""
    say.put(("ADDED", "one", "a"))
    with followed:
        assert _names(followed)
    eventually(
        "no thread of it",
        lambda: [t for t in threading.enumerate() if t.name == "followed"],
        lambda left: not left,
        within=FIRST_WITHIN,
        every=0.05,
    )
