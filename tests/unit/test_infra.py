"""Infra stands alone: charts with their schemas, kustomize, roles with their arguments."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import jsonschema
import pytest
import yaml

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.kind.state import Installation, plan
from pgdrill.platforms.local.layout import ROLES, Layout
from pgdrill.provision.components import OPERATORS
from pgdrill.provision.render import kustomize_tree
from pgdrill.provision.supply import Supply
from pgdrill.provision.toolchain import has_go
from pgdrill.settings import ROOT, Settings, cache_dir
from tests import manifests

NOWHERE = {"kubectl": Path("/kubectl"), "helm": Path("/helm")}
RECOMMENDED = {"name", "instance", "part-of", "managed-by"}
CASES = [(operator, timing) for operator in OPERATORS for timing in ("tuned", "default")]


def _supply(operator: str = OPERATORS[0]) -> Supply:
    return Supply("build", operator=operator)


def _installation(where: Path, operator: str, timing: str) -> Installation:
    return plan(where, "node:1", True, 2, operator).with_timing(timing).archived()


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Mapping[str, Any]]:
    """Return what the playbook gives each chart, by operator and timing."""

    @cache
    def values(operator: str, timing: str) -> Mapping[str, Any]:
        scratch = tmp_path_factory.mktemp("values")
        found = _installation(scratch, operator, timing)
        supply = _supply(operator)
        return manifests.values(manifests.variables(found, supply, NOWHERE), scratch)

    return values


def _merged(below: Any, above: Any) -> Any:  # noqa: ANN401
    """Merge values as helm does: maps by key, null removes, everything else is replaced."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    both = below | {key: _merged(below.get(key), value) for key, value in above.items()}
    return {key: value for key, value in both.items() if value is not None}


