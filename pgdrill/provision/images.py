"""Container images: pulled where that is possible, else built from Go modules and Debian packages.

Everything built is kept under the cache directory by the content it was made of: the second run
compiles nothing, and an interrupted run goes on where it ended.
"""

import hashlib
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.provision import debian, node, oci
from pgdrill.provision.commands import Say, heartbeat, logged, output, succeeds, workers
from pgdrill.provision.components import Image, Program, Rootfs, catalogue
from pgdrill.provision.engine import lacks_sys_resource
from pgdrill.provision.reduction import reduced
from pgdrill.provision.toolchain import (
    HOW_TO_GET_GO,
    build,
    cached_program,
    has_go,
    module_directory,
    on_path,
)
from pgdrill.settings import cache_dir

NODE = "pgdrill/node"
PULLED_NODE = "kindest/node"
NODE_PROGRAMS = ("kubeadm", "kubelet", "kubectl")
_Keep = Callable[[Path], None]


@dataclass(frozen=True)
class Node:
    """The image that kind's nodes run; built: our images are inside it."""

    reference: str
    built: bool


def node_image(how: str, say: Say) -> Node:
    """Return the node image, pulled or built as how (auto, pull or build) says.

    Raises:
        BrokenEnvironmentError: what was asked for is impossible here.
    """
    kubernetes = catalogue().versions["kubernetes"]
    pulled = f"{PULLED_NODE}:{kubernetes}"
    if how == "auto" and has_go() and succeeds("docker", "image", "inspect", _built_reference()):
        return _made_node(Node(_built_reference(), built=True))
    if how != "build":
        if succeeds("docker", "image", "inspect", pulled) or _pull(pulled, say, patient=how):
            return _made_node(Node(pulled, built=False))
        if how == "pull":
            raise BrokenEnvironmentError(
                f"{pulled} cannot be pulled: check the network, or use --images=build"
            )
        if not has_go():
            raise BrokenEnvironmentError(
                f"{pulled} cannot be pulled, and there is no Go to build it: {HOW_TO_GET_GO}"
            )
        say("images cannot be pulled here: building them")
    return _made_node(Node(_build_node(say), built=True))


def present(reference: str, say: Say) -> None:
    """Make sure that the engine itself has an image that pods run, which the nodes alone may have.

    Raises:
        BrokenEnvironmentError: it can be neither loaded nor pulled.
    """
    built = next((i for i in catalogue().images.values() if i.reference == reference), None)
    if built:
        _load(built, say)
    elif not (_engine_id(reference) or _pull(reference, say, patient="auto")):
        raise BrokenEnvironmentError(
            f"{reference} cannot be pulled: see {cache_dir()}/logs/pull.log"
        )


def _load(image: Image, say: Say) -> None:
    """Load a built image into the engine, unless it has that very one."""
    archived = _image_file(image)
    if not archived.exists():  # the cache was cleared, and the nodes went on
        debian.provide({"mmdebstrap": "mmdebstrap"}, "building images", say)
        known = catalogue().rootfs
        _image(image, {}, {n: _rootfs(known[n], say) for n in [image.rootfs] if n}, say)
    # Its configuration's digest, or its manifest's where docker keeps images in containerd.
    if _engine_id(image.reference) in (oci.image_id(archived), oci.digest_of(archived)):
        return
    with tempfile.TemporaryDirectory(prefix=".making-", dir=archived.parent) as scratch:
        copy = Path(scratch) / "image.tar"
        with heartbeat(f"loading {image.reference}", say):
            oci.for_docker(archived, image.reference, copy)
            output("docker", "load", "--quiet", "--input", copy, within=300)


def _engine_id(reference: str) -> str:
    try:
        return output("docker", "image", "inspect", "--format={{.Id}}", reference).strip()
    except BrokenEnvironmentError:
        return ""


def made_before() -> bool:
    """Whether a node image was finished here, pulled or built: most of the disk is used then."""
    return _stamp().exists()


def _made_node(made: Node) -> Node:
    _stamp().write_text(made.reference)
    return made


def _stamp() -> Path:
    return cache_dir() / "node-image"


@dataclass(frozen=True)
class Component:
    """One line of the list; digest is '' of what is not here (yet)."""

    name: str
    version: str
    digest: str
    origin: str


def table() -> list[Component]:
    """Return every component as it is on this machine: found, built, pulled, or not here yet.

    Nothing is fetched or built for it. What was built is recognised only where there is Go: the
    compiler's version is part of what a program was made of.
    """
    known = catalogue()
    found = {name: on_path(tool) for name, tool in known.tools.items()}
    fitting = {name: tool for name, tool in found.items() if tool and tool.fits}
    built = [p for p in known.programs.values() if p.name not in fitting or p.name in NODE_PROGRAMS]
    return [
        *(
            Component(name, tool.version, _file_digest(tool.path), f"found at {tool.path}")
            for name, tool in fitting.items()
        ),
        *(_program(program) for program in built),
        *(_made_of(image) for image in known.images.values()),
        *_nodes(),
    ]


