"""The requirements of a machine, checked before anything is made on it; one line for each."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.provision import container_engine, images, toolchain
from pgdrill.settings import cache_dir

NEEDED_MEMORY_GB = 4  # 10^9 bytes; three idle nodes used 1.8, load and monitoring about as much
NEEDED_FREE_GB = 15  # to make the images: 7.4 in Go's two caches, 2 in ours, 3 images and nodes
NEEDED_TO_PULL_GB = 8  # 1 the node image, 3 what nodes pull and unpack, and what runs, see below
NEEDED_TO_RUN_GB = 5  # with the images there: nodes, and volumes as they fill


def require(how: str) -> None:
    """Refuse a machine that cannot carry the platform, before anything is made on it.

    how is the setting --images.

    Raises:
        BrokenEnvironmentError: with the reason and what to do.
    """
    seen = container_engine.look()
    if isinstance(seen, str):
        small = _of_disk(None, how)  # before what to do about an engine: it would fill that disk
        if small:
            raise BrokenEnvironmentError(small)
        container_engine.require_startable(seen)
    reason = _reason(seen, how)
    if reason:
        raise BrokenEnvironmentError(reason)


def shortcoming(how: str) -> str:
    """Return why the engine that answers, and its machine, cannot carry it; '' when they can."""
    return _reason(container_engine.look(), how)


def _reason(seen: container_engine.ContainerEngine | str, how: str) -> str:
    engine = None if isinstance(seen, str) else seen
    reasons = (_of_tools(how), _of_disk(engine, how), _of_engine(engine) if engine else "")
    return next(filter(None, reasons), "")


def _of_tools(how: str) -> str:
    """Go is needed only where something is to be built."""
    if how != "build" or toolchain.has_go():
        return ""
    return f"--images=build and there is no Go: {toolchain.HOW_TO_GET_GO}"


def _of_disk(engine: container_engine.ContainerEngine | None, how: str) -> str:
    needed = NEEDED_FREE_GB if how == "build" else NEEDED_TO_PULL_GB
    if images.made_before():
        needed = NEEDED_TO_RUN_GB
    for place, remedy in _places(engine, how):
        free = _free_gb(place)
        if free < needed:
            return (
                f"{place} has {free:.0f} GB free and platform kind needs {needed}:"
                f" make room, or {remedy}"
            )
    return ""


def _places(
    engine: container_engine.ContainerEngine | None, how: str
) -> Iterator[tuple[Path, str]]:
    if how == "build" or engine is None:  # an engine that is started here keeps its data there
        yield cache_dir(), "set PGDRILL_CACHE_DIR to a directory on a larger disk"
    if how == "build" and not images.made_before():
        go = os.environ.get("GOCACHE") or Path.home() / ".cache/go-build"
        yield Path(go), "set GOCACHE to a directory on a larger disk"
    # Docker Desktop's lies inside its virtual machine, and cannot be measured from here.
    if engine and engine.data.exists():
        yield engine.data, "set `data-root` in Docker's daemon.json"


def _of_engine(engine: container_engine.ContainerEngine) -> str:
    if engine.system != "linux":
        return f"the container engine runs {engine.system} containers: switch it to linux"
    if engine.kind != "Docker":
        return (
            f"the container engine is {engine.kind}, and volumes of a true size need loop devices,"
            f" which it does not give to nodes: use Docker as root{_or_local()}"
        )
    if engine.memory < NEEDED_MEMORY_GB * 1e9:
        return (
            f"the container engine has {engine.memory / 1e9:.1f} GB of memory and platform kind"
            f" needs {NEEDED_MEMORY_GB}: give it more{_or_local()}"
        )
    return ""


def _or_local() -> str:
    return ", or use --platform=local" if sys.platform == "linux" else ""


def _free_gb(place: Path) -> float:
    """Return the free space of the file system that a path is on, or would be."""
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free / 1e9


def main(how: str) -> int:
    """Start a container engine if needed, and report whether kind can run here: for CI."""
    try:
        require(how)
        container_engine.ensure(print)
        require(how)
    except BrokenEnvironmentError as error:
        print(error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
