"""Run Python as on a Mac with Apple silicon, as far as Linux lets itself be taken for one.

    python -m tests.as_mac -m pgdrill status
    python -m tests.as_mac -c 'import pgdrill.workload.probe_loop'

Our modules see darwin and arm64, no /proc and no /sys, and none of the functions that Linux has and
macOS has not. Libraries were loaded before, and go on as on the system that they are on.
"""

import importlib
import os
import pkgutil
import platform
import resource
import runpy
import signal
import socket
import sys
from pathlib import Path
from types import FrameType

import pgdrill

OURS = str(Path(pgdrill.__file__).parent)
HIDDEN = ("/proc", "/sys")
LINUX_ONLY = {
    os: (
        *("sched_setscheduler", "sched_getaffinity", "sched_param", "SCHED_RR", "SCHED_OTHER"),
        *("SCHED_RESET_ON_FORK", "posix_fallocate", "pidfd_open", "memfd_create", "unshare"),
    ),
    resource: ("RLIMIT_RTTIME", "prlimit"),
    signal: ("SIGRTMIN", "pidfd_send_signal"),
    socket: ("SO_BINDTODEVICE", "TCP_USER_TIMEOUT"),
}


def _load_libraries() -> None:
    """Load what our modules need, and forget our modules."""
    importlib.import_module("pgdrill.platforms.kind")  # it and its faults go round in a circle
    for found in pkgutil.walk_packages(pgdrill.__path__, "pgdrill."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    for name in [n for n in sys.modules if n.partition(".")[0] == "pgdrill"]:
        del sys.modules[name]


def _ask_us(frame: FrameType | None) -> bool:
    """Whether the next who asked is one of our modules, not a library that one of them called."""
    while frame is not None:
        file = frame.f_code.co_filename
        if "site-packages" in file or file.startswith(OURS):
            return file.startswith(OURS)
        frame = frame.f_back
    return False


def _hide(path: object) -> None:
    hidden = isinstance(path, str | os.PathLike) and str(os.fspath(path)).startswith(HIDDEN)
    if hidden and _ask_us(sys._getframe(2)):
        raise FileNotFoundError(2, "there is no such thing on a Mac", str(path))


def _hide_linux() -> None:
    sys.addaudithook(lambda event, arguments: _hide(arguments[0]) if event == "open" else None)
    for name in ("stat", "lstat", "listdir", "scandir", "access"):
        setattr(os, name, _hiding(getattr(os, name)))
    for module, names in LINUX_ONLY.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    told = platform.uname()._replace(system="Darwin", release="24.6.0", machine="arm64")
    platform.uname = lambda: told
    sys.platform = "darwin"


def _hiding(function):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    def call(path=".", *arguments, **named):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN003, ANN202
        _hide(path)
        return function(path, *arguments, **named)

    return call


def main() -> None:
    """Imitate a Mac, then run a module or a text according to Python's own options."""
    _load_libraries()
    _hide_linux()
    how, what, *arguments = sys.argv[1:]
    if how == "-m":
        sys.argv = [what, *arguments]
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.argv = ["-c", *arguments]
        exec(what, {"__name__": "__main__"})


if __name__ == "__main__":
    main()
