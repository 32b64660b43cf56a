"""The pooler: does it follow its load?"""

from pgdrill.judge import scaling as judged
from pgdrill.records import Scaling
from pgdrill.report import scaleplots
from pgdrill.report.number_format import number, seconds
from pgdrill.report.pages import render
from pgdrill.report.run_data import RunData
from pgdrill.report.suites import Question, Section, Suite
from pgdrill.report.tables import table


def _scaling(m: RunData) -> str:
    found = m.all(Scaling)
    made = {"scaling": judged, "scaleplots": scaleplots}
    return render("scaling.html.j2", scalings=found, **made) if found else ""


def _done(m: RunData) -> list[str]:
    return [f"{number(s.surge.rate)} connections/s through the pooler." for s in m.all(Scaling)]


def _lines(m: RunData) -> list[str]:
    return [_line(found) for found in m.all(Scaling)]


def _line(s: Scaling) -> str:
    grown, shrunk = judged.grown_after(s), judged.shrunk_after(s)
    up = "never grew" if grown is None else f"second pod after {seconds(grown)}"
    down = "not seen to shrink" if shrunk is None else f"small {seconds(shrunk)} after it"
    share = judged.fair_share(judged.carried(s))
    shared = "unknown" if share is None else f"{number(share)} % of a fair share"
    return (
        f"pooler: {s.least} -> {judged.most_ready(s)} pods under {number(s.surge.rate)}"
        f" connections/s, {up}, {down}; idlest pod: {shared}; acked {s.ledger.acked:,},"
        f" acked-lost {s.ledger.acked_lost:,}"
    )


def _tables(m: RunData) -> list[str]:
    rows = []
    for s in m.all(Scaling):
        share = judged.fair_share(judged.carried(s))
        rows.append(
            [
                f"{number(s.surge.rate)} connections/s for {seconds(s.surge.seconds)}",
                f"{s.least} to {judged.most_ready(s)}",
                seconds(judged.grown_after(s)),
                seconds(judged.shrunk_after(s)),
                "-" if share is None else f"{number(share)} %",
                f"{s.ledger.acked:,}",
                f"{s.ledger.acked_lost:,}",
            ]
        )
    heads = [
        "pooler under",
        "pods",
        "second after",
        "small after",
        "idlest*",
        "acked",
        "acked-lost",
    ]
    note = "\\* load of the least loaded pod, of a fair share."
    return [table(heads, rows) + f"\n\n{note}"] if rows else []


SUITE = Suite(
    name="scale",
    order=40,
    marker="the pooler grows and shrinks with its load",
    records=(Scaling,),
    judges=(judged.rejudge,),
    place=30,
    questions=(Question("Does the connection pooler follow its load?"),),
    sections=(Section("scaling", "Scaling", _scaling),),
    done=_done,
    tables=_tables,
    lines=_lines,
)
