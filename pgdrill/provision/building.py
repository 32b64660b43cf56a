"""Images made here of Go modules and Debian packages, in place of those that registries have.

Everything built is kept under the cache directory by the content it was made of: the second run
compiles nothing, and an interrupted run continues where it ended.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.provision import debian, node, oci, wheels
from pgdrill.provision.commands import Say, logged, output, succeeds, workers
from pgdrill.provision.components import Catalogue, Image, Rootfs, this_machine
from pgdrill.provision.container_engine import lacks_sys_resource
from pgdrill.provision.reduction import reduced
from pgdrill.provision.toolchain import build, cached_program, module_directory
from pgdrill.settings import cache_dir

NODE = "pgdrill/node"
BUILT_ON = ("linux", "amd64")  # the one platform that images are built for
HOST_SUITE = "bookworm"  # its sources are reused for other suites, too
NODE_PROGRAMS = ("kubeadm", "kubelet", "kubectl")
_Keep = Callable[[Path], None]


@dataclass(frozen=True)
class Builder:
    """Builds the images of one list of components."""

    known: Catalogue

    @property
    def reference(self) -> str:
        """Name of the node image that is built of exactly these components."""
        return f"{NODE}:{self.known.versions['kubernetes']}-{self._node_key()}"

    def build_node(self, say: Say) -> str:
        """Build what is missing: root file systems while Go compiles, then the node around both."""
        reference = self.reference
        if succeeds("docker", "image", "inspect", reference):
            return reference
        if this_machine() != BUILT_ON:
            raise BrokenEnvironmentError(
                f"images are built on Linux for x86-64 only, this is {'/'.join(this_machine())}:"
                " use --images=pull"
            )
        debian.provide({"mmdebstrap": "mmdebstrap"}, "building images", say)
        started = time.monotonic()
        with workers(2) as unpack, workers(1) as compile_:
            # One program after the other: each uses all cores, and most packages are shared.
            programs = {
                name: compile_(build, self.known.programs[name], say)
                for name in self._needed_programs()
            }
            unpacking = {
                name: unpack(self._rootfs, system, say)
                for name, system in self.known.rootfs.items()
            }
            # These take a minute or two: what is wrong with them shows before the compiler is done.
            systems = {name: made.result() for name, made in unpacking.items()}
            for image in self.known.images.values():
                self._image(image, programs, systems, say)
            binaries = [programs[name].result() for name in NODE_PROGRAMS]
        archives = [self.image_file(image) for image in self.known.images.values()]
        node.assemble(reference, systems["node"], binaries, archives, say)
        for older in output("docker", "images", "--format={{.Repository}}:{{.Tag}}", NODE).split():
            if older != reference:
                succeeds("docker", "rmi", older)  # a cluster that still runs on it keeps it
        say(f"built every image in {time.monotonic() - started:.0f} s")
        return reference

    def archive(self, image: Image, say: Say) -> Path:
        """Return the archive of one image, made again if the cache was cleared."""
        target = self.image_file(image)
        if not target.exists():
            debian.provide({"mmdebstrap": "mmdebstrap"}, "building images", say)
            systems = {n: self._rootfs(self.known.rootfs[n], say) for n in [image.rootfs] if n}
            with workers(1) as compile_:
                programs = {
                    name: compile_(build, self.known.programs[name], say) for name in image.programs
                }
                self._image(image, programs, systems, say)
        return target

    def _needed_programs(self) -> list[str]:
        """Programs of the images and the node, the slowest first."""
        of_images = [p for image in self.known.images.values() for p in image.programs]
        return [*NODE_PROGRAMS, *of_images]

    def _image(
        self,
        image: Image,
        programs: dict[str, Future[Path]],
        systems: dict[str, Path],
        say: Say,
    ) -> Path:
        """Put one image together, unless the cache has it."""
        target = self.image_file(image)
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

    def _rootfs(self, system: Rootfs, say: Say) -> Path:
        """Make a Debian root file system as a plain tar, unless the cache has it."""
        target = self.rootfs_file(system)
        if target.exists():
            return target
        with _made(target) as (scratch, keep):
            tar = scratch / "rootfs.tar"
            # What is reduced to a few files need not be configured, and has no stage for a hook.
            variant, stage = ("extract", "extract") if system.only else ("minbase", "customize")
            command: list[str | Path] = ["mmdebstrap", f"--variant={variant}"]
            command += [f"--include={','.join(system.packages)}"]
            if system.hook:
                command += [f'--{stage}-hook={system.hook} "$1"']
            command += [system.suite, tar, *_debian_sources(system.suite, scratch)]
            if system.wheels:
                wheels.fetch(system.wheels, scratch / "wheels")
            took = logged(
                f"Debian packages of {system.name}",
                command,
                cache_dir() / "logs" / f"rootfs-{system.name}.log",
                say,
                within=1200,
                environment=os.environ
                | self._hook_environment(system)
                | {"WHEELS": str(scratch / "wheels")},
            )
            if system.only:
                _reduce(tar, system.only)
            keep(tar)
        say(f"made the root file system of {system.name}: {took:.0f} s")
        return target

    def _hook_environment(self, system: Rootfs) -> dict[str, str]:
        if system.name != "node":
            return {}
        kind = self.known.programs["kind"]
        return {
            "KIND_FILES": str(module_directory(kind.directory, kind.module) / "images/base/files"),
            "KUBERNETES": self.known.versions["kubernetes"],
            "PAUSE_IMAGE": self.known.images["pause"].reference,
            # Without the capability no process may lower its OOM score, and no pod starts.
            "RESTRICT_OOM": "true" if lacks_sys_resource() else "false",
        }

    def node_parts(self) -> tuple[Path, list[Path]]:
        """Return the root file system and the programs of the built node."""
        programs = [cached_program(self.known.programs[name]) for name in NODE_PROGRAMS]
        return self.rootfs_file(self.known.rootfs["node"]), programs

    def image_file(self, image: Image) -> Path:
        """The path of a built image's archive, there or not yet."""
        inputs = [image.reference, json.dumps([image.links, image.config], sort_keys=True)]
        inputs += [
            f"{at} {cached_program(self.known.programs[p])}" for p, at in image.programs.items()
        ]
        if image.rootfs:
            inputs.append(str(self.rootfs_file(self.known.rootfs[image.rootfs])))
        return cache_dir() / "images" / f"{image.name}-{image.tag}-{_key(inputs)}.tar"

    def rootfs_file(self, system: Rootfs) -> Path:
        """The path of a root file system, there or not yet."""
        inputs = [*system.packages, *system.only]
        inputs += [system.suite] if system.suite != HOST_SUITE else []
        if system.hook:
            files = sorted(f for f in system.hook.parent.rglob("*") if f.is_file())
            inputs += [f"{f.name}\0{f.read_text()}" for f in files]
        inputs += [system.wheels.read_text()] if system.wheels else []
        if system.name == "node":
            inputs += [
                self.known.versions["kind"],
                self.known.versions["kubernetes"],
                str(lacks_sys_resource()),
            ]
        return cache_dir() / "rootfs" / f"{system.name}-{_key(inputs)}.tar"

    def _node_key(self) -> str:
        inputs = [str(self.rootfs_file(self.known.rootfs["node"]))]
        inputs += [str(cached_program(self.known.programs[name])) for name in NODE_PROGRAMS]
        inputs += [str(self.image_file(image)) for image in self.known.images.values()]
        return _key(inputs)


def _reduce(tar: Path, only: Iterable[str]) -> None:
    """Keep a few files of a root file system, and the libraries of the programs among them."""
    with tempfile.TemporaryDirectory(dir=tar.parent) as scratch:
        output("tar", "-xf", tar, "-C", scratch, within=120)
        kept = reduced(Path(scratch), only)
        options = ("--no-recursion", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner")
        output("tar", *options, "-cf", tar, "-C", scratch, *kept, within=120)


def _debian_sources(suite: str, scratch: Path) -> list[Path]:
    """This machine's own package sources, of a suite, when it is a Debian 12."""
    release = Path("/etc/os-release").read_text()
    if f"VERSION_CODENAME={HOST_SUITE}" not in release or "ID=debian" not in release:
        return []
    files = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
    found = [file for file in files if file.exists()][:1]
    if suite == HOST_SUITE:
        return found
    rewritten = [scratch / file.name for file in found]
    for file, target in zip(found, rewritten, strict=True):
        target.write_text(file.read_text().replace(HOST_SUITE, suite))
    return rewritten


def _key(inputs: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:12]


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
