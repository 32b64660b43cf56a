"""The needs of a drill of an existing cluster, checked before anything is done."""

from collections.abc import Iterator

from pgdrill.platforms.existing.needs import Row, of_database, of_monitoring, tried
from pgdrill.platforms.kube import rights
from pgdrill.platforms.kube.platform import KubePlatform
from pgdrill.settings import below

MORE = ", infra/kube/rbac.yaml the roles"  # where remedies are, besides the table


def who(platform: KubePlatform) -> str:
    """Return the user that the API server takes us for."""
    return rights.who(platform.found)


def look(platform: KubePlatform) -> list[Row]:
    """Return every right, and every capability, each with its answer; changes nothing.

    Raises:
        BrokenEnvironmentError: the API server does not answer.
    """
    asked = [
        Row(
            str(one.right),
            one.right.why,
            one.right.level,
            one.allowed,
            "yes" if one.allowed else one.right.optional or "no",
            bool(one.right.optional),
        )
        for one in platform.asked_rights()
    ]
    return [*asked, *_state(platform), *of_database(platform), *of_monitoring(platform)]


def _state(platform: KubePlatform) -> Iterator[Row]:
    found, settings = platform.found, platform.settings
    for what, why, demand in (
        ("no production", "labels of the namespace",
         lambda: found.demand_harmless(settings.production_labels.pairs)),
        ("a healthy cluster", "what it costs is measured from there", found.demand_well),
    ):  # fmt: skip
        yield tried(what, why, demand)
    if "node" in below(settings.level):
        admitted = platform.helpers.demand_admitted
        yield tried("pods that are admitted", "privileged pods on the nodes", admitted, "node")