def _complaints(chart: str, *given: Mapping[str, Any]) -> list[str]:
    values = yaml.safe_load((manifests.CHARTS / chart / "values.yaml").read_text())
    for one in given:
        values = _merged(values, one)
    schema = json.loads((manifests.CHARTS / chart / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    found = jsonschema.Draft7Validator(schema).iter_errors(values)
    return [f"{error.json_path}: {error.message}" for error in found]


@pytest.mark.parametrize("chart", manifests.RELEASES)
@pytest.mark.parametrize(("operator", "timing"), CASES)
def test_a_charts_schema_takes_what_the_playbook_gives(
    chart: str, operator: str, timing: str, given: Callable[[str, str], Mapping[str, Any]]
) -> None:
    """With every operator and timing, and without the playbook: its own defaults."""
    assert _complaints(chart) == []
    assert _complaints(chart, given(operator, timing)[chart]) == []


def test_the_schema_takes_a_cluster_that_is_restored() -> None:
    """A restored cluster has no pooler, and begins with the contents of an archive."""
    target = {"targetLSN": "0/7FFFFFF", "backupID": "20261127T190501"}
    restored = {"pooler": None, "recovery": {"server": "pgdrill", "target": target}}
    assert _complaints("postgres-cnpg", restored) == []


@pytest.mark.parametrize(
    ("chart", "wrong", "where"),
    [
        ("postgres-cnpg", {"instances": 0}, "$.instances"),
        ("postgres-cnpg", {"instance": 3}, "'instance' was unexpected"),
        ("postgres-cnpg", {"timing": {"switchoverDelays": 5}}, "'switchoverDelays'"),
        ("postgres-cnpg", {"synchronous": {"method": "all"}}, "$.synchronous.method"),
        ("postgres-cnpg", {"parameters": {"max_connections": 250}}, "$.parameters.max_conn"),
        ("postgres-cnpg", {"nodePorts": {"rw": 5432}}, "$.nodePorts.rw"),
        ("postgres-cnpg", {"archive": {"schedule": "30 2 * * *"}}, "$.archive.schedule"),
        ("archive", {"kept": 0}, "$.kept"),
        ("archive", {"storage": {"size": "much"}}, "$.storage.size"),
        ("monitoring", {"scrapeInterval": 2}, "$.scrapeInterval"),
        ("monitoring", {"images": {"node-exporter": "x"}}, "'node-exporter'"),
        ("monitoring", {"grafana": {"enabled": "yes"}}, "$.grafana.enabled"),
    ],
)
def test_a_charts_schema_refuses_a_wrong_value(
    chart: str, wrong: Mapping[str, Any], where: str
) -> None:
    """A misspelt name, a wrong type, a number out of range: where it stands is named."""
    (complaint,) = _complaints(chart, wrong)
    assert where in complaint


@pytest.mark.parametrize("chart", manifests.RELEASES)
def test_every_value_of_a_chart_is_in_its_schema(chart: str) -> None:
    """And none is in the schema that values.yaml does not explain."""
    values = yaml.safe_load((manifests.CHARTS / chart / "values.yaml").read_text())
    schema = json.loads((manifests.CHARTS / chart / "values.schema.json").read_text())
    assert set(schema["properties"]) == set(values)


def _left_out(what: str, settings: Settings) -> NoReturn:
    """Skip with a message; with --require-capabilities, as `make manifests` has it, fail."""
    if settings.require_capabilities:
        pytest.fail(f"not run: {what}")
    pytest.skip(f"{what}: `make manifests` brings it")


@pytest.fixture
def helm(pgdrill_settings: Settings) -> Path:
    """The helm of this machine, if it has one."""
    return manifests.present("helm") or _left_out(
        "no helm on PATH or in the cache", pgdrill_settings
    )


@pytest.mark.parametrize("chart", manifests.RELEASES)
@pytest.mark.parametrize(("operator", "timing"), CASES)
def test_helm_takes_a_chart(
    chart: str,
    operator: str,
    timing: str,
    helm: Path,
    given: Callable[[str, str], Mapping[str, Any]],
    tmp_path: Path,
) -> None:
    """helm lint finds nothing; each object has the recommended labels, and is there once."""
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(given(operator, timing)[chart]))
    assert manifests.lint(helm, chart, file) == ""
    text = manifests.fill_in(helm, chart, file)
    objects = [one for one in yaml.safe_load_all(text) if one]
    labels = {
        (one["kind"], one["metadata"]["name"]): one["metadata"].get("labels", {}) for one in objects
    }
    assert len(labels) == len(objects) > 0
    wanted = {f"app.kubernetes.io/{name}" for name in RECOMMENDED} | {"helm.sh/chart"}
    assert {one: wanted - set(has) for one, has in labels.items() if wanted - set(has)} == {}


@pytest.mark.parametrize("chart", manifests.RELEASES)
def test_helm_refuses_a_wrong_value_by_the_schema(chart: str, helm: Path, tmp_path: Path) -> None:
    """Before anything is sent: the name that is wrong is in its words."""
    file = tmp_path / "values.yaml"
    file.write_text("misspelt: 1\n")
    with pytest.raises(BrokenEnvironmentError, match="misspelt"):
        manifests.fill_in(helm, chart, file)


@pytest.mark.parametrize("operator", OPERATORS)
def test_kustomize_builds_the_operators(
    operator: str, tmp_path: Path, pgdrill_settings: Settings
) -> None:
    """With the manifests of the very modules, and the images that are built in place of theirs."""
    kubectl = manifests.present("kubectl")
    if kubectl is None or not has_go():
        _left_out("no kubectl, or no Go for the modules that hold manifests", pgdrill_settings)
    said: list[str] = []
    tree = kustomize_tree(tmp_path / "tree", _supply(operator), said.append, built=True)
    done = subprocess.run(
        [kubectl, "kustomize", tree], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    objects = list(yaml.load_all(done.stdout, yaml.CBaseLoader))
    images = set(re.findall(r"image: (\S+)", done.stdout))
    assert {one["kind"] for one in objects} >= {"Namespace", "StorageClass", "Deployment"}
    assert images
    assert {image for image in images if not image.startswith("localhost/pgdrill/")} == set()


def _play(
    book: str, variables: Mapping[str, Any], scratch: Path, settings: Settings
) -> subprocess.CompletedProcess[str]:
    """Validate the arguments of a playbook's roles and run nothing else."""
    file = scratch / "vars.json"
    file.write_text(json.dumps(variables))
    command: list[str | Path] = [
        Path(sys.executable).with_name("ansible-playbook"),
        ROOT / "infra/ansible" / book,
        f"--extra-vars=@{file}",
        "--inventory=localhost,",
        "--tags=always",
    ]
    ours = {"ANSIBLE_CONFIG": str(ROOT / "infra/ansible/ansible.cfg"), "LC_ALL": "C.UTF-8"}
    collections = next(iter((cache_dir() / "collections").glob("*/ansible_collections")), None)
    if collections:
        ours["ANSIBLE_COLLECTIONS_PATH"] = str(collections.parent)
    elif book.startswith("kubernetes"):
        _left_out("no kubernetes.core in the cache", settings)
    return subprocess.run(
        command, env=os.environ | ours, capture_output=True, text=True, timeout=300, check=False
    )


def _locals(state: Path) -> dict[str, Any]:
    secrets = {role: f"secret-of-{role}" for role in ROLES}
    return Layout(str(state), 20_000, True, "postgres", secrets).variables()


@pytest.fixture
def arguments(tmp_path: Path) -> Mapping[str, dict[str, Any]]:
    """The variables of each playbook, as its platform gives them."""
    kind = manifests.variables(_installation(tmp_path, OPERATORS[0], "tuned"), _supply(), NOWHERE)
    local = _locals(tmp_path)
    return {
        "site.yml": local,
        "restore.yml": local | {"pgdrill_restore": "pgbackrest restore"},
        "kubernetes.yml": kind,
        "kubernetes-restore.yml": kind,
    }


LACKING = {
    "site.yml": "pgdrill_members",
    "restore.yml": "pgdrill_restore",
    "kubernetes.yml": "pgdrill_pool",
    "kubernetes-restore.yml": "pgdrill_timing",
}


@pytest.mark.parametrize(("book", "name"), LACKING.items())
def test_roles_take_what_a_platform_gives_and_refuse_less(
    book: str,
    name: str,
    arguments: Mapping[str, dict[str, Any]],
    tmp_path: Path,
    pgdrill_settings: Settings,
) -> None:
    """A variable that is missing is named before anything is done."""
    whole = arguments[book]
    done = _play(book, whole, tmp_path, pgdrill_settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Validating arguments" in done.stdout
    assert "changed=0" in done.stdout
    lacking = _play(
        book, {key: whole[key] for key in whole if key != name}, tmp_path, pgdrill_settings
    )
    assert lacking.returncode == 2
    assert f"missing required arguments: {name}" in lacking.stdout
