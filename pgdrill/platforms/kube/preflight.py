"""The needs of a drill of an existing cluster, checked before anything is done."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.kube import rights, schema
from pgdrill.platforms.kube.platform import KubePlatform
from pgdrill.settings import below


@dataclass(frozen=True)
class Row:
    """One thing that is needed; answer is 'yes', or what is done without it, or what to do."""

    what: str
    why: str
    level: str
    there: bool
    answer: str
    optional: bool = False


def look(platform: KubePlatform) -> list[Row]:
    """Return every right, and every capability, each with its answer; changes nothing.

    Raises:
        BrokenEnvironmentError: the API server does not answer.
    """
    found = platform.found
    asked = [
        Row(
            str(one.right),
            one.right.why,
            one.right.level,
            one.allowed,
            "yes" if one.allowed else one.right.optional or "no",
            bool(one.right.optional),
        )
        for one in rights.ask(found, platform.reads_secret)
    ]
    return [*asked, *_state(platform), *_database(platform)]


def _state(platform: KubePlatform) -> Iterator[Row]:
    found, settings = platform.found, platform.settings
    for what, why, demand in (
        ("no production", "labels of the namespace",
         lambda: found.demand_harmless(settings.production_labels.pairs)),
        ("a healthy cluster", "what it costs is measured from there", found.demand_well),
    ):  # fmt: skip
        yield _tried(what, why, demand)


def _database(platform: KubePlatform) -> Iterator[Row]:
    try:
        cluster = platform.cluster()
        seen = schema.database_rights(cluster)
    except BrokenEnvironmentError as error:
        yield Row("a session", "through the read-write address", "observe", False, str(error))
        return
    yield Row(
        "a session", f"{cluster.user} at {cluster.read_write}", "observe", True,
        f"yes, PostgreSQL {seen.version}",
    )  # fmt: skip
    for what, why, there, statement in seen.rights():
        yield Row(what, why, "observe", there, "yes" if there else statement)
    yield _tried(
        "room for our schemas", ", ".join(schema.SCHEMAS), lambda: schema.demand_room(cluster)
    )
    for capability, why, lack in platform.offers():
        there = capability in platform.capabilities
        yield Row(capability, why, "observe", there, "yes" if there else lack, optional=True)


def _tried(what: str, why: str, demand: Callable[[], None]) -> Row:
    try:
        demand()
    except BrokenEnvironmentError as error:
        return Row(what, why, "observe", False, str(error))
    return Row(what, why, "observe", True, "yes")


def missing(rows: list[Row], level: str) -> list[Row]:
    """Return the requirements of a level that are not met."""
    return [r for r in rows if not r.there and not r.optional and r.level in below(level)]
