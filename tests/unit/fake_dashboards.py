"""Dashboards over a made-up run: every panel there is, with every kind of curve."""

import math
import random
from collections.abc import Sequence

from pgdrill.dashboards.catalogue import DASHBOARDS
from pgdrill.dashboards.panels import Panel, Snapshot
from pgdrill.records import Series


def _curves(panel: Panel, start: float, members: Sequence[str]) -> tuple[Series, ...]:
    """Three members (or one number) every 5 s; the second is away for a while."""
    rng = random.Random(panel.title)
    top = panel.steps[-1].at * 0.6 if panel.steps else 40.0
    made = []
    for index, member in enumerate(members if "{{" in panel.queries[0].legend else members[:1]):
        wave = [top * (1 + 0.3 * math.sin(i / 9 + index)) + rng.uniform(0, 1) for i in range(200)]
        if panel.kind in ("states", "names"):
            wave = [float((i < 75) == (index == 0)) for i in range(200)]
        points = tuple(
            (start + 5 * i, value)
            for i, value in enumerate(wave)
            if not (index == 1 and 60 < i < 75) and not (panel.kind == "names" and not value)
        )
        made.append(Series(metric=panel.title, unit=panel.unit, member=member, points=points))
    return tuple(made)


def snapshots(start: float, members: Sequence[str]) -> list[Snapshot]:
    """Every panel of every dashboard; there is no backup."""
    return [
        Snapshot(
            dashboard=dashboard.title,
            row=row.title,
            panel=panel,
            series=() if panel.only == "backup" else _curves(panel, start, members),
        )
        for dashboard in DASHBOARDS
        for row, panel in dashboard.panels()
    ]
