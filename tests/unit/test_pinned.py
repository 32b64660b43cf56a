"""The list of what is fetched, held against the Go modules of the same versions."""

import hashlib
import os
from pathlib import Path

import pytest

from pgdrill.provision.components import (
    KUBERNETES,
    OPERATORS,
    POSTGRES,
    Manifest,
    Pulled,
    catalogue,
    inside,
    number,
)
from pgdrill.provision.registry import Reference
from pgdrill.provision.toolchain import has_go, module_directory
from pgdrill.settings import BY_KEY, Mirrors, resolve

needs_go = pytest.mark.skipif(not has_go(), reason="only Go brings modules")
KNOWN = catalogue()
MANIFESTS = {f"{m.name}-{m.version}": m for o in OPERATORS for m in catalogue(o).manifests.values()}
PULLED = {
    (o, i.name, i.reference): (o, i)
    for o in OPERATORS
    for p in POSTGRES
    for i in catalogue(o, p).pulled.values()
    if ": " in i.named
}


@needs_go
@pytest.mark.parametrize("manifest", MANIFESTS.values(), ids=MANIFESTS)
def test_a_manifest_is_the_one_of_its_module(manifest: Manifest) -> None:
    """The pinned digests are those of the files of the module."""
    module = module_directory(manifest.directory, manifest.module)
    found = {
        path: hashlib.sha256((module / path).read_bytes()).hexdigest() for path in manifest.files
    }
    assert found == dict(manifest.files)


@needs_go
@pytest.mark.parametrize(
    ("operator", "image"), PULLED.values(), ids=["-".join(names) for names in PULLED]
)
def test_a_pulled_image_is_named_by_its_source(operator: str, image: Pulled) -> None:
    """The named file of the module contains the reference."""
    source, _, file = image.named.partition(": ")
    of_source = (source, f"{source}-{operator}")
    programs = catalogue(operator).programs.values()
    program = next(p for p in programs if p.directory.name in of_source)
    text = (module_directory(program.directory, program.module) / file).read_text()
    assert [part for part in image.parts if part not in text] == []
    assert all(part in image.reference for part in image.parts)


def test_what_is_pulled_is_what_manifests_and_charts_run() -> None:
    """Each stand-in exists, the node alone is pinned by digest, and of the minor that is built."""
    for image in KNOWN.pulled.values():
        assert image.build is None or image.build in KNOWN.images, image.name
        assert bool(Reference.parse(image.reference).digest) is (image.name == "node")


def test_an_operator_is_known_by_its_version() -> None:
    """The option offers exactly the versions of the list, each with its own module and images."""
    option = BY_KEY["operator"]
    assert option.default == OPERATORS[0]
    for operator in OPERATORS:
        assert option.parse(operator) == operator
        known = catalogue(operator)
        assert known.versions["cnpg"] == f"v{operator}"
        assert known.pulled["cloudnative-pg"].reference.endswith(f":{operator}")
        assert known.images["cloudnative-pg"].tag == f"v{operator}"
    with pytest.raises(ValueError, match=r"1\.25\.4"):
        option.parse("1.26.0")


def test_postgresql_is_known_by_its_major() -> None:
    """The option offers exactly the majors of the list, with programs and images of each."""
    option = BY_KEY["postgres"]
    assert option.default == POSTGRES[0]
    for major in POSTGRES:
        assert option.parse(major) == major
        known = catalogue(postgres=major)
        assert f"postgresql-{major}" in known.rootfs["postgresql"].packages
        assert known.images["postgresql"].tag == major
        assert f"/usr/lib/postgresql/{major}/bin" in str(known.images["postgresql"].config)
        assert Reference.parse(known.pulled["postgresql"].reference).tag.startswith(f"{major}.")
    with pytest.raises(ValueError, match="15"):
        option.parse("14")


def test_kubernetes_is_known_by_its_minor() -> None:
    """The option offers exactly the minors of the list: built, pulled, and stamped as such."""
    option = BY_KEY["kubernetes"]
    assert option.default == KUBERNETES[0]
    for minor in KUBERNETES:
        assert option.parse(minor) == minor
        known = catalogue(kubernetes=minor)
        node = Reference.parse(known.pulled["node"].reference)
        built = known.versions["kubernetes"]
        assert {node.tag.rpartition(".")[0], built.rpartition(".")[0]} == {f"v{minor}"}
        assert known.images["kube-apiserver"].tag == built
        stamps = " ".join(known.programs["kubelet"].stamps)
        assert stamps.count(f"gitMinor={minor.partition('.')[2]}") == 2
        fits = [inside(number(built), catalogue(o).kubernetes["cnpg"]) for o in OPERATORS]
        assert all(fits)
    with pytest.raises(ValueError, match=r"1\.29"):
        option.parse("1.28")


def test_a_mirror_may_stand_in_the_file(tmp_path: Path) -> None:
    """[registry] sets it for all, or for one host; the command line wins."""
    file = tmp_path / "pgdrill.toml"
    file.write_text('[registry]\nmirror = "http://m:1"\n"quay.io" = "http://n:2"\n')
    expected = Mirrors("http://m:1", (("quay.io", "http://n:2"),))
    nothing = dict.fromkeys(BY_KEY)
    assert resolve(nothing, {}, file).registry_mirror == expected
    assert Mirrors.parse(str(expected)) == expected
    told = nothing | {"registry_mirror": "http://o:3"}
    assert resolve(told, {}, file).registry_mirror == Mirrors("http://o:3")
    assert "PGDRILL_REGISTRY_MIRROR" not in os.environ
