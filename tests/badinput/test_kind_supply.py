"""Tools and images that cannot be had: exit code 2, one line, and no cluster is begun."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgdrill.provision.components import catalogue
from pgdrill.provision.registry import Reference
from pgdrill.provision.supply import Supply
from tests.badinput.commands import ENVIRONMENT, USAGE, Outcome
from tests.badinput.orphans import leftovers
from tests.badinput.stubs import Machine
from tests.servers import Registry, files

KNOWN = catalogue()
KIND = KNOWN.tools["kind"]


@pytest.fixture
def laptop(machine: Machine) -> Machine:
    """Docker answers, and there is neither Go nor any other tool."""
    (machine.tools.directory / "go").unlink()
    machine.tools.add_docker()
    return machine


@pytest.fixture
def releases(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A server of releases that has a kind: a program that never gets as far as being run."""
    served = tmp_path / "releases"
    program = served / KIND.release.removeprefix("https://")
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nexit 1\n")
    digest = hashlib.sha256(program.read_bytes()).hexdigest()
    (served / KIND.checksum.removeprefix("https://")).write_text(f"{digest}  {program.name}\n")
    with files(served) as url:
        yield program, url


def _up(laptop: Machine, **more: str) -> Outcome:
    return laptop.with_(PGDRILL_IMAGES="pull", **more).pgdrill("up")


def _nothing_begun(laptop: Machine) -> None:
    assert leftovers(laptop.installation.state) == []


def test_no_network(laptop: Machine) -> None:
    """Without a network the tool is named, and every remedy; no compiler is needed."""
    for how in ("auto", "pull"):
        outcome = laptop.with_(PGDRILL_RELEASE_MIRROR="http://127.0.0.1:9").pgdrill(
            "up", f"--images={how}"
        )
        outcome.refuses(
            ENVIRONMENT, f"kind {KIND.version}", "http://127.0.0.1:9 cannot be reached",
            f"put kind {KIND.fits} on PATH", "--release-mirror",
        )  # fmt: skip
        assert "Go" not in outcome.output.split("pgdrill: ")[-1]
    _nothing_begun(laptop)


def test_a_tool_that_prints_nonsense_as_its_version(laptop: Machine) -> None:
    """A mirror that lacks an image is not used, and the refusal names it."""
    laptop.tools.add("kind", "echo welcome to kind")
    _up(laptop, PGDRILL_RELEASE_MIRROR="http://127.0.0.1:9").refuses(
        ENVIRONMENT, str(laptop.tools.directory / "kind"), "prints no version"
    )
    laptop.tools.add("kind", "echo kind v0.11.1")
    _up(laptop, PGDRILL_RELEASE_MIRROR="http://127.0.0.1:9").refuses(ENVIRONMENT, "is 0.11.1")
    _nothing_begun(laptop)


def test_a_wrong_byte_in_a_tool(laptop: Machine, releases: tuple[Path, str]) -> None:
    """A tool that is not what its release publishes is refused by name and not kept."""
    program, url = releases
    program.write_text("#!/bin/sh\nexit 2\n")
    _up(laptop, PGDRILL_RELEASE_MIRROR=url).refuses(
        ENVIRONMENT, f"kind {KIND.version}", program.name, "was not kept"
    )
    assert not [f for f in laptop.cache.rglob("*") if f.is_file() and "releases" in f.parts]
    _nothing_begun(laptop)


def test_a_mirror_that_does_not_answer(laptop: Machine, releases: tuple[Path, str]) -> None:
    """The refusal names it, and what to check."""
    _up(
        laptop, PGDRILL_RELEASE_MIRROR=releases[1], PGDRILL_REGISTRY_MIRROR="http://127.0.0.1:9"
    ).refuses(ENVIRONMENT, "registry mirror http://127.0.0.1:9 cannot be reached", "network")
    _nothing_begun(laptop)


def test_a_mirror_without_one_image(laptop: Machine, releases: tuple[Path, str]) -> None:
    """The image is named; only an image that nothing needs (Grafana) may be missing."""
    named = [Reference.parse(i.reference) for i in KNOWN.pulled.values() if not i.optional]
    sizes = {f"{r.path}{'@' if r.digest else ':'}{r.version}": 1000 for r in named}
    gone = Reference.parse(KNOWN.pulled["pgbouncer"].reference)
    del sizes[f"{gone.path}:{gone.tag}"]
    with Registry(sizes).url() as url:
        outcome = _up(laptop, PGDRILL_RELEASE_MIRROR=releases[1], PGDRILL_REGISTRY_MIRROR=url)
    outcome.refuses(ENVIRONMENT, f"{url} has no", KNOWN.pulled["pgbouncer"].reference, "put it")
    assert "grafana" not in outcome.output
    _nothing_begun(laptop)


def test_a_disk_that_fills_while_pulling(laptop: Machine, releases: tuple[Path, str]) -> None:
    """Sizes are printed before the pull; a full disk is refused with where to make room."""
    named = [Reference.parse(i.reference) for i in KNOWN.pulled.values()]
    sizes = {f"{r.path}{'@' if r.digest else ':'}{r.version}": 350_000_000 for r in named}
    laptop.tools.add_docker(pull="write /layer.tar: no space left on device")
    with Registry(sizes).url() as url:
        outcome = _up(laptop, PGDRILL_RELEASE_MIRROR=releases[1], PGDRILL_REGISTRY_MIRROR=url)
    outcome.refuses(ENVIRONMENT, "no space left on device", "make room where Docker keeps")
    assert "to pull: kindest/node:v1.29.14, 350 MB; then " in outcome.output
    _nothing_begun(laptop)


def test_a_mirror_that_is_no_url(laptop: Machine) -> None:
    """A mistyped address, a password in one, and an image without a tag are usage errors."""
    for option in (
        "--registry-mirror=mirror.example:5000",
        "--registry-mirror=quay.io=",
        "--registry-mirror=https://me:secret@mirror.example",
        "--release-mirror=/tmp/releases",
        "--node-image=kindest/node",
    ):
        outcome = laptop.installation.pgdrill("up", option)
        outcome.refuses(USAGE, option.partition("=")[0], "such as")
    _nothing_begun(laptop)


def test_the_way_that_was_refused_before(laptop: Machine) -> None:
    """With today's kind, kubectl and helm and no Go, `up` gets as far as asking for images."""
    laptop.tools.add("kind", "echo kind v0.31.0 go1.25.5 linux/amd64")
    laptop.tools.add("kubectl", "echo Client Version: v1.34.2")
    laptop.tools.add("helm", "echo v4.0.1+g12500dd")
    outcome = _up(laptop, PGDRILL_REGISTRY_MIRROR="http://127.0.0.1:9")
    outcome.refuses(ENVIRONMENT, "images cannot be pulled", "http://127.0.0.1:9")
    assert shutil.which("go", path=laptop.tools.path) is None
    assert Supply().node_image.startswith("kindest/node:v1.29.14@sha256:8703bd94ee24")
    _nothing_begun(laptop)
