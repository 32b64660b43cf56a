"""The requests to registries and mirrors before anything is pulled."""

import pytest

from pgdrill.provision import registry
from pgdrill.provision.components import this_machine
from pgdrill.provision.registry import (
    MissingImageError,
    Place,
    Reference,
    UnreachableError,
    look_up,
)
from pgdrill.settings import Mirrors
from tests.servers import Registry

DIGEST = f"sha256:{'c' * 64}"


@pytest.mark.parametrize(
    ("text", "host", "path", "version", "local"),
    [
        ("kindest/node:v1", "docker.io", "kindest/node", "v1", "kindest/node:v1"),
        (f"kindest/node:v1@{DIGEST}", "docker.io", "kindest/node", DIGEST, "kindest/node:v1"),
        ("quay.io/a/b:2", "quay.io", "a/b", "2", "quay.io/a/b:2"),
        ("localhost:5000/b:2", "localhost:5000", "b", "2", "localhost:5000/b:2"),
        ("postgres", "docker.io", "library/postgres", "latest", "postgres:latest"),
    ],
)
def test_a_name_is_taken_apart_as_docker_does(
    text: str, host: str, path: str, version: str, local: str
) -> None:
    """Host, path, and the digest before the tag."""
    reference = Reference.parse(text)
    assert (reference.host, reference.path, reference.version, reference.local) == (
        host, path, version, local,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("mirror", "api", "docker"),
    [
        ("", "https://quay.io/v2/", "quay.io/a/b:2"),
        ("http://m:5000", "http://m:5000/v2/", "m:5000/a/b:2"),
        ("https://m/proxy/{host}", "https://m/v2/proxy/quay.io/", "m/proxy/quay.io/a/b:2"),
        ("docker.io=http://m:5000", "https://quay.io/v2/", "quay.io/a/b:2"),
        ("http://m:5000,quay.io=http://n", "http://n/v2/", "n/a/b:2"),
    ],
)
def test_a_mirror_stands_for_every_registry_or_for_one(mirror: str, api: str, docker: str) -> None:
    """Where containerd and where Docker ask, prefixes included."""
    wanted = Reference.parse("quay.io/a/b:2")
    place = Place.of(wanted.host, Mirrors.parse(mirror))
    assert f"{place.api}/{place.prefix}" == api
    assert place.docker_name(wanted) == docker


@pytest.mark.parametrize("token", [False, True])
def test_sizes_are_those_of_this_machines_kind(
    monkeypatch: pytest.MonkeyPatch, token: bool
) -> None:
    """A list of platforms is followed, with the anonymous token, and the host is named."""
    known = Registry({"a/b:2": 5000, f"kindest/node@{DIGEST}": 7000}, token=token)
    asked = ["quay.io/a/b:2", f"kindest/node:v1@{DIGEST}"]
    with known.url() as url:
        found = look_up(asked, Mirrors(url))
        assert {text: remote.size for text, remote in found.items()} == dict(
            zip(asked, (5000, 7000), strict=True)
        )
        monkeypatch.setattr(registry, "this_machine", lambda: ("linux", "riscv64"))
        with pytest.raises(MissingImageError, match="linux/riscv64"):
            look_up(asked, Mirrors(url))
    assert set(known.asked) == {("quay.io", "a/b"), ("docker.io", "kindest/node")}
    assert this_machine()[0] == "linux"


def test_every_missing_image_is_named() -> None:
    """One line names the mirror and each image that it lacks."""
    known = Registry({"a/b:2": 5000})
    with known.url() as url, pytest.raises(MissingImageError) as raised:
        look_up(["quay.io/a/b:2", "quay.io/c/d:3", "ghcr.io/e:4"], Mirrors(url))
    said = str(raised.value)
    assert f"the registry mirror {url} has no quay.io/c/d:3" in said
    assert "ghcr.io/e:4" in said
    assert "a/b:2" not in said


def test_a_mirror_that_is_not_there_is_named() -> None:
    """No server at the address, and a server that is no registry."""
    with pytest.raises(UnreachableError, match=r"mirror http://127.0.0.1:9 cannot be reached.*ref"):
        look_up(["quay.io/a/b:2"], Mirrors("http://127.0.0.1:9"))
