"""The list of what is fetched, held against the Go modules of the same versions."""

import hashlib
import os
from pathlib import Path

import pytest

from pgdrill.provision.components import IMAGES, Manifest, Pulled, catalogue
from pgdrill.provision.registry import Reference
from pgdrill.provision.toolchain import has_go, module_directory
from pgdrill.settings import BY_KEY, Mirrors, resolve

needs_go = pytest.mark.skipif(not has_go(), reason="only Go brings modules")
KNOWN = catalogue()


@needs_go
@pytest.mark.parametrize("manifest", KNOWN.manifests.values(), ids=lambda m: m.name)
def test_a_manifest_is_the_one_of_its_module(manifest: Manifest) -> None:
    """The pinned digests are those of the files of the module."""
    module = module_directory(manifest.directory, manifest.module)
    found = {
        path: hashlib.sha256((module / path).read_bytes()).hexdigest() for path in manifest.files
    }
    assert found == dict(manifest.files)


@needs_go
@pytest.mark.parametrize(
    "image", [i for i in KNOWN.pulled.values() if ": " in i.named], ids=lambda i: i.name
)
def test_a_pulled_image_is_named_by_its_source(image: Pulled) -> None:
    """The file of the module that is said to name it does."""
    source, _, file = image.named.partition(": ")
    module = next(m for m in _modules() if m[0] == source)[1]
    text = (module_directory(IMAGES / source, module) / file).read_text()
    assert [part for part in image.parts if part not in text] == []
    assert all(part in image.reference for part in image.parts)


def _modules() -> list[tuple[str, str]]:
    return [(p.directory.name, p.module) for p in KNOWN.programs.values()]


def test_what_is_pulled_is_what_manifests_and_charts_run() -> None:
    """Each stand-in exists, the node alone is pinned by digest, majors are those that are built."""
    for image in KNOWN.pulled.values():
        assert image.build is None or image.build in KNOWN.images, image.name
        assert bool(Reference.parse(image.reference).digest) is (image.name == "node")
    node = Reference.parse(KNOWN.pulled["node"].reference)
    minor = KNOWN.versions["kubernetes"].rpartition(".")[0]
    assert node.tag.rpartition(".")[0] == minor == "v1.29"
    major = KNOWN.images["postgresql"].tag
    assert Reference.parse(KNOWN.pulled["postgresql"].reference).tag.startswith(f"{major}.")


def test_a_mirror_may_stand_in_the_file(tmp_path: Path) -> None:
    """[registry] says it for all, or for one host; the command line wins."""
    file = tmp_path / "pgdrill.toml"
    file.write_text('[registry]\nmirror = "http://m:1"\n"quay.io" = "http://n:2"\n')
    expected = Mirrors("http://m:1", (("quay.io", "http://n:2"),))
    nothing = dict.fromkeys(BY_KEY)
    assert resolve(nothing, {}, file).registry_mirror == expected
    assert Mirrors.parse(str(expected)) == expected
    told = nothing | {"registry_mirror": "http://o:3"}
    assert resolve(told, {}, file).registry_mirror == Mirrors("http://o:3")
    assert "PGDRILL_REGISTRY_MIRROR" not in os.environ
