"""Commands in a pod, by the API's exec."""

import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream
from urllib3.exceptions import HTTPError
from websocket import WebSocketException

from pgdrill import timeouts
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.kubernetes.access import Access

POLL = 1.0  # seconds to wait for output at once
# The channels of the API's protocol.
OUTPUTS: tuple[tuple[Literal["out", "err"], int], ...] = (("out", 1), ("err", 2))


class PodShell:
    """A pod whose container has a shell; each command is a session of its own."""

    def __init__(self, access: Access, namespace: str, pod: str) -> None:
        self.pod = pod
        self._access, self._namespace = access, namespace

    def open(self, script: str | Sequence[str]) -> "Session":
        """Start a script of Bash, or a command where the container may lack Bash.

        Raises:
            BrokenEnvironmentError: the pod is gone, or the API server refuses.
        """
        # stream() changes the client that it is given for the time of the call: one for each.
        core = client.CoreV1Api(self._access.client())
        try:
            opened = stream(
                core.connect_get_namespaced_pod_exec,
                self.pod,
                self._namespace,
                command=["bash", "-c", script] if isinstance(script, str) else list(script),
                stdin=True,
                stdout=True,
                stderr=True,
                tty=False,
                binary=True,
                _preload_content=False,
                _request_timeout=timeouts.KUBERNETES_ANSWERS,
            )
        except (ApiException, HTTPError, WebSocketException, OSError) as error:
            raise BrokenEnvironmentError(f"exec in {self.pod}: {_line(error)}") from None
        return Session(self.pod, opened)

    def read(self, script: str | Sequence[str], *, within: float) -> bytes:
        """Return what a script prints, whole; as open() takes it.

        Raises:
            BrokenEnvironmentError: it fails, or does not end within so many seconds.
        """
        session = self.open(script)
        parts: dict[str, list[bytes]] = {"out": [], "err": []}
        for name, data in session.output(within=within):
            parts[name].append(data)
        if session.status != 0:
            trouble = b"".join(parts["err"]).decode(errors="replace").strip()
            shown = script if isinstance(script, str) else " ".join(script)
            raise BrokenEnvironmentError(
                f"`{shown[:60]}` in {self.pod}: {trouble or f'exit status {session.status}'}"
            )
        return b"".join(parts["out"])


class Session:
    """A script that runs in a pod; status is None until it has ended by itself."""

    def __init__(self, pod: str, opened: Any) -> None:  # noqa: ANN401  # the client has no types
        self._pod, self._opened = pod, opened

    @property
    def status(self) -> int | None:
        """The exit status; None where the script has not ended, or was cut off."""
        if self._opened.is_open():
            return None
        try:
            found = self._opened.returncode
        except (KeyError, TypeError, ValueError, AttributeError):  # no status was sent: cut off
            return None
        return None if found is None else int(found)

    def output(self, *, within: float) -> Iterator[tuple[Literal["out", "err"], bytes]]:
        """Yield pieces of both outputs until the script ends.

        Raises:
            BrokenEnvironmentError: the session is cut off, or does not end in so many seconds.
        """
        ends = time.monotonic() + within
        try:
            while True:
                was_open = self.is_open
                left = ends - time.monotonic()
                yield from self.pieces(within=max(0.0, min(POLL, left)))
                if not was_open:
                    return
                if left <= 0:
                    raise BrokenEnvironmentError(
                        f"the session in {self._pod} does not end within {within:g} s"
                    )
        finally:
            self.close()

    @property
    def is_open(self) -> bool:
        """Whether the script may still print something."""
        return bool(self._opened.is_open())

    def fileno(self) -> int:
        """Return the descriptor of the connection, to wait for output."""
        return int(self._opened.sock.sock.fileno())

    def pieces(self, *, within: float) -> list[tuple[Literal["out", "err"], bytes]]:
        """Return what both outputs have, after a wait of at most so many seconds for the first.

        Raises:
            BrokenEnvironmentError: the session is cut off.
        """
        opened = self._opened
        try:
            if opened.is_open():
                opened.update(timeout=within)
            found = [(name, opened.read_channel(channel)) for name, channel in OUTPUTS]
        except (WebSocketException, OSError) as error:
            raise BrokenEnvironmentError(f"exec in {self._pod}: {_line(error)}") from None
        return [(name, data) for name, data in found if data]

    def send(self, data: bytes) -> None:
        """Write to the script's input.

        Raises:
            BrokenEnvironmentError: the session is cut off.
        """
        try:
            self._opened.write_stdin(data)
        except (WebSocketException, OSError) as error:
            raise BrokenEnvironmentError(f"exec in {self._pod}: {_line(error)}") from None

    def ask(self, line: str, *, within: float) -> str:
        """Send a line to a script that answers each with one line.

        Raises:
            BrokenEnvironmentError: it does not answer.
        """
        self.send(line.encode() + b"\n")
        try:
            answer = bytes(self._opened.readline_stdout(timeout=within))
        except (WebSocketException, OSError) as error:
            raise BrokenEnvironmentError(f"exec in {self._pod}: {_line(error)}") from None
        if not answer:
            raise BrokenEnvironmentError(f"{self._pod} gives no answer within {within:g} s")
        return answer.decode()

    def close(self) -> None:
        """End the session; its script reads the end of its input."""
        self._opened.close()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
