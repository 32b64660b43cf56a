"""Pods of a Job that do not run: why, from the API server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pgdrill import timeouts
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.kubernetes import jobs
from pgdrill.platforms.kubernetes.jobs import NeverError, Place
from tests.kubernetes_api import CORE, KubernetesApi, listed, place_of

pytestmark = pytest.mark.unit

JOB = "pgdrill-prober-1"


@pytest.fixture
def api() -> KubernetesApi:
    """An API server whose namespace has no pods and no events."""
    served = KubernetesApi(0)
    served.objects[f"{CORE}/pods"] = served.objects[f"{CORE}/events"] = listed()
    return served


@pytest.fixture
def place(api: KubernetesApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Its namespace, for pods that have to run at once."""
    monkeypatch.setattr(timeouts, "LOAD_PODS_BEGIN", 0.2)
    monkeypatch.setattr(jobs, "ANSWERS", 0.2)
    with api.kubeconfig(tmp_path) as file:
        yield place_of(kubeconfig=str(file), image="p:1")


def _pod(number: int, phase: str, **state: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
    containers = [{"name": "c", "image": "p:1", "imageID": "", "ready": False, "restartCount": 0}]
    return {
        "metadata": {"name": f"p{number}", "annotations": {jobs.INDEX: str(number)}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c"}]},
        "status": {"phase": phase, "containerStatuses": [containers[0] | {"state": state}]},
    }


def test_pods_come_in_the_order_of_their_numbers(api: KubernetesApi, place: Place) -> None:
    """Whatever the order in which the API server lists them; none of them has ended."""
    api.objects[f"{CORE}/pods"] = listed(*(_pod(n, "Running", running={}) for n in (2, 0, 1)))
    assert [one.name for one in jobs.running(place, JOB, 3)] == ["p0", "p1", "p2"]
    assert jobs.ended(place, JOB) == ""


def test_a_pod_that_never_runs_is_not_waited_for(api: KubernetesApi, place: Place) -> None:
    """It is named with its image and its reason, while it begins and after."""
    state = {"exitCode": 1, "reason": "Error", "message": "it has no prober\n"}
    api.objects[f"{CORE}/pods"] = listed(_pod(0, "Failed", terminated=state))
    words = "pod p0 of image p:1: Error it has no prober"
    with pytest.raises(NeverError, match=f"^{words}$"):
        jobs.running(place, JOB, 1)
    assert jobs.ended(place, JOB) == words


def test_a_pod_that_is_late_names_what_it_waits_for(api: KubernetesApi, place: Place) -> None:
    """A first pull that has failed may succeed the next time."""
    waiting = {"reason": "ErrImagePull", "message": "no such host"}
    api.objects[f"{CORE}/pods"] = listed(_pod(0, "Pending", waiting=waiting))
    with pytest.raises(BrokenEnvironmentError, match="p0 waits: ErrImagePull no such host") as late:
        jobs.running(place, JOB, 1)
    assert not isinstance(late.value, NeverError)


def test_a_job_without_pods_names_who_refused_them(api: KubernetesApi, place: Place) -> None:
    """A quota, or PodSecurity: an event of the Job has the words."""
    event = {
        "metadata": {"name": "e"},
        "involvedObject": {"name": JOB},
        "reason": "FailedCreate",
        "message": "exceeded quota: orders",
    }
    api.objects[f"{CORE}/events"] = listed(event)
    with pytest.raises(
        BrokenEnvironmentError, match=r"no running pods .*: exceeded quota: orders$"
    ):
        jobs.running(place, JOB, 1)
