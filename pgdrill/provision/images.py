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
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.provision import debian, node, oci
from pgdrill.provision.commands import Say, logged, output, succeeds, workers
from pgdrill.provision.components import (
    Image,
    Manifest,
    Program,
    Pulled,
    Rootfs,
    Tool,
    catalogue,
)
from pgdrill.provision.engine import lacks_sys_resource
from pgdrill.provision.pulls import pull
from pgdrill.provision.reduction import reduced
from pgdrill.provision.registry import (
    MissingImageError,
    Place,
    Reference,
    Remote,
    UnreachableError,
    look_up,
)
from pgdrill.provision.releases import kept_tool
from pgdrill.provision.supply import Supply
from pgdrill.provision.toolchain import (
    build,
    cached_program,
    has_go,
    module_directory,
    on_path,
)
from pgdrill.settings import cache_dir

NODE = "pgdrill/node"
NODE_PROGRAMS = ("kubeadm", "kubelet", "kubectl")
PULL_WITHIN = 1800.0  # seconds for the node image, some 350 MB, cuts included
_Keep = Callable[[Path], None]


@dataclass(frozen=True)
class Node:
    """The image that kind's nodes run; built: all other images are inside it."""

    reference: str
    built: bool


def node_image(
    supply: Supply, say: Say, *, running: str, before_building: Callable[[], None]
) -> Node:
    """Return the node image, pulled or built as the settings say.

    running is what a whole cluster runs already, '' where there is none: then every registry is
    asked for every image before anything is pulled. before_building may refuse a machine that is
    too small for it.

    Raises:
        BrokenEnvironmentError: what was asked for is impossible here.
    """
    here = _here(supply, running)
    if here and (here.built or here.reference == running):
        return _made_node(here)
    if supply.how != "build":
        try:
            say(f"to pull: {_sizes(supply, with_node=here is None)}")
            return _made_node(here or Node(_pull_node(supply, say), built=False))
        except MissingImageError as error:
            raise BrokenEnvironmentError(f"{error}: put it there, or use --images=build") from None
        except UnreachableError as error:
            if supply.how == "pull" or not has_go():
                raise BrokenEnvironmentError(
                    f"images cannot be pulled: {error}; check the network, or use --registry-mirror"
                ) from None
            say(f"images cannot be pulled here ({error}): building them")
    before_building()
    return _made_node(Node(_build_node(say), built=True))


def _here(supply: Supply, running: str) -> Node | None:
    """Return the node image that the settings allow and Docker has, the running one first."""
    found = []
    if supply.how != "pull" and has_go() and _known_to_docker(_built_reference()):
        found.append(Node(_built_reference(), built=True))
    wanted = Reference.parse(supply.node_image)
    if supply.how != "build" and any(d.endswith(wanted.digest) for d in _digests(wanted.local)):
        found.append(Node(wanted.local, built=False))
    return max(found, key=lambda node: node.reference == running, default=None)


def _known_to_docker(reference: str) -> bool:
    return succeeds("docker", "image", "inspect", reference)


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


def table(supply: Supply) -> list[Component]:
    """Return every component as it is on this machine: found, fetched, built, or not here yet.

    Nothing is fetched or built for it. What was built is recognised only where there is Go: the
    compiler's version is part of what a program was made of.
    """
    known = catalogue()
    rows = [_tool(tool) for tool in known.tools.values()]
    rows += [_manifest(manifest) for manifest in known.manifests.values()]
    rows += [_pulled(image, supply) for image in known.pulled.values()]
    if supply.how != "pull" and has_go():
        rows += [_program(program) for program in known.programs.values()]
        rows += [_made_of(image) for image in known.images.values()]
        rows.append(
            Component(
                _built_reference(),
                known.versions["kubernetes"],
                next(iter(_digests(_built_reference())), ""),
                "built of all these",
            )
        )
    return rows


def _tool(wanted: Tool) -> Component:
    found, released = on_path(wanted), kept_tool(wanted)
    if found and found.fits:
        return Component(
            wanted.name, found.version, _file_digest(found.path), f"found at {found.path}"
        )
    return Component(wanted.name, wanted.version, _file_digest(released), wanted.release)


