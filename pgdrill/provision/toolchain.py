"""Programs of this machine and of the images: found on PATH, fetched from a release, or built."""

import hashlib
import os
import shutil
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.provision import releases
from pgdrill.provision.commands import Say, logged, output
from pgdrill.provision.components import IMAGES, Program, Tool, catalogue, number
from pgdrill.provision.download import NotFetchedError
from pgdrill.provision.supply import Supply
from pgdrill.settings import cache_dir

_compiling = threading.Lock()
BUILD_WITHIN = 3600.0  # seconds for one program; kubelet from nothing takes 4 min on 2 cores
# With this much memory (10^9 bytes) available, the compiler collects garbage less often: kind took
# 26 s instead of 32 on two cores; k8s.io/api/core/v1, the largest package, 0.7 GB instead of 0.5.
ROOMY_GB = 6
HOW_TO_GET_GO = (
    "install it from Debian (apt-get install golang-go, release 13 or backports), from go.dev/dl,"
    " or use --images=pull"
)


@cache
def tool(name: str, supply: Supply, say: Say) -> Path:
    """Return kind, kubectl or helm in a version that fits: found, fetched or built.

    Raises:
        BrokenEnvironmentError: there is none, and it can neither be fetched nor built.
    """
    wanted, program = catalogue().tools[name], catalogue().programs[name]
    found = on_path(wanted)
    if found and found.fits:
        return found.path
    if supply.how == "build":
        return build(program, say)
    if has_go() and supply.how == "auto" and cached_program(program).exists():
        return cached_program(program)
    with _compiling:
        try:
            return releases.tool(wanted, supply, say)
        except NotFetchedError as error:
            if supply.how == "pull" or not has_go():
                raise NotFetchedError(
                    f"{error}; put {name} {wanted.fits} on PATH{_but(found)}, or use"
                    " --release-mirror"
                ) from None
            say(f"{error}: building it")
    return build(program, say)


def _but(found: "InstalledTool | None") -> str:
    return f" ({found.path} {found.says})" if found else ""


@dataclass(frozen=True)
class InstalledTool:
    """A program that was here before us."""

    path: Path
    version: str  # '' where it prints none
    fits: bool

    @property
    def says(self) -> str:
        """Its version, in words."""
        return f"is {self.version}" if self.version else "prints no version"


def on_path(wanted: Tool) -> InstalledTool | None:
    """Return the tool of this machine, if it has one."""
    path = shutil.which(wanted.name)
    if not path:
        return None
    try:
        version = number(output(path, *wanted.ask, within=20))
    except BrokenEnvironmentError:
        version = (0,)
    told = ".".join(map(str, version)) if any(version) else ""
    return InstalledTool(Path(path), told, wanted.takes(version))


def build(program: Program, say: Say) -> Path:
    """Return a program, compiled unless the cache has it from the very same inputs.

    An interrupted compilation is resumed by Go's own cache, package by package.
    """
    target = cached_program(program)
    with _compiling:  # a second thread that needs the same program finds it built
        if not target.exists():
            _compile(program, target, say)
    return target


def _compile(program: Program, target: Path, say: Say) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}.partial")
    log = cache_dir() / "logs" / f"build-{program.name}.log"
    command: list[str | Path] = ["go", "build", "-trimpath", "-buildvcs=false", "-o", partial]
    command += ["-tags", program.tags] if program.tags else []
    command += ["-ldflags", " ".join(["-s", "-w", *(f"-X {s}" for s in program.stamps)])]
    try:
        took = logged(
            f"compiling {program.name} {program.version}",
            [*command, program.package],
            log,
            say,
            within=BUILD_WITHIN,
            environment=_environment(),
            cwd=program.directory,
        )
        partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)
    say(f"compiled {program.name} {program.version}: {took:.0f} s")


def cached_program(program: Program) -> Path:
    """The path of a program of exactly these inputs, there or not yet."""
    inputs = [go_version(), program.package, program.tags, *program.stamps]
    inputs += [f.read_text() for f in sorted(program.directory.iterdir()) if _is_source(f)]
    key = hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:16]
    return cache_dir() / "programs" / f"{program.name}-{program.version}-{key}" / program.name


def module_directory(source: Path, module: str) -> Path:
    """Return the unpacked directory of a module that a source requires, fetched when needed."""
    output("go", "mod", "download", module, within=300, environment=_environment(), cwd=source)
    directory = output(
        "go", "list", "-m", "-f", "{{.Dir}}", module, environment=_environment(), cwd=source
    )
    return Path(directory.strip())


def has_go() -> bool:
    """Whether there is a Go compiler, of whatever version."""
    return bool(shutil.which("go"))


@cache
def go_version() -> str:
    """Return the version of the Go compiler that the sources can be built with.

    Raises:
        BrokenEnvironmentError: there is no Go, or it is too old and may not fetch a newer one.
    """
    if not has_go():
        raise BrokenEnvironmentError(f"building needs Go and there is none: {HOW_TO_GET_GO}")
    needed = max(
        number(line)
        for file in IMAGES.glob("*/go.mod")
        for line in file.read_text().splitlines()
        if line.startswith("go ")
    )
    told = output("go", "version", within=60, environment=_environment())
    fetches = output("go", "env", "GOTOOLCHAIN", environment=_environment()).strip() != "local"
    if number(told) < needed and not fetches:
        raise BrokenEnvironmentError(
            f"building needs Go {'.'.join(map(str, needed))} or newer, this is {told.split()[2]}:"
            f" {HOW_TO_GET_GO}"
        )
    return told.strip()


def _environment() -> dict[str, str]:
    flags = f"{os.environ.get('GOFLAGS', '')} -mod=readonly".strip()
    roomy = psutil.virtual_memory().available > ROOMY_GB * 1e9
    lazy = {"GOGC": "400"} if roomy and "GOGC" not in os.environ else {}
    return os.environ | lazy | {"CGO_ENABLED": "0", "GOFLAGS": flags, "GOWORK": "off"}


def _is_source(file: Path) -> bool:
    return file.suffix == ".go" or file.name in ("go.mod", "go.sum")
