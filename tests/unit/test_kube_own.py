"""A cluster that pgdrill makes on the user's Kubernetes: what is refused, and what is sent."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgdrill.__main__ import main
from pgdrill.errors import BadUsageError, BrokenEnvironmentError
from pgdrill.platforms.kube import making, rights
from pgdrill.platforms.kube.making import GIVEN, MADE, MARK, NAME, NAMESPACE, OwnCluster
from pgdrill.platforms.kube.own import OwnKubePlatform
from pgdrill.platforms.select import choose
from pgdrill.settings import ROOT, Settings, resolve
from tests import manifests
from tests.kubernetes_api import KubernetesApi, listed

pytestmark = pytest.mark.unit

CORE = f"/api/v1/namespaces/{NAMESPACE}"
CLUSTERS = f"/apis/postgresql.cnpg.io/v1/namespaces/{NAMESPACE}/clusters"
DEPLOYMENTS, CLASSES = "/apis/apps/v1/deployments", "/apis/storage.k8s.io/v1/storageclasses"


def _asked(**words: str) -> Settings:
    return resolve({"platform": "kube", "context": "ours"} | words, {}, Path("/nowhere"))


def _own(**words: str) -> OwnKubePlatform:
    platform, _ = choose(_asked(**words))
    assert isinstance(platform, OwnKubePlatform)
    return platform


def _operator(version: str) -> dict[str, Any]:
    image = f"ghcr.io/cloudnative-pg/cloudnative-pg:{version}"
    return {
        "metadata": {"name": "cnpg-controller-manager"},
        "spec": {
            "selector": {},
            "template": {"spec": {"containers": [{"name": "manager", "image": image}]}},
        },
    }


def _class(name: str, default: str) -> dict[str, Any]:
    about = {"name": name, "annotations": {making.DEFAULT_CLASS: default}}
    return {"metadata": about, "provisioner": "disk.example"}


def _namespace(mark: str | None) -> dict[str, Any]:
    return {"metadata": {"name": NAMESPACE, "labels": {MARK: mark} if mark else {"team": "a"}}}


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    """An API server with an operator and a default storage class, and no cluster of pgdrill's."""
    served = KubernetesApi(port=1)
    served.objects |= {
        CLUSTERS: listed(),
        DEPLOYMENTS: listed(_operator("1.27.1")),
        CLASSES: listed(_class("fast", "true")),
    }
    monkeypatch.setenv("PGDRILL_STATE_DIR", str(tmp_path / "state"))
    with served.kubeconfig(tmp_path) as file:
        monkeypatch.setenv("KUBECONFIG", str(file))
        yield served


@pytest.fixture
def helm(monkeypatch: pytest.MonkeyPatch, pgdrill_settings: Settings) -> Path:
    """The helm of this machine, if it has one: the real one fills the chart in."""
    found = manifests.present("helm")
    if found is None:
        message = "no helm on PATH or in the cache: `make manifests` brings it"
        (pytest.fail if pgdrill_settings.require_capabilities else pytest.skip)(message)
    monkeypatch.setattr(making, "tool", lambda *_: found)
    return found


def _changed(api: KubernetesApi) -> list[tuple[str, str]]:
    reviews = ("/selfsubjectaccessreviews", "/selfsubjectreviews")
    return [one for one in api.asked if one[0] != "GET" and not one[1].endswith(reviews)]


@pytest.mark.usefixtures("api")
def test_the_first_line_says_that_a_cluster_will_be_made() -> None:
    """Where, by which operator, and what will be done to it; nothing is asked of the cluster."""
    _, why = choose(_asked(level="fault"))
    assert f"namespace {NAMESPACE}, CloudNativePG 1.27.1; cluster {NAME} of pgdrill's own" in why
    assert "WILL BE MADE there by pgdrill's chart, and WILL BE BROKEN" in why


