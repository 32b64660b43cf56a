"""The environment of a drill, without the settings of the user's shell: set before anything else.

Every program of pgdrill inherits it: pgbench, the prober, Ansible, supervisor and its children.
"""

import locale
import os
import platform
import signal
import ssl
import sys
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from types import FrameType

import psutil

Handler = Callable[[int, FrameType | None], None]

UTF8 = ("C.UTF-8", "en_US.UTF-8")  # macOS lacks the first
# Certificates that libpq finds by itself in the home directory. A missing file counts as none.
# Not PGSSLCRL: a list needs a root certificate, and the exporters' library panics where it is set.
NOWHERE = "/dev/null/none"
NO_CERTIFICATES = dict.fromkeys(("PGSSLCERT", "PGSSLKEY", "PGSSLROOTCERT"), NOWHERE)
HERE = ("localhost", "127.0.0.0/8", "::1")  # never through a proxy
PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def prepare() -> None:
    """Take the user's file mode, language, libpq settings and proxies for this machine away."""
    os.umask(0o022)
    _speak_utf8()
    for name in [n for n in os.environ if n.startswith("PG") and not n.startswith("PGDRILL_")]:
        del os.environ[name]
    os.environ |= NO_CERTIFICATES
    if any(os.environ.get(name) or os.environ.get(name.upper()) for name in PROXIES):
        bypass_proxies(*HERE)


def restore_certificates() -> None:
    """Let libpq find the user's certificates again: for a connection string of the user's."""
    for name in NO_CERTIFICATES:
        os.environ.pop(name, None)


def processors() -> int:
    """Return how many processors this machine has."""
    return os.cpu_count() or 1


def machine() -> dict[str, str]:
    """Return the facts of this machine that measurements depend on."""
    memory = psutil.virtual_memory().total / 2**30
    return {
        "cores": str(processors()),
        "memory": f"{memory:.1f} GiB",
        "kernel": platform.release(),
        "system": _pretty_name(),
    }


def _pretty_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    except OSError:
        return platform.platform()


def authorities(file: str) -> str | bool:
    """Return whom https trusts, as requests takes it: a file, '' for what this system trusts."""
    trusted = ssl.get_default_verify_paths()
    return file or trusted.cafile or trusted.capath or True


def bypass_proxies(*hosts: str) -> None:
    """Reach hosts directly, whatever proxy is set: addresses, or networks such as 10.0.0.0/8."""
    for name in ("no_proxy", "NO_PROXY"):
        there = [host for host in os.environ.get(name, "").split(",") if host]
        os.environ[name] = ",".join([*there, *(host for host in hosts if host not in there)])


def install_signal_handler(handler: Handler) -> None:
    """Handle Ctrl-C, the end of a terminal and SIGTERM in the same way.

    A shell starts `command &` without SIGINT: pgdrill handles it all the same, but not under nohup.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
            continue
        signal.signal(number, handler)


def _speak_utf8() -> None:
    """Read and write files and streams as UTF-8, and let tools speak English."""
    for name in UTF8:
        with suppress(locale.Error):
            locale.setlocale(locale.LC_CTYPE, name)
            os.environ["LC_ALL"] = name
            break
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")
