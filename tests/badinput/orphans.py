"""The traces of an installation on this machine, found without the product's help."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil

LOOPBACK = "127.0.10."  # every address that the local platform listens on begins so


def leftovers(state: Path, offset: int | None = None) -> list[str]:
    """Return every process, mount, loop device, file and (of a port offset) listener."""
    found = [f"process {line}" for line in processes(state)]
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    found += [f"mount {line}" for line in mounts if str(state) in line]
    loops = subprocess.run(["losetup", "-a"], capture_output=True, text=True, timeout=10)
    found += [f"loop device {line}" for line in loops.stdout.splitlines() if str(state) in line]
    found += [f"file {path}" for path in sorted(state.parent.glob(f"{state.name}*"))]
    if offset is not None:
        found += [f"listener {at}" for at in listeners(offset)]
    return found


def processes(state: Path) -> list[str]:
    """Return every process that names the directory, lives in it or has it in its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), process.cwd(), *process.environ().values()]
            line = f"{process.pid} {process.name()} {process.status()}"
        except (psutil.Error, OSError):  # another user's, or it ends at this moment
            continue
        if any(str(state) in word for word in words):
            found.append(line)
    return found


def listeners(offset: int) -> Iterator[str]:
    """Yield the addresses of ours that are listened on with a port offset."""
    for connection in psutil.net_connections("tcp"):
        if connection.status != psutil.CONN_LISTEN or not connection.laddr:
            continue
        host, port = connection.laddr
        if host.startswith(LOOPBACK) and offset <= port < offset + 10_000:
            yield f"{host}:{port}"
