"""A watch over somebody's own database, which has a page of its own."""

from pgdrill.judge import watching
from pgdrill.judge.failover import WRITE_GAP
from pgdrill.records import Watch
from pgdrill.report import watchplots, watchwords
from pgdrill.report.material import Material
from pgdrill.report.pages import render
from pgdrill.report.suites import Question, Section, Suite
from pgdrill.report.tiles import Tile, state_of


def _watch(m: Material) -> str:
    watch = m.one(Watch)
    return render("watch.html.j2", m=m, w=watch, watchplots=watchplots) if watch else ""


def _tiles(m: Material) -> list[Tile]:
    watch = m.one(Watch)
    if watch is None:
        return []
    gaps = ", ".join(f"{name} {watchwords.gap(lane)}" for name, lane in watch.lanes.items())
    acked = watchwords.acked(watch)
    lost = "not read" if watch.ledger is None else f"{watch.ledger.acked_lost:,}"
    every = sum(lane.attempts for lane in watch.lanes.values())
    return [
        Tile("longest write gap", watchwords.longest(watch), gaps, state_of(m, WRITE_GAP)),
        Tile(
            "acknowledged writes lost",
            lost,
            f"of {acked:,} acknowledged",
            state_of(m, watching.LOST.kind),
        ),
        Tile("failovers and restarts", f"{len(watch.handovers)}", watchwords.kinds(watch)),
        Tile("refused or not answered", f"{every - acked:,}", f"of {every:,} writes"),
    ]


def _claims(m: Material) -> list[str]:
    watch = m.one(Watch)
    return watchwords.claims(watch) if watch else []


def _answers(m: Material) -> list[tuple[str, list[str]]]:
    watch = m.one(Watch)
    return watchwords.answers(watch) if watch else []


def _lines(m: Material) -> list[str]:
    watch = m.one(Watch)
    return watchwords.lines(watch) if watch else []


SUITE = Suite(
    name="watch",
    order=5,
    marker="a database of somebody else's, watched while it is broken",
    drills=False,
    records=(Watch,),
    judges=(watching.anew,),
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
