"""Run a command as if the container engine were in a virtual machine, as Docker Desktop's is.

    python -m tests.desktop make smoke alerts PLATFORM=kind

The command gets a network of its own with nothing but a loopback address. As on a Mac, the ports
that containers publish on 127.0.0.1 are there, no container's own address is, and what a container
sends to host.docker.internal arrives at the command's loopback. Needs Linux, root, iptables and an
engine that runs here. What this cannot imitate is in docs/kind.md.
"""

import asyncio
import ctypes
import os
import re
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path

PROXY = "198.51.100.254"  # of a range for documentation: unused
NAME, NAMES = "host.docker.internal", "/etc/hosts"
LOOK_EVERY = 0.5  # seconds between two looks for containers and their ports
CLONE_NEWNET = 0x40000000  # linux/sched.h
SO_ORIGINAL_DST = 80  # linux/netfilter_ipv4.h
BUFFER = 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: int) -> None:
    if getattr(_libc, name)(*arguments):
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout if done.returncode == 0 else ""


class Inside:
    """A network with a loopback address alone, that this process can reach into."""

    def __init__(self) -> None:
        self._ours = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        _call("unshare", CLONE_NEWNET)
        self._other = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=10)
        _call("setns", self._ours, CLONE_NEWNET)

    def enter(self) -> None:
        """Move this thread there, for good."""
        _call("setns", self._other, CLONE_NEWNET)

    def make(self, create: Callable[[], socket.socket]) -> socket.socket:
        """Make a socket that belongs there."""
        self.enter()
        try:
            return create()
        finally:
            _call("setns", self._ours, CLONE_NEWNET)


@contextmanager
def _proxy_rule(port: int) -> Iterator[None]:
    """Hand what containers send to the proxy's address to a port of ours."""
    to_proxy = ["-d", PROXY, "-p", "tcp", "-j", "REDIRECT", "--to-ports", str(port)]
    address = ["dev", "lo", f"{PROXY}/32"]
    rule = ["iptables", "-w", "-t", "nat"]
    subprocess.run(["ip", "address", "add", *address], check=True, timeout=10)
    try:
        subprocess.run([*rule, "-I", "PREROUTING", *to_proxy], check=True, timeout=10)
        yield
    finally:
        _run(*rule, "-D", "PREROUTING", *to_proxy)
        _run("ip", "address", "delete", *address)


async def _relay(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: socket.socket, port: int
) -> None:
    """Connect a socket to a port of its loopback, and hand bytes on both ways."""
    loop = asyncio.get_running_loop()
    try:
        to.setblocking(False)
        await loop.sock_connect(to, ("127.0.0.1", port))
        back, forth = await asyncio.open_connection(sock=to, limit=BUFFER)
    except OSError:
        to.close()
        writer.close()
        return
    await asyncio.gather(_pump(reader, forth), _pump(back, writer))
    for end in (writer, forth):
        end.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(BUFFER):
            sink.write(data)
            await sink.drain()
        sink.write_eof()
    except OSError:
        sink.transport.abort()  # a reset goes on as a reset


class Desktop:
    """The proxies of Docker Desktop, for the time of a command."""

    def __init__(self, inside: Inside) -> None:
        self._inside = inside
        self._served: set[int] = set()
        self._named: set[str] = set()
        self._servers: list[asyncio.Server] = []
        self._relays: set[asyncio.Task[None]] = set()  # asyncio itself keeps no hold of them

    async def follow(self) -> None:
        """Serve each port that a container publishes, and let each know the host's name."""
        while True:
            seen = await asyncio.to_thread(_run, "docker", "ps", "--format={{.Names}} {{.Ports}}")
            for line in seen.splitlines():
                name, _, ports = line.partition(" ")
                for first, last in re.findall(r"127\.0\.0\.1:(\d+)(?:-(\d+))?->", ports):
                    for port in range(int(first), int(last or first) + 1):
                        await self._publish(port)
                if name not in self._named:
                    await asyncio.to_thread(_name_host, name)
                    self._named.add(name)
            await asyncio.sleep(LOOK_EVERY)

    async def _publish(self, port: int) -> None:
        if port in self._served:
            return
        self._served.add(port)
        there = self._inside.make(lambda: socket.create_server(("127.0.0.1", port), backlog=256))

        def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._keep(_relay(reader, writer, socket.socket(), port))

        self._servers.append(await asyncio.start_server(serve, sock=there, limit=BUFFER))

    async def receive(self) -> int:
        """Serve what containers send to the proxy; return the port where it is to arrive."""

        def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            wire = writer.get_extra_info("socket")
            (port,) = struct.unpack_from(
                "!H", wire.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16), 2
            )
            self._keep(_relay(reader, writer, self._inside.make(socket.socket), port))

        server = await asyncio.start_server(serve, "0.0.0.0", 0, limit=BUFFER)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    def _keep(self, relay: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(relay)
        self._relays.add(task)
        task.add_done_callback(self._relays.discard)

    def forget(self) -> None:
        """Take the host's name back."""
        # A bind mount: the file cannot be replaced, only what is in it.
        edit = f"grep -v '{NAME}$' {NAMES} > /tmp/names; cat /tmp/names > {NAMES}; rm /tmp/names"
        for container in self._named:
            _run("docker", "exec", container, "sh", "-c", edit)


def _name_host(container: str) -> None:
    entry = f"{PROXY} {NAME}"
    known = f"grep -q '{entry}' {NAMES} || echo '{entry}' >> {NAMES}"
    _run("docker", "exec", container, "sh", "-c", known)


async def _main(command: list[str]) -> int:
    inside = Inside()
    desktop = Desktop(inside)
    try:
        with _proxy_rule(await desktop.receive()):
            following = asyncio.create_task(desktop.follow())
            await asyncio.sleep(4 * LOOK_EVERY)  # what runs already is there from the beginning
            process = subprocess.Popen(command, preexec_fn=lambda: _begin(inside))
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, process.terminate)
            code = await asyncio.to_thread(process.wait)
            following.cancel()
            return code
    finally:
        desktop.forget()


def _begin(inside: Inside) -> None:
    """In the command's process, before it starts: its own namespace, and Ctrl-C enabled again."""
    inside.enter()
    signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    if not sys.argv[1:] or not Path("/proc/thread-self/ns/net").exists() or os.geteuid() != 0:
        sys.exit(__doc__)
    # Ctrl-C at the terminal is for the command: while that cleans up, its network must stay.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(asyncio.run(_main(sys.argv[1:])))
