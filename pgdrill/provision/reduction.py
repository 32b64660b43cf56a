"""The files that a few programs of a root file system need: libraries, and links to both."""

import re
from collections.abc import Iterable
from pathlib import Path

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.provision.commands import output

LOADER = "/lib64/ld-linux-x86-64.so.2"
LIBRARIES = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
ELF = b"\x7fELF"


def reduced(root: Path, only: Iterable[str]) -> list[str]:
    """Return every directory, link and file, relative to root, that the paths in only consist of.

    Raises:
        BrokenEnvironmentError: a path does not exist, or a program lacks a library.
    """
    wanted = set(only)
    for path in only:
        if _is_dynamic(root, path):
            wanted |= {LOADER, *_libraries(root, path)}
    return sorted({step for path in wanted for step in _steps(root, path)})


def _libraries(root: Path, program: str) -> set[str]:
    """Ask the root's own loader, without running the program."""
    where = ":".join(str(root / directory) for directory in LIBRARIES)
    loader, file = _real(root, LOADER), _real(root, program)
    told = output(loader, "--library-path", where, "--list", file)
    found = dict(re.findall(r"^\s*(\S+) => (not found|\S+)", told, re.M))
    # What the root lacks, the loader may still find on this machine.
    missing = [name for name, at in found.items() if not Path(at).is_relative_to(root)]
    if missing:
        raise BrokenEnvironmentError(
            f"{program} lacks {', '.join(missing)} in its root file system"
        )
    return {f"/{Path(at).relative_to(root)}" for at in found.values()}


def _is_dynamic(root: Path, path: str) -> bool:
    """Whether a file is a program that names the loader."""
    with _real(root, path).open("rb") as file:
        return file.read(4) == ELF and LOADER.encode() in file.read(4096)


def _real(root: Path, path: str) -> Path:
    return root / _steps(root, path)[-1]


def _steps(root: Path, path: str) -> list[str]:
    """Return the directories and links on the way to a file, and the file, all inside root."""
    found: list[str] = []
    at, ahead = Path(), list(Path(path).parts[1:])
    while ahead:
        name = ahead.pop(0)
        at = at.parent if name == ".." else at / name
        if (root / at).is_symlink():
            found.append(str(at))
            target = (root / at).readlink()
            ahead = [*target.parts[target.is_absolute() :], *ahead]
            at = Path() if target.is_absolute() else at.parent
        elif not (root / at).exists():
            raise BrokenEnvironmentError(f"no {path} in the root file system: {at} is missing")
        elif at != Path():
            found.append(str(at))
    return found
