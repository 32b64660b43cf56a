"""Backup and restore: does what was destroyed come back?"""

from pgdrill.judge import recovery
from pgdrill.records import Rebuild, Recovery
from pgdrill.report import recoveryplots
from pgdrill.report.number_format import at_most, count, number, seconds
from pgdrill.report.pages import render
from pgdrill.report.run_data import RunData
from pgdrill.report.suites import Question, Section, Suite


def _recovery(m: RunData) -> str:
    found = {"recoveries": m.all(Recovery), "rebuilds": m.all(Rebuild)}
    made = render("recovery.html.j2", recoveryplots=recoveryplots, **found)
    return made if any(found.values()) else ""


def _done(m: RunData) -> list[str]:
    found = m.all(Recovery)
    return [f"{count(len(found), 'restore')} from the archive."] if found else []


def _answers(m: RunData) -> list[tuple[str, list[str]]]:
    found = m.all(Recovery)
    if not found:
        return []
    wanted = sum(r.wanted for r in found)
    absent = sum(r.absent for r in found)
    surplus = sum(r.surplus for r in found)
    firsts = [r.step("first write") for r in found]
    slowest = max((after for after in firsts if after is not None), default=None)
    when = f"It took writes after at most {at_most(slowest)}." if slowest is not None else ""
    said = [
        f"{number(absent)} of {wanted:,} rows written before the point were absent in"
        f" {count(len(found), 'restored cluster')}, {number(surplus)} too many.",
        *filter(None, [when]),
    ]
    return [("Would it come back from a backup?", said)]


def _lines(m: RunData) -> list[str]:
    return [*map(_restored, m.all(Recovery)), *map(_rebuilt, m.all(Rebuild))]


def _restored(r: Recovery) -> str:
    first, redundant = r.step("first write"), r.step("redundancy")
    return (
        f"restore {r.scenario} {r.number} to {r.kind} {r.target}: first write after"
        f" {seconds(first)}, redundant after {seconds(redundant)}; {r.absent:,} of {r.wanted:,}"
        f" rows absent, {r.surplus:,} of {r.late:,} too many; backup {seconds(r.backup.seconds)}"
    )


def _rebuilt(r: Rebuild) -> str:
    p99 = "unknown" if r.p99_ms is None else f"{number(r.p99_ms)} ms"
    return (
        f"rebuild {r.number}: {r.member} from {r.method or 'unknown'}, streams again after"
        f" {seconds(r.seconds)}; p99 of the clients meanwhile {p99}"
    )


SUITE = Suite(
    name="recovery",
    order=60,
    marker="what was destroyed comes back from the archive, row by row",
    records=(Recovery, Rebuild),
    judges=(recovery.rejudge,),
    place=40,
    questions=(Question("Does a backup bring back what was destroyed?"),),
    sections=(Section("recovery", "Recovery", _recovery),),
    done=_done,
    answers=_answers,
    lines=_lines,
)
