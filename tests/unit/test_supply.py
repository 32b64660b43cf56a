"""Where a cluster runs already, what the user did not ask to change stays as it is."""

from pathlib import Path

import pytest

from pgdrill.platforms.kind import KindPlatform
from pgdrill.platforms.kind.state import Installation, plan
from pgdrill.provision.components import OPERATORS
from pgdrill.provision.supply import Supply
from pgdrill.settings import BY_KEY, resolve

OTHER = OPERATORS[-1]


def _supply(**options: str) -> Supply:
    return Supply.of(resolve(dict.fromkeys(BY_KEY) | options, {}, Path("/nonexistent")))


def _running(monkeypatch: pytest.MonkeyPatch, state: Path, *, built: bool) -> None:
    monkeypatch.setenv("PGDRILL_STATE_DIR", str(state))
    made = plan(
        state, "my/node:1", built=built, cores=2, operator=OTHER, postgres="17", kubernetes="1.30"
    )
    made.mirrored("http://m:1,quay.io=http://n:2").save()


@pytest.mark.parametrize("built", [False, True])
def test_a_later_command_keeps_operator_and_nodes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, built: bool
) -> None:
    """`make up OPERATOR=... NODE_IMAGE=...`, then `make chaos`: the cluster is not made again."""
    _running(monkeypatch, tmp_path, built=built)
    kept = KindPlatform(supply=_supply())._supply  # no view of it before `up`
    assert (kept.operator, kept.postgres, kept.kubernetes) == (OTHER, "17", "1.30")
    assert kept.known.versions["kubernetes"].startswith("v1.30.")
    assert kept.known.images["postgresql"].tag == "17"
    assert kept.known.versions["cnpg"] == f"v{OTHER}"
    assert str(kept.mirrors) == "http://m:1,quay.io=http://n:2"
    if not built:
        assert kept.node_image == "my/node:1"


def test_what_is_asked_for_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The default's own version, asked for by name, is a change too."""
    _running(monkeypatch, tmp_path, built=False)
    asked = _supply(operator=OPERATORS[0], node_image="other/node:2", registry_mirror="http://o:3")
    wanted = KindPlatform(supply=asked)._supply  # see above
    assert (wanted.operator, wanted.node_image) == (OPERATORS[0], "other/node:2")
    assert str(wanted.mirrors) == "http://o:3"


def test_another_kubernetes_is_another_node_image(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nodes that run 1.30 are not kept where 1.29 is asked for."""
    _running(monkeypatch, tmp_path, built=False)
    wanted = KindPlatform(supply=_supply(kubernetes="1.29"))._supply  # see above
    assert wanted.node_image.startswith("kindest/node:v1.29.")


def test_without_a_cluster_it_is_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first of the list, and an installation of before there was a choice has the old one."""
    monkeypatch.setenv("PGDRILL_STATE_DIR", str(tmp_path))
    fresh = KindPlatform(supply=_supply())._supply  # see above
    assert fresh.known.versions["cnpg"] == f"v{OPERATORS[0]}"
    plan(tmp_path, "node:1", built=True, cores=2).save()
    record = tmp_path / "installation.json"
    text = record.read_text()
    for later in (
        f', "operator": "{OPERATORS[0]}"',
        ', "postgres": "15"',
        ', "kubernetes": "1.29"',
    ):
        assert later in text
        text = text.replace(later, "")
    record.write_text(text)
    found = Installation.load(tmp_path)
    assert found is not None
    assert (found.operator, found.postgres, found.kubernetes) == ("1.25.4", "15", "1.29")
