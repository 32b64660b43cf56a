"""infra/images/components.toml, read: every program, root file system, image and manifest."""

import platform
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pgdrill.settings import ROOT

IMAGES = ROOT / "infra/images"
PREFIX = "localhost/pgdrill"
OPERATORS = ("1.30.0", "1.25.4")  # versions of CloudNativePG, the default first
POSTGRES = ("15", "17")  # major versions of PostgreSQL, the default first
KUBERNETES = ("1.29", "1.30")  # minor versions of Kubernetes, the default first


def number(text: str) -> tuple[int, ...]:
    """Return the first version in a text as numbers, (0,) where there is none."""
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(n) for n in found.groups() if n) if found else (0,)


def inside(version: tuple[int, ...], fits: str) -> bool:
    """Whether a version is inside a range such as '>=1.28,<1.31'."""
    for bound in fits.split(","):
        operator, limit = re.fullmatch(r"(>=|<)(.+)", bound).groups()  # type: ignore[union-attr]
        if (version >= tuple(map(int, limit.split(".")))) != (operator == ">="):
            return False
    return True


@dataclass(frozen=True)
class Program:
    """One binary built from a Go module of a pinned version."""

    name: str
    directory: Path
    module: str
    package: str
    version: str
    tags: str
    stamps: tuple[str, ...]


@dataclass(frozen=True)
class Rootfs:
    """Debian packages, and what is done to them; only: the files that are kept.

    wheels is a lock file of Python packages that the hook finds in $WHEELS.
    """

    name: str
    packages: tuple[str, ...]
    suite: str
    hook: Path | None = None
    only: tuple[str, ...] = ()
    wheels: Path | None = None


@dataclass(frozen=True)
class Image:
    """A container image: a root file system, programs over it, and how it starts."""

    name: str
    tag: str
    rootfs: str | None = None
    programs: Mapping[str, str] = field(default_factory=dict)  # program -> path
    links: Mapping[str, str] = field(default_factory=dict)  # path -> target
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reference(self) -> str:
        """The name of the image for pods."""
        return f"{PREFIX}/{self.name}:{self.tag}"


@dataclass(frozen=True)
class Tool:
    """A program of this machine: its version command, the versions that fit, its release.

    release and checksum are URLs, for one system and architecture; member is the program's path
    inside an archive, '' where the file is the program.
    """

    name: str
    ask: tuple[str, ...]
    fits: str
    version: str
    release: str
    checksum: str
    member: str = ""

    def takes(self, version: tuple[int, ...]) -> bool:
        """Whether a version is inside the range."""
        return inside(version, self.fits)


@dataclass(frozen=True)
class Manifest:
    """Files of a repository at a release's tag, which are applied to the cluster.

    files maps paths to SHA-256; root is the file or the directory that is copied; the Go module of
    the same version holds the same bytes.
    """

    name: str
    directory: Path
    module: str
    version: str
    url: str
    root: str
    files: Mapping[str, str]


@dataclass(frozen=True)
class Pulled:
    """An image that is pulled where images are not built.

    named is where the reference comes from, a file of a source's module or words; parts are the
    texts in that file. build is the image that replaces it where images are built.
    """

    name: str
    reference: str
    named: str
    parts: tuple[str, ...]
    build: str | None = None
    where: Literal["every", "control-plane"] = "every"  # the nodes that run it
    optional: bool = False


@dataclass(frozen=True)
class Catalogue:
    """The whole list; versions maps a source to the version in its go.mod.

    kubernetes maps an operator to the versions of Kubernetes that it supports.
    """

    versions: Mapping[str, str]
    kubernetes: Mapping[str, str]
    programs: Mapping[str, Program]
    rootfs: Mapping[str, Rootfs]
    images: Mapping[str, Image]
    tools: Mapping[str, Tool]
    manifests: Mapping[str, Manifest]
    pulled: Mapping[str, Pulled]


@cache
def catalogue(
    operator: str = OPERATORS[0], postgres: str = POSTGRES[0], kubernetes: str = KUBERNETES[0]
) -> Catalogue:
    """Read the list, as it is with a version of the operator, of PostgreSQL and of Kubernetes."""
    read = tomllib.loads((IMAGES / "components.toml").read_text())
    asked = (operator, postgres, kubernetes)
    keys = {kind: _keys(asked, entries) for kind, entries in read.items()}
    table = {k: {name: read[k][key] for name, key in names.items()} for k, names in keys.items()}
    sources = table["sources"]
    directories = {name: IMAGES / key.replace("@", "-") for name, key in keys["sources"].items()}
    versions = {name: _pinned(directories[name], s["module"]) for name, s in sources.items()}
    programs = {
        program: Program(
            name=program,
            directory=directories[name],
            module=source["module"],
            package=package,
            version=versions[name],
            tags=source.get("tags", ""),
            stamps=tuple(_stamped(s, versions[name]) for s in source.get("stamps", ())),
        )
        for name, source in sources.items()
        for program, package in source["programs"].items()
    }
    return Catalogue(
        versions=versions,
        kubernetes={n: s["kubernetes"] for n, s in sources.items() if "kubernetes" in s},
        programs=programs,
        rootfs={
            name: Rootfs(
                name,
                tuple(r["packages"]),
                r.get("suite", "bookworm"),
                IMAGES / r["hook"] if "hook" in r else None,
                tuple(r.get("only", ())),
                ROOT / r["wheels"] if "wheels" in r else None,
            )
            for name, r in table["rootfs"].items()
        },
        images={
            name: Image(name=name, **(i | {"tag": i["tag"].format(**versions)}))
            for name, i in table["images"].items()
        },
        tools={
            name: _tool(name, words, programs[name].version)
            for name, words in table["tools"].items()
        },
        manifests={
            name: Manifest(
                name,
                directories[m["source"]],
                sources[m["source"]]["module"],
                versions[m["source"]],
                m["url"].format(version=versions[m["source"]]),
                m["root"],
                m["files"],
            )
            for name, m in table["manifests"].items()
        },
        pulled={
            name: Pulled(name, **({"parts": [p["reference"]]} | p))
            for name, p in table["pulled"].items()
        },
    )


def _keys(versions: Iterable[str], entries: Iterable[str]) -> dict[str, str]:
    """Return names and keys of the entries that hold with any version, or with one of these."""
    parts = {key: key.partition("@") for key in entries}
    return {name: key for key, (name, _, only) in parts.items() if only in ("", *versions)}


def _tool(name: str, table: Mapping[str, Any], version: str) -> Tool:
    system, architecture = this_machine()
    fill = {"version": version, "os": system, "arch": architecture}
    release = table["release"].format(**fill)
    return Tool(
        name=name,
        ask=tuple(table["ask"]),
        fits=table["fits"],
        version=version,
        release=release,
        checksum=table["checksum"].format(file=release),
        member=table.get("member", "").format(**fill),
    )


def this_machine() -> tuple[str, str]:
    """Return the system and the architecture of this machine as releases and images name them."""
    machine = platform.machine().lower()
    return sys.platform, {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _stamped(stamp: str, version: str) -> str:
    """Return a linker's stamp; {number} is the version without its v, as some programs need it."""
    return stamp.replace("{version}", version).replace("{number}", version.removeprefix("v"))


def _pinned(directory: Path, module: str) -> str:
    """Return the version of a module that a go.mod requires."""
    text = (directory / "go.mod").read_text()
    found = re.search(rf"^(?:require )?\s*{re.escape(module)} (v\S+)", text, re.M)
    if found is None:
        raise ValueError(f"{directory}/go.mod does not require {module}")
    return found.group(1)
