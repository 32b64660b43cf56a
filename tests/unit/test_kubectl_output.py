"""Diagnostics through the API: text for people, and a refusal in place of what is not shown."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes import client

from pgdrill.platforms.kubernetes import kubectl_output
from pgdrill.platforms.kubernetes.access import Access
from tests.kubernetes_api import CLUSTERS, CORE, NAME, KubernetesApi, listed, pod

pytestmark = pytest.mark.unit


@pytest.fixture
def served() -> KubernetesApi:
    """A namespace with a cluster."""
    return KubernetesApi(5432)


@pytest.fixture
def api(served: KubernetesApi, tmp_path: Path) -> Iterator[client.ApiClient]:
    """A client of it, through a context that is not the current one."""
    with served.kubeconfig(tmp_path) as file:
        yield Access(file, "ours").client()


def test_lists_are_tables(api: client.ApiClient, served: KubernetesApi) -> None:
    """Columns as the API server names them, aligned, with the namespace of each row."""
    served.objects[f"{CORE}/pods"] = {
        "columnDefinitions": [{"name": "Name"}, {"name": "Ready"}],
        "rows": [
            {"cells": ["pg-1", "1/1"], "object": {"metadata": {"namespace": "db"}}},
            {"cells": ["pg-22", 0], "object": {"metadata": {"namespace": "db"}}},
        ],
    }
    served.denied.add(f"list {CORE}/events")
    text = kubectl_output.table(api, f"{CORE}/pods", f"{CORE}/events")
    assert text.splitlines() == [
        f"{CORE}/pods",
        "NAMESPACE   NAME    READY",
        "db          pg-1    1/1",
        "db          pg-22   0",
        "",
        f"{CORE}/events",
        f"user may not list {CORE}/events",
    ]


def test_an_object_is_yaml_without_its_bookkeeping(
    api: client.ApiClient, served: KubernetesApi
) -> None:
    """The record of field managers is longer than the object, and is left out."""
    served.objects[f"{CLUSTERS}/{NAME}"]["metadata"]["managedFields"] = [{"manager": "x"}]
    text = kubectl_output.document(api, f"{CLUSTERS}/{NAME}")
    assert "instances: 2" in text
    assert "managedFields" not in text


def test_a_log_that_is_not_there_says_why(api: client.ApiClient, served: KubernetesApi) -> None:
    """One pod without a log leaves those of the others."""
    served.objects[f"{CORE}/pods"] = listed(pod("a"), pod("b"))
    served.objects[f"{CORE}/pods/b/log"] = "promoted"
    assert kubectl_output.logs_of(api, "db", "x=y").splitlines() == [
        f"{CORE}/pods/a/log not found",
        '"promoted"',
    ]