@pytest.mark.usefixtures("api")
def test_the_first_line_of_a_removal_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """It does not announce what the level would do."""
    assert main(["down", "--platform=kube", "--context=ours"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "it will be cleared of what pgdrill made" in said
    assert "WILL BE" not in said


def test_who_may_not_look_at_namespaces_is_told_of_a_role(api: KubernetesApi) -> None:
    """A namespace can be given, with a Role in it."""
    api.denied.add(f"get {CORE}")
    with pytest.raises(BrokenEnvironmentError, match=r"infra/kube/own\.yaml"):
        _own().up(_asked(yes_break=NAME))


def test_a_namespace_of_somebody_s_is_refused(api: KubernetesApi, helm: Path) -> None:
    """A forgotten --cluster makes nothing in the user's own namespace, and removes nothing."""
    assert helm
    api.objects[CORE] = _namespace(None)
    for command in (lambda: _own().up(_asked(yes_break=NAME)), lambda: _own().down()):
        with pytest.raises(
            BadUsageError, match=f"namespace {NAMESPACE} is not pgdrill's"
        ) as refused:
            command()
        assert "--cluster=NAME" in str(refused.value)
    assert not _changed(api)


@pytest.mark.parametrize(
    ("path", "objects", "named"),
    [
        pytest.param(CLUSTERS, None, ["CloudNativePG is not installed"], id="no-operator"),
        pytest.param(
            DEPLOYMENTS, [_operator("1.24.2")], ["1.24.2", "1.25 or newer"], id="old-operator"
        ),
        pytest.param(
            CLASSES,
            [_class("slow", "false")],
            ["no storage class is the default", "slow", "--chart-values=FILE"],
            id="no-class",
        ),
    ],
)
def test_what_could_not_carry_it_is_refused(
    api: KubernetesApi, helm: Path, path: str, objects: list[Any] | None, named: list[str]
) -> None:
    """In one line with the remedy, and nothing is made."""
    assert helm
    del api.objects[path]
    if objects is not None:
        api.objects[path] = listed(*objects)
    with pytest.raises(BrokenEnvironmentError) as refused:
        _own().up(_asked(yes_break=NAME))
    assert all(word in str(refused.value) for word in named), refused.value
    assert not _changed(api)


def test_it_is_made_for_who_confirms_it(api: KubernetesApi, helm: Path) -> None:
    """Also at level observe: it takes the room of three instances."""
    assert helm
    with pytest.raises(BadUsageError, match=f"--yes-break={NAME}"):
        _own(yes_break="").up(_asked())
    assert not _changed(api)


@pytest.mark.parametrize("mark", [None, GIVEN])
def test_missing_rights_are_named(api: KubernetesApi, helm: Path, mark: str | None) -> None:
    """A namespace that an administrator made need not be made."""
    assert helm
    if mark:
        api.objects[CORE] = _namespace(mark)
    api.denied = {"create namespaces", "create services"}
    with pytest.raises(BrokenEnvironmentError) as refused:
        _own().up(_asked(yes_break=NAME))
    said = str(refused.value)
    assert f"create services in namespace {NAMESPACE}" in said
    assert ("create namespaces in the whole of Kubernetes" in said) is (mark is None)
    assert not _changed(api)


def test_values_that_the_chart_does_not_take_are_refused(
    api: KubernetesApi, helm: Path, tmp_path: Path
) -> None:
    """A file that is away, that is no YAML, or that names what the chart does not have."""
    assert helm
    file = tmp_path / "values.yaml"
    for text, named in ((None, "cannot be read"), ("a: [", "YAML"), ("nodes: 3", "nodes")):
        if text is not None:
            file.write_text(text)
        with pytest.raises(BadUsageError, match=f"--chart-values={file}") as refused:
            _own(chart_values=str(file)).up(_asked(yes_break=NAME))
        assert named in str(refused.value), refused.value
    assert not _changed(api)


def test_values_are_for_a_cluster_that_is_made() -> None:
    """With a cluster that is there they would change nothing."""
    with pytest.raises(BadUsageError, match="leave one of them out"):
        choose(_asked(namespace="db", cluster="pg", chart_values="v.yaml"))


def test_the_chart_is_filled_in_for_any_kubernetes(
    api: KubernetesApi, helm: Path, tmp_path: Path
) -> None:
    """The default storage class, and fewer nodes than instances; the user's values come last."""
    assert api
    assert helm
    spec = _own().made.manifest["spec"]
    assert "storageClass" not in spec["storage"]
    assert spec["affinity"]["podAntiAffinityType"] == "preferred"
    assert "tolerations" not in spec["affinity"]
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump({"storage": {"class": "slow", "size": "1Gi"}, "image": "p:1"}))
    made: OwnCluster = _own(chart_values=str(file)).made
    assert made.manifest["spec"]["storage"] == {"storageClass": "slow", "size": "1Gi"}
    assert made.manifest["spec"]["imageName"] == "p:1"
    made.demand_storage()


@pytest.mark.parametrize("mark", ["", GIVEN])
def test_a_namespace_is_made_where_there_is_none(
    api: KubernetesApi, helm: Path, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was given one may not even ask for it; a Secret that is there keeps its password."""
    assert helm
    api.objects |= {"/api/v1/namespaces": listed(), f"{CORE}/secrets": listed()}
    if mark:
        api.objects[CORE] = _namespace(mark)
    made = _own().made
    assert made.manifest
    monkeypatch.setattr(making, "output", lambda *_, **__: "")
    made.make()
    posted = [path for method, path in api.asked if method == "POST"]
    assert ("/api/v1/namespaces" in posted) is (not mark)
    assert f"{CORE}/secrets" in posted


@pytest.mark.parametrize("mark", [MADE, GIVEN])
def test_only_what_pgdrill_made_is_removed(
    api: KubernetesApi, helm: Path, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The namespace goes with the cluster, unless an administrator gave it."""
    assert helm
    monkeypatch.setattr(making, "output", lambda *_, **__: "")
    api.objects |= {
        CORE: _namespace(mark),
        "/api/v1/namespaces": listed(_namespace(mark)),
        f"{CORE}/pods": listed(),
        f"{CORE}/secrets": listed({"metadata": {"name": "pgdrill-app"}}),
    }
    assert _own().made.remove()
    deleted = {path for method, path in api.asked if method == "DELETE"}
    assert f"{CORE}/secrets" in deleted
    assert not api.objects[f"{CORE}/secrets"]["items"]
    assert ("/api/v1/namespaces" in deleted) is (mark == MADE)


def test_nothing_to_remove_is_no_error(api: KubernetesApi) -> None:
    """`down` where nothing was made."""
    _own().down()
    assert not _changed(api)


def test_the_roles_grant_what_is_asked_for_and_no_more() -> None:
    """infra/kube/own.yaml holds each right to make a cluster in a namespace that was given."""
    granted = {
        (verb, resource, group, role["kind"] == "ClusterRole")
        for role in yaml.safe_load_all((ROOT / "infra/kube/own.yaml").read_text())
        if role["kind"] in ("Role", "ClusterRole")
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    needed = rights.to_make(namespace=False)
    assert granted == {(r.verb, r.resource, r.group, r.is_global) for r in needed}


def test_the_operator_s_account_is_none_of_ours() -> None:
    """It is called as the cluster is, and would be taken from who is called the same."""
    for file in ("rbac.yaml", "own.yaml"):
        for one in yaml.safe_load_all((ROOT / "infra/kube" / file).read_text()):
            assert one["metadata"]["name"] != NAME
