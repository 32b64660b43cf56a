"""A real browser without a window: a page's requests and errors, its width, its print."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from websocket import WebSocket, create_connection

from pgdrill.waiting import eventually

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
STARTS = 60.0  # seconds
ANSWERS = 120.0  # seconds for one command: a long page takes some to print
PHONE, DESK = 390, 1280  # CSS pixels
PICTURE = 1160  # as the README shows it
A4 = {"paperWidth": 8.27, "paperHeight": 11.69}  # inches


@dataclass
class Tab:
    """One tab, over the DevTools protocol: the events of the page since it was opened."""

    socket: WebSocket
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    last: int = 0
    loaded: bool = False

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Give one command and return its answer; events of the page meanwhile are kept.

        Raises:
            AssertionError: the browser refuses.
        """
        self.last += 1
        self.socket.send(json.dumps({"id": self.last, "method": method, "params": parameters}))
        while (message := self._next()).get("id") != self.last:
            pass
        assert "error" not in message, f"{method}: {message['error']}"
        return dict(message["result"])

    def _next(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.socket.recv())
        told = message.get("params", {})
        match message.get("method"):
            case "Page.loadEventFired":
                self.loaded = True
            case "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])
            case "Log.entryAdded":
                self.complaints.append(told["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(told["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if told["type"] in ("error", "warning", "assert"):
                self.complaints.append(json.dumps(told["args"]))
        return message

    def open(self, file: Path, width: int = DESK, height: int = 900) -> None:
        """Show a file as a screen so wide shows it, and wait until it is laid out."""
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")
        self.resize(width, height)
        self.loaded = False
        self.call("Page.navigate", url=file.absolute().as_uri())
        while not self.loaded:
            self._next()

    def resize(self, width: int, height: int = 900) -> None:
        """Show it on another screen."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def ask(self, script: str) -> Any:  # noqa: ANN401  # whatever the script returns
        """Return what an expression of JavaScript is worth."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def picture(self) -> bytes:
        """Return what is on the screen, as PNG."""
        answer = self.call("Page.captureScreenshot")
        return base64.b64decode(answer["data"])

    def printed(self) -> bytes:
        """Return the page on A4, as PDF."""
        answer = self.call("Page.printToPDF", printBackground=True, **A4)
        return base64.b64decode(answer["data"])


def first_screen(page: Path) -> bytes:
    """Return a report's first screen on a desktop: the picture of the README."""
    with tab() as shown:
        shown.open(page, PICTURE)
        return shown.picture()


def pages(pdf: bytes) -> int:
    """Count the pages of what Chromium printed: its page objects lie open in the file."""
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


@contextmanager
def tab() -> Iterator[Tab]:
    """Start Chromium with a home of its own and open a tab in it, for this block.

    Raises:
        DeadlineError: it does not start.
    """
    assert PROGRAM, "there is no chromium"
    # Its processes may write for a moment after the first of them has ended.
    with tempfile.TemporaryDirectory(prefix="pgdrill-browser-", ignore_cleanup_errors=True) as home:
        command = [
            *(PROGRAM, "--headless", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
            *("--remote-debugging-port=0", "--remote-allow-origins=*", f"--user-data-dir={home}"),
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            "about:blank",
        ]
        port = Path(home) / "DevToolsActivePort"
        nowhere = subprocess.DEVNULL
        with subprocess.Popen(command, stdout=nowhere, stderr=nowhere) as browser:
            try:
                eventually("Chromium's port", port.is_file, within=STARTS)
                socket = create_connection(_address(port), timeout=ANSWERS)
                with closing(socket):
                    yield Tab(socket)
            finally:
                browser.terminate()
                browser.wait(STARTS)


def _address(port: Path) -> str:
    """Return where the one open tab listens."""
    number = port.read_text().split()[0]
    (found,) = (
        one
        for one in requests.get(f"http://127.0.0.1:{number}/json/list", timeout=STARTS).json()
        if one["type"] == "page"
    )
    return str(found["webSocketDebuggerUrl"])


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(first_screen(Path(sys.argv[1])))
