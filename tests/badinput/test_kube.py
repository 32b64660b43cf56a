"""An existing cluster that cannot be identified or reached: one line, and nothing is changed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.badinput.commands import ENVIRONMENT, USAGE, Installation
from tests.kubernetes_api import CLUSTERS, NAME, KubernetesApi, listed

NAMED = ("--platform=kube", "--context=ours", "--namespace=db", f"--cluster={NAME}")
NOWHERE = 1  # a port at which no database listens


@pytest.fixture
def api(tmp_path: Path) -> Iterator[tuple[KubernetesApi, Installation]]:
    """An API server with a cluster, and commands that find it in their kubeconfig."""
    served = KubernetesApi(NOWHERE)
    with served.kubeconfig(tmp_path) as file:
        variables = {"KUBECONFIG": str(file)}
        yield served, Installation(tmp_path / "state", tmp_path / "reports", variables)


def test_no_context_is_taken_by_chance(api: tuple[KubernetesApi, Installation]) -> None:
    """The current context is not asked for anything."""
    served, asked = api
    asked.pgdrill("up", "--platform=kube").refuses(USAGE, "--context=NAME", "ours, other")
    assert not served.asked
    assert not asked.runs()


def test_a_suite_above_its_level_is_refused(api: tuple[KubernetesApi, Installation]) -> None:
    """Faults at the default level: refused before the cluster is even looked up."""
    served, asked = api
    asked.pytest("-m", "chaos", *NAMED).refuses(USAGE, "--level=fault", "--level=observe")
    assert not served.asked
    assert not asked.runs()


def test_a_cluster_that_is_not_there_ends_a_suite(api: tuple[KubernetesApi, Installation]) -> None:
    """In one line, with those that are there, and without a run directory."""
    served, asked = api
    served.objects[CLUSTERS] = listed({"metadata": {"name": NAME}})
    asked.pytest("-m", "smoke", *NAMED[:3], "--cluster=other").refuses(
        ENVIRONMENT, "no Cluster other", NAME
    )
    assert not asked.runs()


def test_a_database_that_does_not_answer_leaves_nothing(
    api: tuple[KubernetesApi, Installation],
) -> None:
    """The password that was read for it is not kept."""
    _, asked = api
    asked.pytest("-m", "smoke", *NAMED).refuses(ENVIRONMENT, "127.0.0.1:1", "--rw-host")
    assert not asked.runs()
    assert not [file for file in asked.state.rglob("*") if file.is_file()]


def test_a_seed_is_a_load(api: tuple[KubernetesApi, Installation]) -> None:
    """A million rows are not written where it was only to be looked."""
    _, asked = api
    asked.pgdrill("seed", *NAMED).refuses(USAGE, "--level=load")
