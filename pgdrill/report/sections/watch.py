"""A watch over a user's own database, which has a page of its own."""

from pgdrill.judge import watching
from pgdrill.judge.failover import WRITE_GAP
from pgdrill.records import Watch
from pgdrill.report import watch_plots, watch_text
from pgdrill.report.pages import render
from pgdrill.report.run_data import RunData
from pgdrill.report.suites import Question, Section, Suite
from pgdrill.report.tiles import Tile, state_of


def _watch(m: RunData) -> str:
    watch = m.one(Watch)
    return render("watch.html.j2", m=m, w=watch, watch_plots=watch_plots) if watch else ""


def _tiles(m: RunData) -> list[Tile]:
    watch = m.one(Watch)
    if watch is None:
        return []
    gaps = ", ".join(f"{name} {watch_text.gap(lane)}" for name, lane in watch.lanes.items())
    acked = watch_text.acked(watch)
    lost = "not read" if watch.ledger is None else f"{watch.ledger.acked_lost:,}"
    every = sum(lane.attempts for lane in watch.lanes.values())
    return [
        Tile("longest write gap", watch_text.longest(watch), gaps, state_of(m, WRITE_GAP)),
        Tile(
            "acknowledged writes lost",
            lost,
            f"of {acked:,} acknowledged",
            state_of(m, watching.LOST.kind),
        ),
        Tile("failovers and restarts", f"{len(watch.handovers)}", watch_text.kinds(watch)),
        Tile("refused or not answered", f"{every - acked:,}", f"of {every:,} writes"),
    ]


def _claims(m: RunData) -> list[str]:
    watch = m.one(Watch)
    return watch_text.claims(watch) if watch else []


def _answers(m: RunData) -> list[tuple[str, list[str]]]:
    watch = m.one(Watch)
    return watch_text.answers(watch) if watch else []


def _lines(m: RunData) -> list[str]:
    watch = m.one(Watch)
    return watch_text.lines(watch) if watch else []


SUITE = Suite(
    name="watch",
    order=5,
    marker="a user's own database, watched while it is broken",
    drills=False,
    records=(Watch,),
    judges=(watching.rejudge,),
    alone=True,
    place=90,
    questions=(
        Question(
            "Is anything lost?",
            (watching.LOST.kind, watching.PHANTOM.kind, watching.DUPLICATE.kind),
        ),
        Question("Can two members accept writes at once?", (watching.TWO_WRITERS.kind,)),
        Question("How old were reads?", (watching.STALE.kind,)),
    ),
    sections=(Section("watch", "Watch", _watch),),
    tiles=_tiles,
    claims=_claims,
    answers=_answers,
    lines=_lines,
)
