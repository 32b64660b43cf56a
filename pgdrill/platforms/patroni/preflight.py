"""The needs of a drill of an existing cluster, checked before anything is done."""

from pgdrill.faults.catalogue import TTL
from pgdrill.platforms.existing.needs import Row, of_database, of_monitoring, tried
from pgdrill.platforms.patroni.platform import PatroniPlatform

MORE = ""  # all remedies are in the table


def who(platform: PatroniPlatform) -> str:
    """Return the user of the REST API."""
    return f"{platform.found.access.user or 'a user without a name'} at Patroni's REST API"


def look(platform: PatroniPlatform) -> list[Row]:
    """Return what each level needs, and every capability, each with its answer; changes nothing."""
    found, settings = platform.found, platform.settings
    production = settings.production_labels.pairs
    bounds = f"loop_wait {found.loop_wait} s, ttl {found.ttl} s"
    return [
        tried("a healthy cluster", "what it costs is measured from there", found.demand_well),
        tried("no production", "tags of the members", lambda: found.demand_harmless(production)),
        tried("the same cluster", "--dsn and --patroni lead to it", platform.demand_same),
        *of_database(platform),
        *of_monitoring(platform),
        tried("requests that change something", "every fault", found.demand_rights, "fault"),
        tried("an address that follows", "every fault", platform.demand_follows, "fault"),
        Row(
            "promises",
            f"write gaps, by {bounds}",
            "fault",
            platform.bounded,
            "yes"
            if platform.bounded
            else f"no fault is drilled: loop_wait is above 10 s, or ttl above {TTL}",
            optional=True,
        ),
        *(
            tried(f"a shell for {name}", "faults of processes", machine.find, "node")
            for name, machine in platform.machines.items()
        ),
    ]
