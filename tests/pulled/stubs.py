"""A registry, a server of releases, and a PATH without Go, all of this machine."""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests

from pgdrill.provision.commands import output
from pgdrill.provision.components import Manifest, Tool
from pgdrill.waiting import eventually
from tests.servers import free_port

HIDDEN = {"go", "gofmt", "kind", "kubectl", "helm"}
SERVES_WITHIN = 20.0  # seconds


def path_without(hidden: Collection[str], directory: Path) -> str:
    """Return a PATH with every program of this one but some."""
    directory.mkdir()
    for place in os.environ["PATH"].split(":"):
        for program in Path(place).glob("*"):
            link = directory / program.name
            if program.name not in hidden and not link.is_symlink():
                link.symlink_to(program.resolve() if program.is_symlink() else program)
    return str(directory)


def release(directory: Path, tool: Tool, program: Path) -> None:
    """Put a program where its release would be, packed and with its digest as there."""
    at = _place(directory, tool.release)
    if tool.member:
        with tarfile.open(at, "w:gz") as archive:
            archive.add(program, tool.member)
    else:
        shutil.copy(program, at)
    digest = hashlib.sha256(at.read_bytes()).hexdigest()
    _place(directory, tool.checksum).write_text(f"{digest}  {at.name}\n")


def publish(directory: Path, manifest: Manifest, module: Path) -> None:
    """Put a manifest's files where their repository serves them."""
    for path in manifest.files:
        shutil.copyfile(module / path, _place(directory, f"{manifest.url}/{path}"))


def _place(directory: Path, url: str) -> Path:
    parts = urlsplit(url)
    at = directory / parts.netloc / parts.path.lstrip("/")
    at.parent.mkdir(parents=True, exist_ok=True)
    return at


def renamed(archive: Path, reference: str, into: Path) -> Path:
    """Copy an image archive under another name of the image."""
    with tarfile.open(archive) as old, tarfile.open(into, "w") as new:
        for entry in old:
            content = old.extractfile(entry)
            text = content.read() if content else b""
            if entry.name == "index.json":
                index = json.loads(text)
                index["manifests"][0]["annotations"] = {"io.containerd.image.name": reference}
                text = json.dumps(index).encode()
            entry.size = len(text)
            new.addfile(entry, io.BytesIO(text))
    return into


@dataclass(frozen=True)
class Registry:
    """A registry that runs; its log lists what it served."""

    port: int
    log: Path

    @property
    def url(self) -> str:
        """Its address on this machine."""
        return f"http://127.0.0.1:{self.port}"

    def push(self, image: str, path: str) -> str:
        """Push an image that Docker has under another path; returns its digest."""
        name = f"127.0.0.1:{self.port}/{path}"
        output("docker", "tag", image, name)
        told = output("docker", "push", name, within=600)
        output("docker", "rmi", name)
        return str(re.findall(r"digest: (sha256:\w+)", told)[-1])

    def push_archive(self, archive: Path, path: str, tag: str) -> None:
        """Push an image archive of pgdrill, as it is: a docker client of Debian cannot load it."""
        with tarfile.open(archive) as opened:

            def blob(digest: str) -> bytes:
                return _read(opened, f"blobs/{digest.replace(':', '/')}")

            described = json.loads(_read(opened, "index.json"))["manifests"][0]
            manifest = blob(described["digest"])
            content = json.loads(manifest)
            for part in (content["config"], *content["layers"]):
                begun = requests.post(f"{self.url}/v2/{path}/blobs/uploads/", timeout=10)
                where = begun.headers["Location"]
                joined = f"{where}{'&' if '?' in where else '?'}digest={part['digest']}"
                requests.put(joined, blob(part["digest"]), timeout=60).raise_for_status()
        requests.put(
            f"{self.url}/v2/{path}/manifests/{tag}", manifest, timeout=10,
            headers={"Content-Type": content["mediaType"]},
        ).raise_for_status()  # fmt: skip

    def served(self) -> Mapping[str, int]:
        """Return the bytes of layers that were fetched, by repository."""
        sums: dict[str, int] = {}
        for line in self.log.read_text().splitlines():
            found = re.search(r'"GET /v2/(\S+)/blobs/\S+ HTTP/1.1" 200 (\d+)', line)
            if found:
                sums[found[1]] = sums.get(found[1], 0) + int(found[2])
        return sums


@contextmanager
def registry(directory: Path) -> Iterator[Registry]:
    """Run Debian's docker-registry, unpacked and not installed, for as long as the block lasts.

    It listens on every address: nodes reach this machine by that of their network's gateway.
    """
    program = _unpacked("docker-registry", directory) / "usr/bin/docker-registry"
    port = free_port()
    settings = directory / "registry.json"  # JSON is YAML, too
    settings.write_text(
        json.dumps(
            {
                "version": "0.1",
                "log": {"accesslog": {"disabled": False}, "level": "warn"},
                "storage": {"filesystem": {"rootdirectory": str(directory / "registry")}},
                "http": {"addr": f":{port}"},
            }
        )
    )
    log = directory / "registry.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [program, "serve", settings], stdout=file, stderr=subprocess.STDOUT
        )
    try:
        made = Registry(port, log)
        eventually(
            "the registry",
            lambda: requests.get(f"{made.url}/v2/", timeout=2).ok,
            within=SERVES_WITHIN,
            not_yet=(requests.ConnectionError,),
        )
        yield made
    finally:
        process.terminate()
        process.wait(20)


def _unpacked(package: str, directory: Path) -> Path:
    """Unpack a Debian package: to install it would start a service."""
    into = directory / package
    if not into.exists():
        into.mkdir(parents=True)
        output("apt-get", "-qq", "download", package, within=120, cwd=into)
        output("dpkg-deb", "--extract", next(into.glob("*.deb")), into)
    return into


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    content = archive.extractfile(name)
    assert content is not None, f"{name} is no file"
    return content.read()


def forget(images: Iterable[str]) -> None:
    """Remove images from Docker, if they are there."""
    for image in images:
        if output("docker", "images", "--quiet", image).strip():
            output("docker", "rmi", "--force", image, within=60)
