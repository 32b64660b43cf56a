"""Panels of the report: tiles and stretches show the values, and invent none."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from pgdrill.dashboards.catalogue import DASHBOARDS
from pgdrill.dashboards.panels import Kind, Panel, Query, Snapshot, Step, Word
from pgdrill.records import Series
from pgdrill.report import panels, splice
from pgdrill.report.svg import Point
from tests.unit.fake_run import START, write_run

pytestmark = pytest.mark.unit

STATES = (Word(value=0, text="down", tone="bad"), Word(value=1, text="up", tone="good"))


def shown(
    kind: Kind, unit: str = "", words: tuple[Word, ...] = (), **curves: list[Point]
) -> Snapshot:
    """A panel with these curves, in seconds after the start."""
    panel = Panel(
        title="Panel",
        kind=kind,
        queries=(Query(expr="pgdrill:it", legend="{{member}}"),),
        about="It.",
        unit=unit,
        base="good",
        steps=(Step(at=5, tone="bad"),),
        words=words,
    )
    series = tuple(
        Series(metric="Panel", unit=unit, member=name, points=tuple((START + t, v) for t, v in c))
        for name, c in curves.items()
    )
    return Snapshot(dashboard="Page", row="Row", panel=panel, series=series)


def axis(of: Snapshot) -> panels.TimeAxis:
    """The axis of one panel."""
    found = panels.time_axis([of], START)
    assert found
    return found


def test_every_panel_is_in_the_report(tmp_path: Path) -> None:
    """Each dashboard has its heading and each of its panels a tile, a picture, or a reason."""
    page = splice(write_run(tmp_path / "run").path).read_text()
    section = page[page.index('id="pgd-dashboards"') : page.index('id="pgd-events"')]
    texts = set(re.findall(r">([^<>]+)<", section))
    for dashboard in DASHBOARDS:
        assert dashboard.title in texts
        assert {panel.title for _, panel in dashboard.panels()} <= texts
    assert "no data: it exists only where a backup is configured" in section


def test_a_panel_without_data_says_why(tmp_path: Path) -> None:
    """A run without a load has no curve of one, and the page states it."""
    run = write_run(tmp_path / "run", without=("dashboards",))
    (latency,) = {p for _, p in DASHBOARDS[0].panels() if p.title == "Latency of the load"}
    run.keep(shown("lines", pg1=[(0, 1), (2, 2)]))
    run.keep(Snapshot(dashboard="Page", row="Row", panel=latency, series=()))
    assert "exists only while the steady load runs" in splice(run.path).read_text()


def test_a_run_without_dashboards_says_so(tmp_path: Path) -> None:
    """Nothing watched is nothing drawn, with a message."""
    run = write_run(tmp_path / "run", without=("dashboards",))
    assert "Not measured: this run has no dashboard" in splice(run.path).read_text()


def test_a_tile_tells_the_end_and_what_was_before() -> None:
    """The number is the last one, its colour is that of its step, its range is the run's."""
    lag = shown("stat", "s", pg1=[(0, 0.0), (2, 7.5), (4, 5.5)])
    tile = panels.tile(lag, axis(lag))
    assert (tile.value, tile.detail) == ("5.5 s", "between 0 s and 7.5 s")
    assert tile.state == "broken"


def test_a_number_that_ended_early_is_not_told_as_the_last() -> None:
    """A value that was missing when the run ended is not shown, whatever it was before."""
    ended = shown("stat", pg1=[(0, 2.0), (2, 2.0)])
    whole = shown("stat", pg1=[(t, 1.0) for t in range(0, 30, 2)])
    longer = panels.time_axis([ended, whole], START)
    assert longer
    tile = panels.tile(ended, longer)
    assert (tile.value, tile.state) == ("none", "invalid")
    assert tile.detail == "no data at the end, 2 before"


def test_a_tile_of_words_speaks_in_words() -> None:
    """A value with a word is shown by it, in the colour of the word."""
    operator = shown("stat", words=STATES, operator=[(0, 1.0), (2, 0.0), (4, 1.0)])
    tile = panels.tile(operator, axis(operator))
    assert (tile.value, tile.detail, tile.state) == ("up", "between down and up", "met")


def test_a_name_is_whose_it_is_at_the_end() -> None:
    """Earlier holders of a role are history; a former holder is not named as the present one."""
    away: list[Point] = [(t, 1.0) for t in (0, 2, 4, 20, 22)]
    held: list[Point] = [(t, 1.0) for t in range(8, 16, 2)]
    primary = shown("names", pg1=away, pg2=held)
    tile = panels.tile(primary, axis(primary))
    assert (tile.value, tile.detail) == ("pg1", "earlier pg2")
    gone = shown("names", pg1=held, pg2=[(0, 1.0), (2, 1.0)])
    assert panels.tile(gone, axis(gone)).value == "pg1"
    alone = shown("names", pg1=held)
    assert panels.tile(alone, axis(alone)).detail == "nobody else"


def test_states_are_drawn_as_long_as_they_lasted() -> None:
    """A state holds until the next one; where nothing was measured, nothing is drawn."""
    points: list[Point] = [(0, 1.0), (2, 1.0), (4, 0.0), (6, 1.0), (8, 1.0), (30, 1.0), (32, 1.0)]
    members = shown("states", words=STATES, pg1=points)
    drawn = str(panels.picture(members, axis(members), [], 1))
    bars = re.findall(r'<rect class="tone-(\w+)" x="([\d.]+)" y="26" width="([\d.]+)"', drawn)
    assert [tone for tone, _, _ in bars] == ["good", "bad", "good", "good"]
    spans = [(float(x), float(x) + float(width)) for _, x, width in bars]
    gaps = [round(b[0] - a[1]) for a, b in pairwise(spans)]
    assert gaps[:2] == [0, 0]
    assert gaps[2] > 0, "the hole from 10 s to 30 s is drawn over"


def test_bytes_are_drawn_in_units_that_people_read() -> None:
    """Memory of 48 MiB is not an axis up to fifty million."""
    memory = shown("lines", "bytes", pg1=[(0, 24 * 2.0**20), (5, 48 * 2.0**20)])
    drawn = str(panels.picture(memory, axis(memory), [], 2))
    assert ">MiB<" in drawn
    assert {">20<", ">40<"} <= set(re.findall(r">\d+<", drawn))


@pytest.mark.parametrize(
    ("unit", "top", "said"),
    [
        ("share", 0.8, (100.0, "%")),
        ("s", 0.2, (1000.0, "ms")),
        ("s", 5.0, (1.0, "s")),
        ("bytes/s", 2.0**21, (2.0**-20, "MiB/s")),
        ("bytes", 12.0, (1.0, "bytes")),
        ("cores", 0.1, (1.0, "cores")),
    ],
)
def test_units_fit_their_values(unit: str, top: float, said: tuple[float, str]) -> None:
    """A share is read in percent, a short time in ms, many bytes in a larger unit."""
    assert panels.readable(unit, top) == said