def _program(program: Program) -> Component:
    digest = _file_digest(cached_program(program)) if has_go() else ""
    return Component(program.name, program.version, digest, f"built from {program.module}")


def _made_of(image: Image) -> Component:
    parts = [*([f"debian {image.rootfs}"] if image.rootfs else []), *image.programs]
    file = _image_file(image) if has_go() else None
    digest = oci.digest_of(file) if file and file.exists() else ""
    return Component(image.reference, image.tag, digest, f"made of {' + '.join(parts)}")


def _nodes() -> list[Component]:
    """What the nodes run: the image that was pulled, or the one with all of the above inside."""
    kubernetes = catalogue().versions["kubernetes"]
    wanted = {f"{PULLED_NODE}:{kubernetes}": "pulled"}
    if has_go():
        wanted[_built_reference()] = "built of all these"
    return [
        Component(reference, kubernetes, _engine_digest(reference), origin)
        for reference, origin in wanted.items()
    ]


def _engine_digest(reference: str) -> str:
    """Return an image's digest at its registry, or its own where it has been built; '' of none."""
    asked = "{{if .RepoDigests}}{{index .RepoDigests 0}}{{else}}{{.Id}}{{end}}"
    try:
        told = output("docker", "image", "inspect", f"--format={asked}", reference, within=20)
    except BrokenEnvironmentError:
        return ""
    return told.strip().rpartition("@")[2]


def _pull(reference: str, say: Say, patient: str) -> bool:
    say(f"trying to pull {reference}")
    within = 1200 if patient == "pull" else 600
    log = cache_dir() / "logs" / "pull.log"
    try:
        logged(f"pulling {reference}", ["docker", "pull", reference], log, say, within=within)
    except BrokenEnvironmentError:
        return False
    return True


# -- building -----------------------------------------------------------------------------------


def _build_node(say: Say) -> str:
    """Build what is missing: root file systems while Go compiles, then the node around both."""
    known = catalogue()
    reference = _built_reference()
    if succeeds("docker", "image", "inspect", reference):
        return reference
    if platform.machine() not in ("x86_64", "AMD64"):
        raise BrokenEnvironmentError(
            f"images are built for x86_64 only, this machine is {platform.machine()}:"
            " use --images=pull"
        )
    debian.provide({"mmdebstrap": "mmdebstrap"}, "building images", say)
    started = time.monotonic()
    with workers(2) as unpack, workers(1) as compile_:
        # One program after the other: each uses all cores, and most packages are shared.
        programs = {name: compile_(build, known.programs[name], say) for name in _needed_programs()}
        unpacking = {name: unpack(_rootfs, system, say) for name, system in known.rootfs.items()}
        # These take a minute or two: what is wrong with them is said before the compiler is done.
        systems = {name: made.result() for name, made in unpacking.items()}
        for image in known.images.values():
            _image(image, programs, systems, say)
        binaries = [programs[name].result() for name in NODE_PROGRAMS]
    archives = [_image_file(image) for image in known.images.values()]
    node.assemble(reference, systems["node"], binaries, archives, say)
    for older in output("docker", "images", "--format={{.Repository}}:{{.Tag}}", NODE).split():
        if older != reference:
            succeeds("docker", "rmi", older)  # a cluster that still runs on it keeps it
    say(f"built every image in {time.monotonic() - started:.0f} s")
    return reference


def _needed_programs() -> list[str]:
    """Programs of the images and the node, the slowest first."""
    known = catalogue()
    of_images = [p for image in known.images.values() for p in image.programs]
    return [*NODE_PROGRAMS, *of_images]


def _image(
    image: Image,
    programs: dict[str, Future[Path]],
    systems: dict[str, Path],
    say: Say,
) -> Path:
    """Put one image together, unless the cache has it."""
    target = _image_file(image)
    if target.exists():
        return target
    with _made(target) as (scratch, keep):
        layers = []
        if image.rootfs:
            layers.append(oci.compress(systems[image.rootfs], scratch / "rootfs.tar.gz"))
        if image.programs:
            files = {path: programs[name].result() for name, path in image.programs.items()}
            layers.append(oci.files_layer(files, image.links, scratch / "programs.tar.gz"))
        archived = scratch / "image.tar"
        digest = oci.archive(image.reference, layers, image.config, archived)
        keep(archived)
    say(f"made {image.reference} ({target.stat().st_size / 1e6:.0f} MB, {digest[:19]})")
    return target


