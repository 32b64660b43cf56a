"""Our dashboards as Grafana's JSON, by the types of its own SDK (Grafana 11.6)."""

import json
from pathlib import Path
from typing import Any, TypeVar

from grafana_foundation_sdk.builders import common as looks
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.statetimeline import Panel as StateTimeline
from grafana_foundation_sdk.builders.timeseries import Panel as TimeSeries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard

from pgdrill.dashboards.panels import ABSENT, Dashboard, Panel, Row, Tone
from pgdrill.dashboards.shared import FIRING
from pgdrill.settings import ROOT

DIRECTORY = ROOT / "infra" / "dashboards"
COLUMNS = 24  # of Grafana's grid
HEIGHTS = {"stat": 4, "names": 4, "lines": 8, "states": 6}  # in rows of that grid
UNITS: dict[str, str] = {
    "": "none",
    "s": "s",
    "share": "percentunit",
    "bytes": "bytes",
    "bytes/s": "binBps",
    "cores": "suffix: cores",
    "sessions": "none",
    "tx/s": "suffix: tx/s",
    "standbys": "none",
}
COLOURS: dict[Tone, str] = {"plain": "blue", "good": "green", "warn": "orange", "bad": "red"}
FINEST = "2s"  # one scrape of `local`; Grafana's own 15 s would step over a whole failover
SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "pgdrill"

Drawn = TypeVar("Drawn", Stat, StateTimeline, TimeSeries)


def file_of(ours: Dashboard) -> Path:
    """Return the path of a dashboard's JSON."""
    return DIRECTORY / f"{ours.uid}.json"


def text_of(ours: Dashboard) -> str:
    """Return a dashboard as Grafana imports it."""
    found = json.loads(json.dumps(_dashboard(ours), cls=JSONEncoder))
    for annotation in found["annotations"]["list"]:
        # What Grafana writes on the mark; the SDK's types do not know it.
        annotation |= {"titleFormat": "{{alertname}}", "textFormat": "{{severity}} {{member}}"}
    return json.dumps(found, indent=1) + "\n"


def _dashboard(ours: Dashboard) -> dashboard.Dashboard:
    made = (
        build.Dashboard(ours.title)
        .uid(ours.uid)
        .description(ours.about)
        .tags([TAG])
        .refresh("5s")
        .time("now-15m", "now")
        .timezone(common.TimeZoneBrowser)
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .with_variable(build.DatasourceVariable("datasource").label("Source").type("prometheus"))
        .annotation(
            build.AnnotationQuery()
            .name("Firing alerts")
            .datasource(SOURCE)
            .enable(True)
            .icon_color(COLOURS["bad"])
            .expr(FIRING)
        )
        .link(
            build.DashboardLink("pgdrill")
            .type(dashboard.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .keep_time(True)
            .include_vars(True)
        )
    )
    number = 0
    for row in ours.rows:
        number += 1
        made.with_row(build.Row(row.title).id(number))
        for panel in row.panels:
            number += 1
            made.with_panel(_panel(panel, row).id(number))
    return made.build()


def _panel(ours: Panel, row: Row) -> Stat | StateTimeline | TimeSeries:
    if ours.kind == "lines":
        return _lines(ours, row)
    if ours.kind == "states":
        return _states(ours, row)
    return _names(ours, row) if ours.kind == "names" else _stat(ours, row)


def _stat(ours: Panel, row: Row) -> Stat:
    return (
        _common(Stat(), ours, row)
        .reduce_options(looks.ReduceDataOptions().calcs(["lastNotNull"]))
        .color_mode(common.BigValueColorMode.BACKGROUND)
        .graph_mode(common.BigValueGraphMode.AREA)
        .color_scheme(_scheme(dashboard.FieldColorModeId.THRESHOLDS))
    )


def _names(ours: Panel, row: Row) -> Stat:
    made = _stat(ours, row).graph_mode(common.BigValueGraphMode.NONE)
    return made.text_mode(common.BigValueTextMode.NAME).no_value("nobody")


def _lines(ours: Panel, row: Row) -> TimeSeries:
    made = (
        _common(TimeSeries(), ours, row)
        .min(0)
        .line_width(2)
        .fill_opacity(8)
        .show_points(common.VisibilityMode.NEVER)
        .span_nulls(False)
        .color_scheme(_scheme(dashboard.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
        .legend(
            looks.VizLegendOptions()
            .show_legend(True)
            .display_mode(common.LegendDisplayMode.TABLE)
            .placement(common.LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(looks.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
    )
    if ours.steps:
        dashed = looks.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        made.thresholds_style(dashed)
    return made.max(1) if ours.unit == "share" else made


def _states(ours: Panel, row: Row) -> StateTimeline:
    return (
        _common(StateTimeline(), ours, row)
        .fill_opacity(80)
        .line_width(0)
        .row_height(0.8)
        .merge_values(True)
        .show_value(common.VisibilityMode.AUTO)
        .color_scheme(_scheme(dashboard.FieldColorModeId.THRESHOLDS))
        .legend(looks.VizLegendOptions().show_legend(False))
    )


def _common(made: Drawn, ours: Panel, row: Row) -> Drawn:
    """The common part of every panel: title, place, queries, unit, thresholds, words."""
    about = f"{ours.about} It {ABSENT[ours.only]}." if ours.only else ours.about
    made.title(ours.title).description(about).datasource(SOURCE).interval(FINEST)
    made.span(COLUMNS // len(row.panels)).height(HEIGHTS[ours.kind])
    made.unit(UNITS[ours.unit]).thresholds(_thresholds(ours)).mappings(_mappings(ours))
    if ours.only:
        made.no_value("no data")
    for letter, query in zip("ABC", ours.queries, strict=False):
        asked = Dataquery().expr(query.expr).legend_format(query.legend).ref_id(letter)
        # A name is who has the role now; a range would name everyone who had it.
        asked = asked.instant() if ours.kind == "names" else asked.range()
        made.with_target(asked.datasource(SOURCE))
    return made


def _thresholds(ours: Panel) -> build.ThresholdsConfig:
    base = dashboard.Threshold(value=None, color=COLOURS[ours.base])
    steps = [dashboard.Threshold(value=s.at, color=COLOURS[s.tone]) for s in ours.steps]
    made = build.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE)
    return made.steps([base, *steps])


def _mappings(ours: Panel) -> list[dashboard.ValueMapping]:
    words: dict[str, Any] = {
        f"{word.value:g}": dashboard.ValueMappingResult(
            text=word.text, color=COLOURS[word.tone], index=number
        )
        for number, word in enumerate(ours.words)
    }
    return [dashboard.ValueMap(options=words)] if words else []


def _scheme(mode: dashboard.FieldColorModeId) -> build.FieldColor:
    return build.FieldColor().mode(mode)
