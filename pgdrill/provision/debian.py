"""Debian packages that this machine lacks, installed where that is possible."""

import os
import shutil
from collections.abc import Mapping

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.provision import apt
from pgdrill.provision.commands import Say, logged
from pgdrill.settings import cache_dir


def can_install() -> bool:
    """Whether packages can be installed here: root, and there is apt-get."""
    return os.geteuid() == 0 and bool(shutil.which("apt-get"))


def provide(programs: Mapping[str, str], why: str, say: Say) -> None:
    """Make sure that programs are there; each maps to its Debian package.

    Raises:
        BrokenEnvironmentError: some are missing and cannot be installed.
    """
    missing = sorted({package for name, package in programs.items() if not shutil.which(name)})
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise BrokenEnvironmentError(
            f"{why} needs {', '.join(missing)}, which pgdrill can install on Debian only"
        )
    if not can_install():
        raise BrokenEnvironmentError(
            f"{why} needs {', '.join(missing)}: run `apt-get install {' '.join(missing)}` as root"
        )
    apt.wait_until_free(say)
    logs = cache_dir() / "logs"
    update = ["apt-get", "-qq", "update"]
    logged("package lists", update, logs / "apt-update.log", say, within=300)
    logged(
        "installing " + ", ".join(missing),
        [
            *("apt-get", "-qq", "install", "--yes", "--no-install-recommends"),
            *("-o", f"DPkg::Lock::Timeout={apt.FREE_WITHIN:.0f}"),
            *missing,
        ],
        logs / "apt-install.log",
        say,
        within=900 + apt.FREE_WITHIN,
        environment=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
    )