def _rootfs(system: Rootfs, say: Say) -> Path:
    """Make a Debian root file system as a plain tar, unless the cache has it."""
    target = _rootfs_file(system)
    if target.exists():
        return target
    with _made(target) as (scratch, keep):
        tar = scratch / "rootfs.tar"
        # What is reduced to a few files need not be configured, and has no later stage for a hook.
        variant, stage = ("extract", "extract") if system.only else ("minbase", "customize")
        command: list[str | Path] = ["mmdebstrap", f"--variant={variant}"]
        command += [f"--include={','.join(system.packages)}"]
        if system.hook:
            command += [f'--{stage}-hook={system.hook} "$1"']
        command += ["bookworm", tar, *_debian_sources()]
        took = logged(
            f"Debian packages of {system.name}",
            command,
            cache_dir() / "logs" / f"rootfs-{system.name}.log",
            say,
            within=1200,
            environment=os.environ | _hook_environment(system),
        )
        if system.only:
            _reduce(tar, system.only)
        keep(tar)
    say(f"made the root file system of {system.name}: {took:.0f} s")
    return target


def _reduce(tar: Path, only: Iterable[str]) -> None:
    """Keep a few files of a root file system, and the libraries of the programs among them."""
    with tempfile.TemporaryDirectory(dir=tar.parent) as scratch:
        output("tar", "-xf", tar, "-C", scratch, within=120)
        kept = reduced(Path(scratch), only)
        options = ("--no-recursion", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner")
        output("tar", *options, "-cf", tar, "-C", scratch, *kept, within=120)


def _debian_sources() -> list[Path]:
    """This machine's own package sources, when it is a Debian of the same release."""
    release = Path("/etc/os-release").read_text()
    if "VERSION_CODENAME=bookworm" not in release or "ID=debian" not in release:
        return []
    files = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
    return [file for file in files if file.exists()][:1]


def _hook_environment(system: Rootfs) -> dict[str, str]:
    if system.name != "node":
        return {}
    known = catalogue()
    kind = known.programs["kind"]
    return {
        "KIND_FILES": str(module_directory(kind.directory, kind.module) / "images/base/files"),
        "KUBERNETES": known.versions["kubernetes"],
        "PAUSE_IMAGE": known.images["pause"].reference,
        # Without the capability no process may lower its OOM score, and no pod starts.
        "RESTRICT_OOM": "true" if lacks_sys_resource() else "false",
    }


# -- content addresses --------------------------------------------------------------------------


def _image_file(image: Image) -> Path:
    known = catalogue()
    inputs = [image.reference, json.dumps([image.links, image.config], sort_keys=True)]
    inputs += [f"{at} {cached_program(known.programs[p])}" for p, at in image.programs.items()]
    if image.rootfs:
        inputs.append(str(_rootfs_file(known.rootfs[image.rootfs])))
    return cache_dir() / "images" / f"{image.name}-{image.tag}-{_key(inputs)}.tar"


def _rootfs_file(system: Rootfs) -> Path:
    inputs = [*system.packages, *system.only]
    if system.hook:
        files = sorted(f for f in system.hook.parent.rglob("*") if f.is_file())
        inputs += [f"{f.name}\0{f.read_text()}" for f in files]
    if system.name == "node":
        known = catalogue()
        inputs += [known.versions["kind"], known.versions["kubernetes"], str(lacks_sys_resource())]
    return cache_dir() / "rootfs" / f"{system.name}-{_key(inputs)}.tar"


def _built_reference() -> str:
    """Name of the node image that is built of exactly these components."""
    return f"{NODE}:{catalogue().versions['kubernetes']}-{_node_key()}"


def _node_key() -> str:
    known = catalogue()
    inputs = [str(_rootfs_file(known.rootfs["node"]))]
    inputs += [str(cached_program(known.programs[name])) for name in NODE_PROGRAMS]
    inputs += [str(_image_file(image)) for image in known.images.values()]
    return _key(inputs)


def _key(inputs: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:12]


def _file_digest(file: Path) -> str:
    if not file.exists():
        return ""
    with file.open("rb") as content:
        return f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"


class _made:  # noqa: N801  # reads as a verb where it is used
    """A scratch directory beside a target, and a way to put the finished file in its place."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __enter__(self) -> tuple[Path, _Keep]:
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._scratch = Path(tempfile.mkdtemp(prefix=".making-", dir=self._target.parent))
        return self._scratch, self._keep

    def _keep(self, finished: Path) -> None:
        finished.rename(self._target)

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)
