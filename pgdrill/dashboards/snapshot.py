"""The dashboards over a run: the same panels and queries, asked once at its end."""

from collections.abc import Iterator, Sequence

from pgdrill.dashboards.panels import Dashboard, Panel, Snapshot
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
        for row in dashboard.rows:
            for panel in row.panels:
                yield Snapshot(
                    dashboard=dashboard.title,
                    row=row.title,
                    panel=panel,
                    series=tuple(panel_series(client, panel, start, end)),
                )


def panel_series(client: Prometheus, panel: Panel, start: float, end: float) -> list[Series]:
    """Return what a panel shows of [start, end]; nothing where its queries find nothing."""
    found: list[Series] = []
    for query in panel.queries:
        try:
            found += client.series(panel.title, panel.unit, query.expr, start, end, query.legend)
        except NoDataError:
            continue
    return found
