"""The needs of a drill of an existing cluster, as a table."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pgdrill.errors import BadUsageError, BrokenEnvironmentError
from pgdrill.observe.existing import monitoring_of
from pgdrill.platforms.existing import schema
from pgdrill.platforms.existing.platform import ExistingPlatform
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


def of_database(platform: ExistingPlatform) -> Iterator[Row]:
    """Yield what is needed in the database, and each capability."""
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
    yield tried(
        "room for our schemas", ", ".join(schema.SCHEMAS), lambda: schema.demand_room(cluster)
    )
    for capability, why, lack in platform.offers():
        there = capability in platform.capabilities
        yield Row(capability, why, "observe", there, "yes" if there else lack, optional=True)


def of_monitoring(platform: ExistingPlatform) -> Iterator[Row]:
    """Yield whether alerts can be watched, and those that must see each fault."""
    settings = platform.settings
    what, why = "Prometheus and Alertmanager", "who would be paged"
    try:
        theirs = monitoring_of(settings)
        if theirs is None:
            lack = "not judged: --prometheus-url and --alertmanager-url are not given"
            yield Row(what, why, "fault", False, lack, optional=True)
            return
        rules = theirs.demand()
    except (BrokenEnvironmentError, BadUsageError) as error:
        yield Row(what, why, "observe", False, str(error))
        return
    yield Row(what, why, "fault", True, f"yes, {len(rules)} alert rules")
    for fault in platform.faults:
        named = ", ".join(theirs.named.get(fault, ()))
        lack = "not judged: [alerts] of pgdrill.toml names none"
        yield Row(
            f"alerts of {fault}", why, "fault", bool(named), named or lack, optional=not named
        )


def tried(what: str, why: str, demand: Callable[[], object], level: str = "observe") -> Row:
    """Return whether a demand of a level is met, with its refusal where it is not."""
    try:
        demand()
    except (BrokenEnvironmentError, BadUsageError) as error:
        return Row(what, why, level, False, str(error))
    return Row(what, why, level, True, "yes")


def missing(rows: list[Row], level: str) -> list[Row]:
    """Return the requirements of a level that are not met."""
    return [r for r in rows if not r.there and not r.optional and r.level in below(level)]
