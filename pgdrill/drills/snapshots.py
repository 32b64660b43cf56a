"""The dashboards over a run: the same panels and queries, evaluated once at its end."""

from collections.abc import Iterator, Sequence

from pgdrill.dashboards.panels import Dashboard, Panel, Query, Snapshot
from pgdrill.observe.prometheus import NoDataError, Prometheus
from pgdrill.records import Series


def snapshots(
    client: Prometheus, dashboards: Sequence[Dashboard], start: float, end: float
) -> Iterator[Snapshot]:
    """Return every panel over [start, end] of the monotonic clock, in order.

    Raises:
        BrokenEnvironmentError: Prometheus does not answer.
    """
    for dashboard in dashboards:
        for row, panel in dashboard.panels():
            found = [query_series(client, panel, query, start, end) for query in panel.queries]
            yield Snapshot(
                dashboard=dashboard.title,
                row=row.title,
                panel=panel,
                series=tuple(one for series in found for one in series),
            )


def query_series(
    client: Prometheus, panel: Panel, query: Query, start: float, end: float
) -> list[Series]:
    """Return the series of one query of a panel over [start, end]; empty where it finds none."""
    try:
        return client.series(panel.title, panel.unit, query.expr, start, end, query.legend)
    except NoDataError:
        return []