def _manifest(wanted: Manifest) -> Component:
    files = f"{wanted.url}/{wanted.root}"
    digests = f"pinned by SHA-256, {len(wanted.files)} files" if len(wanted.files) > 1 else ""
    digest = digests or f"sha256:{next(iter(wanted.files.values()))}"
    return Component(f"manifest of {wanted.name}", wanted.version, digest, files)


def _pulled(image: Pulled, supply: Supply) -> Component:
    text = supply.node_image if image.name == "node" else image.reference
    wanted = Reference.parse(text)
    pinned = wanted.digest or "by its tag only"
    named = image.named if text == image.reference else "--node-image"
    return Component(text.partition("@")[0], wanted.tag, pinned, f"pulled, named by {named}")


def _program(program: Program) -> Component:
    digest = _file_digest(cached_program(program)) if has_go() else ""
    return Component(program.name, program.version, digest, f"built from {program.module}")


def _made_of(image: Image) -> Component:
    parts = [*([f"debian {image.rootfs}"] if image.rootfs else []), *image.programs]
    file = image_file(image) if has_go() else None
    digest = oci.digest_of(file) if file and file.exists() else ""
    return Component(image.reference, image.tag, digest, f"made of {' + '.join(parts)}")


def _digests(reference: str) -> list[str]:
    """Return an image's digests at registries, or its own where it has been built; [] of none."""
    asked = "{{json .RepoDigests}} {{json .Id}}"
    try:
        told = output("docker", "image", "inspect", f"--format={asked}", reference, within=20)
    except BrokenEnvironmentError:
        return []
    repositories, _, own = told.strip().rpartition(" ")
    return [d.rpartition("@")[2] for d in json.loads(repositories) or ()] or [json.loads(own)]


# -- pulling ------------------------------------------------------------------------------------


@cache
def remote_images(supply: Supply) -> Mapping[str, Remote]:
    """Return what registries, or their mirrors, say of every image that is pulled, by name.

    Raises:
        UnreachableError: one does not answer.
        MissingImageError: one lacks an image that is needed.
    """
    known = catalogue().pulled
    names = {name: image.reference for name, image in known.items()}
    names["node"] = supply.node_image
    needed = [names[name] for name, image in known.items() if not image.optional]
    found = dict(look_up(needed, supply.mirrors))
    for name, image in known.items():
        if image.optional:
            with suppress(MissingImageError, UnreachableError):
                found |= look_up([names[name]], supply.mirrors)
    return {name: found[text] for name, text in names.items() if text in found}


def _sizes(supply: Supply, *, with_node: bool) -> str:
    """Say what is pulled before it begins."""
    remote, known = remote_images(supply), catalogue().pulled
    each = sum(one.size for name, one in remote.items() if known[name].where == "every")
    once = sum(one.size for name, one in remote.items() if known[name].where == "control-plane")
    node = remote["node"].size
    image = f"{supply.node_image.partition('@')[0]}, {node / 1e6:.0f} MB; " if with_node else ""
    return (
        f"{image}then {(each - node) / 1e6:.0f} MB into each node and {once / 1e6:.0f} MB into the"
        " control plane"
    )


def _pull_node(supply: Supply, say: Say) -> str:
    """Pull the node image under the name that kind finds it by."""
    wanted = Reference.parse(supply.node_image)
    name = Place.of(wanted.host, supply.mirrors).docker_name(wanted)
    log = cache_dir() / "logs" / "pull.log"
    pull(f"pulling {name}", ["docker", "pull", name], log, say, within=PULL_WITHIN)
    if name != wanted.local:
        output("docker", "tag", name, wanted.local)
    return wanted.local


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
    archives = [image_file(image) for image in known.images.values()]
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
    target = image_file(image)
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


def node_parts() -> tuple[Path, list[Path]]:
    """Return the root file system and the programs that the built node is made of."""
    known = catalogue()
    programs = [cached_program(known.programs[name]) for name in NODE_PROGRAMS]
    return _rootfs_file(known.rootfs["node"]), programs


def image_file(image: Image) -> Path:
    """Where the archive of a built image is, or will be."""
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
    inputs += [str(image_file(image)) for image in known.images.values()]
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
