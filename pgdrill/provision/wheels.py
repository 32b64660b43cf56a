"""Python wheels that are unpacked elsewhere than in this program's own environment."""

import sys
from pathlib import Path

from pgdrill.provision.commands import output

FETCHED_WITHIN = 600.0  # seconds


def fetch(lock: Path, into: Path) -> None:
    """Download the wheels of a lock file, by their hashes and without what they depend on.

    Raises:
        BrokenEnvironmentError: one cannot be had, or is not what was locked.
    """
    into.mkdir(parents=True, exist_ok=True)
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
        f"--dest={into}",
        f"--requirement={lock}",
    ]
    output(*pip, within=FETCHED_WITHIN)
