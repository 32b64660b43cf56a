"""Image archives without a container engine: the same inputs always give the same digest."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

CHUNK = 1 << 20
LEVEL = 1  # of gzip: the layers never leave this machine


@dataclass(frozen=True)
class Layer:
    """A compressed layer on disk; diff_id is the digest of the plain tar."""

    path: Path
    digest: str
    diff_id: str


class _Hashing(io.RawIOBase):
    """Pass bytes on and keep their digest."""

    def __init__(self, to: Any) -> None:  # noqa: ANN401  # a file or a compressor
        self._to = to
        self.sha256 = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401  # any buffer
        self.sha256.update(data)
        return int(self._to.write(data))


def compress(plain: Path, into: Path) -> Layer:
    """Make a layer of a plain tar."""
    with plain.open("rb") as file:
        return _layer(into, lambda out: _copy(file, out))


def files_layer(files: Mapping[str, Path], links: Mapping[str, str], into: Path) -> Layer:
    """Make a layer of executables and symbolic links, their parents included."""

    def fill(out: io.RawIOBase) -> None:
        with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for directory in _parents([*files, *links]):
                tar.addfile(_entry(directory, tarfile.DIRTYPE, 0o755))
            for path, source in sorted(files.items()):
                entry = _entry(path, tarfile.REGTYPE, 0o755)
                entry.size = source.stat().st_size
                with source.open("rb") as content:
                    tar.addfile(entry, content)
            for path, target in sorted(links.items()):
                entry = _entry(path, tarfile.SYMTYPE, 0o777)
                entry.linkname = target
                tar.addfile(entry)

    return _layer(into, fill)


def archive(reference: str, layers: Iterable[Layer], config: Mapping[str, Any], into: Path) -> str:
    """Write an OCI archive that containerd imports under reference; return its digest."""
    layers = list(layers)
    settings = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin"]}
        | dict(config),
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
    }
    settings_blob = json.dumps(settings, sort_keys=True).encode()
    kind = "application/vnd.oci.image"
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.manifest.v1+json",
        "config": _descriptor(f"{kind}.config.v1+json", settings_blob),
        "layers": [
            {
                "mediaType": f"{kind}.layer.v1.tar+gzip",
                "digest": layer.digest,
                "size": layer.path.stat().st_size,
            }
            for layer in layers
        ],
    }
    manifest_blob = json.dumps(manifest, sort_keys=True).encode()
    described = _descriptor(f"{kind}.manifest.v1+json", manifest_blob)
    described["annotations"] = {"io.containerd.image.name": reference}
    index = {"schemaVersion": 2, "manifests": [described]}
    with tarfile.open(into, "w") as tar:
        _add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add(tar, "index.json", json.dumps(index, sort_keys=True).encode())
        for blob in (settings_blob, manifest_blob):
            _add(tar, f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}", blob)
        for layer in layers:
            entry = _entry(f"blobs/{layer.digest.replace(':', '/')}", tarfile.REGTYPE, 0o644)
            entry.size = layer.path.stat().st_size
            with layer.path.open("rb") as content:
                tar.addfile(entry, content)
    return str(described["digest"])


def digest_of(archived: Path) -> str:
    """Return the digest that archive() returned."""
    with tarfile.open(archived) as tar:
        index = tar.extractfile("index.json")
        assert index is not None, f"{archived} was not written by archive()"
        return str(json.load(index)["manifests"][0]["digest"])


def image_id(archived: Path) -> str:
    """Return docker's ID of an image that archive() wrote: its configuration's digest."""
    with tarfile.open(archived) as tar:
        return str(_manifest(tar)["config"]["digest"])


def for_docker(archived: Path, reference: str, into: Path) -> None:
    """Copy what archive() wrote, and add the table of contents that `docker load` needs.

    containerd and docker from version 25 on do not need it.
    """
    with tarfile.open(archived) as source, tarfile.open(into, "w") as tar:
        for member in source:
            tar.addfile(member, source.extractfile(member))
        manifest = _manifest(source)
        contents = {
            "Config": _blob(manifest["config"]),
            "RepoTags": [reference],
            "Layers": [_blob(layer) for layer in manifest["layers"]],
        }
        _add(tar, "manifest.json", json.dumps([contents]).encode())


def _manifest(tar: tarfile.TarFile) -> dict[str, Any]:
    index = tar.extractfile("index.json")
    assert index is not None, f"{tar.name!r} was not written by archive()"
    manifest = tar.extractfile(_blob(json.load(index)["manifests"][0]))
    assert manifest is not None, f"{tar.name!r} lacks its manifest"
    return dict(json.load(manifest))


def _blob(described: Mapping[str, Any]) -> str:
    return f"blobs/{described['digest'].replace(':', '/')}"


def _layer(into: Path, fill: Any) -> Layer:  # noqa: ANN401  # a callable on a stream
    with into.open("wb") as file:
        outer = _Hashing(file)
        with gzip.GzipFile("", "wb", LEVEL, outer, mtime=0) as zipped:
            inner = _Hashing(zipped)
            fill(inner)
    return Layer(into, f"sha256:{outer.sha256.hexdigest()}", f"sha256:{inner.sha256.hexdigest()}")


def _copy(source: BinaryIO, out: io.RawIOBase) -> None:
    while chunk := source.read(CHUNK):
        out.write(chunk)


def _parents(paths: Iterable[str]) -> list[str]:
    found = {str(p) for path in paths for p in Path(path).parents}
    return sorted(found - {"/", "."})


def _entry(path: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path.lstrip("/"))
    entry.type, entry.mode, entry.mtime = kind, mode, 0
    return entry


def _descriptor(media_type: str, blob: bytes) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    return {"mediaType": media_type, "digest": digest, "size": len(blob)}


def _add(tar: tarfile.TarFile, name: str, blob: bytes) -> None:
    entry = _entry(name, tarfile.REGTYPE, 0o644)
    entry.size = len(blob)
    tar.addfile(entry, io.BytesIO(blob))
