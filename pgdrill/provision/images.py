"""Container images: which there are, and the nodes' own, pulled where possible and else built."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pgdrill import timeouts
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.provision import oci
from pgdrill.provision.building import BUILT_ON, Builder
from pgdrill.provision.commands import Say, heartbeat, output, succeeds
from pgdrill.provision.components import (
    Image,
    Manifest,
    Program,
    Pulled,
    Tool,
    this_machine,
)
from pgdrill.provision.pulls import pull
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
    cached_program,
    has_go,
    on_path,
)
from pgdrill.settings import cache_dir


@dataclass(frozen=True)
class Node:
    """The image that kind's nodes run; built: all other images are inside it."""

    reference: str
    built: bool


def node_image(
    supply: Supply, say: Say, *, running: str, before_building: Callable[[], None]
) -> Node:
    """Return the node image, pulled or built according to the settings.

    running is the image of a whole running cluster, '' where there is none: then every registry is
    asked for every image before anything is pulled. before_building may refuse a machine that is
    too small for it.

    Raises:
        BrokenEnvironmentError: the request is impossible here.
    """
    here = _here(supply, running)
    if here and (here.built or here.reference == running):
        return _made_node(here)
    if supply.how != "build":
        try:
            say(f"to pull: {_sizes(supply, with_node=here is None)}")
            if here is None:
                wanted = Reference.parse(supply.node_image)
                _pull(wanted, supply, say)
                here = Node(wanted.local, built=False)
            return _made_node(here)
        except MissingImageError as error:
            raise BrokenEnvironmentError(f"{error}: put it there, or use --images=build") from None
        except UnreachableError as error:
            if supply.how == "pull" or not can_build():
                raise BrokenEnvironmentError(
                    f"images cannot be pulled: {error}; check the network, or use --registry-mirror"
                ) from None
            say(f"images cannot be pulled here ({error}): building them")
    before_building()
    return _made_node(Node(Builder(supply.known).build_node(say), built=True))


def can_build() -> bool:
    """Whether images can be built here at all."""
    return has_go() and this_machine() == BUILT_ON


def _here(supply: Supply, running: str) -> Node | None:
    """Return the node image that the settings allow and Docker has, the running one first."""
    found, built = [], Builder(supply.known).reference if can_build() else ""
    if supply.how != "pull" and built and succeeds("docker", "image", "inspect", built):
        found.append(Node(built, built=True))
    wanted = Reference.parse(supply.node_image)
    if supply.how != "build" and any(d.endswith(wanted.digest) for d in _digests(wanted.local)):
        found.append(Node(wanted.local, built=False))
    return max(found, key=lambda node: node.reference == running, default=None)


def present(reference: str, supply: Supply, say: Say) -> None:
    """Make sure that Docker itself has an image that pods run, which the nodes alone may have.

    Raises:
        BrokenEnvironmentError: it can be neither loaded nor pulled.
    """
    known = supply.known.images.values()
    built = next((image for image in known if image.reference == reference), None)
    if built:
        _load(Builder(supply.known).archive(built, say), reference, say)
        return
    wanted = Reference.parse(reference)
    if not _digests(wanted.local):
        _pull(wanted, supply, say)


def _load(archived: Path, reference: str, say: Say) -> None:
    """Load a built image into Docker, unless it has that very one."""
    # Its configuration's digest, or its manifest's where Docker keeps images in containerd.
    if set(_digests(reference)) & {oci.image_id(archived), oci.digest_of(archived)}:
        return
    with tempfile.TemporaryDirectory(prefix=".making-", dir=archived.parent) as scratch:
        copy = Path(scratch) / "image.tar"
        with heartbeat(f"loading {reference}", say):
            oci.for_docker(archived, reference, copy)
            output("docker", "load", "--quiet", "--input", copy, within=300)


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
    compiler's version is part of a program's inputs.
    """
    known = supply.known
    rows = [_tool(tool) for tool in known.tools.values()]
    rows += [_manifest(manifest) for manifest in known.manifests.values()]
    rows += [_pulled(image, supply) for image in known.pulled.values()]
    if supply.how != "pull" and can_build():
        rows += [_program(program) for program in known.programs.values()]
        builder = Builder(known)
        rows += [_made_of(image, builder) for image in known.images.values()]
        digest = next(iter(_digests(builder.reference)), "")
        rows.append(
            Component(builder.reference, known.versions["kubernetes"], digest, "built of all these")
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
    digests = list(wanted.files.values())
    digest = f"sha256 of {len(digests)} files" if digests[1:] else f"sha256:{digests[0]}"
    return Component(f"manifest of {wanted.name}", wanted.version, digest, files)


def _pulled(image: Pulled, supply: Supply) -> Component:
    text = supply.node_image if image.name == "node" else image.reference
    wanted = Reference.parse(text)
    pinned = wanted.digest or "by its tag only"
    named = image.named if text == image.reference else "--node-image"
    return Component(text.partition("@")[0], wanted.tag, pinned, f"pulled, named by {named}")


def _program(program: Program) -> Component:
    digest = _file_digest(cached_program(program))
    return Component(program.name, program.version, digest, f"built from {program.module}")


def _made_of(image: Image, builder: Builder) -> Component:
    parts = [*([f"debian {image.rootfs}"] if image.rootfs else []), *image.programs]
    file = builder.image_file(image)
    digest = oci.digest_of(file) if file.exists() else ""
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
    """Return the description of every image that is pulled, from registry or mirror, by name.

    Raises:
        UnreachableError: one does not answer.
        MissingImageError: one lacks an image that is needed.
    """
    known = supply.known.pulled
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
    """Print the images and their sizes before the pull."""
    remote, known = remote_images(supply), supply.known.pulled
    each = sum(one.size for name, one in remote.items() if known[name].where == "every")
    once = sum(one.size for name, one in remote.items() if known[name].where == "control-plane")
    node = remote["node"].size
    image = f"{supply.node_image.partition('@')[0]}, {node / 1e6:.0f} MB; " if with_node else ""
    return (
        f"{image}then {(each - node) / 1e6:.0f} MB into each node and {once / 1e6:.0f} MB into the"
        " control plane"
    )


def _pull(wanted: Reference, supply: Supply, say: Say) -> None:
    """Let Docker pull an image under its own name, from its registry or a mirror."""
    name = Place.of(wanted.host, supply.mirrors).docker_name(wanted)
    log = cache_dir() / "logs" / "pull.log"
    pull(f"pulling {name}", ["docker", "pull", name], log, say, within=timeouts.IMAGE_PULLED)
    if name != wanted.local:
        output("docker", "tag", name, wanted.local)


def _file_digest(file: Path) -> str:
    if not file.exists():
        return ""
    with file.open("rb") as content:
        return f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"
