"""A load in Prometheus: its published figures, and PostgreSQL's own count of commits."""

import time

from pgdrill.observe.prometheus import NoDataError, Prometheus, Samples
from pgdrill.records import Commits, Published
from pgdrill.waiting import DeadlineError, eventually

TRANSACTIONS = "pgdrill_load_transactions_total"
LATENCY = "pgdrill_load_latency_seconds"
# Commits of one database on each member, as scraped: a recorded series lacks the time. CNPG's
# exporter puts its prefix before the names of the same queries.
COMMITS = '{__name__=~"(cnpg_)?pgdrill_database_xact_commit",datname="%s"}'
PUSHED_EVERY = 2.0  # seconds: the scrape interval of the embedded platform
SCRAPED_WITHIN = 20.0  # seconds; four scrapes of the slower platform, kind
KNOWN_FOR = 60.0  # seconds; a member with a scrape in this time is waited for


def published(client: Prometheus, run: str, at: float) -> Published:
    """Compute the objectives at an instant (Unix time) when the final state was there.

    Raises:
        NoDataError: Prometheus has no such run.
    """
    of = f'run="{run}"'
    queries = (
        f"sum({TRANSACTIONS}{{{of}}})",
        f'100 * sum({TRANSACTIONS}{{{of},outcome="bad"}}) / sum({TRANSACTIONS}{{{of}}})',
        f"1000 * histogram_quantile(0.99, sum by (le) ({LATENCY}_bucket{{{of}}}))",
    )
    return Published(*(client.values(query, at=at)[""] for query in queries))


def commits(client: Prometheus, database: str, start: float, end: float) -> Commits:
    """Count from the first scrape after start to the first after end (Unix time).

    Both should be quiet: a backend reports its commits a second late (PGSTAT_MIN_INTERVAL), or
    when its session ends.

    Raises:
        NoDataError: no such scrapes, or a member was restarted between them.
    """
    wait_scraped(client, database, end)
    series = client.samples(COMMITS % database, start, time.time())
    counted = sorted((_count(one, end) for one in series), key=lambda one: one.total)
    *others, primary = counted
    seconds = primary.until - primary.since
    rates = (one.total / (one.until - one.since) for one in others)
    return Commits(
        member=primary.member,
        since=primary.since,
        until=primary.until,
        total=primary.total,
        observers=seconds * max(rates, default=0.0),
    )


def wait_scraped(client: Prometheus, database: str, after: float) -> None:
    """Wait until the commits of every member were scraped after an instant (Unix time).

    Raises:
        NoDataError: they were not.
    """

    def missing() -> list[str]:
        known = client.samples(COMMITS % database, after - KNOWN_FOR, time.time())
        # A member that was replaced in between has an old and a new series.
        latest: dict[str, float] = {}
        for one in known:
            member, (at, _) = one.labels["member"], one.points[-1]
            latest[member] = max(at, latest.get(member, 0.0))
        return [member for member, at in latest.items() if at < after]

    try:
        eventually(
            f"members whose commits in {database} are not scraped yet",
            missing,
            lambda members: not members,
            within=SCRAPED_WITHIN,
            not_yet=(NoDataError,),
        )
    except DeadlineError as error:
        raise NoDataError(str(error)) from None


def _count(one: Samples, end: float) -> Commits:
    member = one.labels["member"]
    last = next((n for n, (at, _) in enumerate(one.points) if at >= end), 0)
    points = one.points[: last + 1]
    values = [value for _, value in points]
    if len(points) < 2 or values != sorted(values):
        raise NoDataError(f"{member} was restarted during the load, or not scraped")
    return Commits(member, points[0][0], points[-1][0], values[-1] - values[0], 0.0)
