"""A run in Markdown: tables for performance-report.md, between markers, and a summary for CI."""

from pathlib import Path

from pgdrill.errors import BadUsageError
from pgdrill.judge.promises import Limits
from pgdrill.report.compare import MARGIN, Comparison
from pgdrill.report.number_format import allowed, observed
from pgdrill.report.read_run import read_run
from pgdrill.report.run_data import RunData, done_of, wrong_controls
from pgdrill.report.suites import on_paper
from pgdrill.report.tables import cell, table
from pgdrill.report.trials import drilled_ledger

BEGIN, END = "<!-- tables:begin -->", "<!-- tables:end -->"
# A line for each of them and each fault would be more than a page.
LONG = ("full redundancy", "acknowledged writes lost")


def update(
    document: Path, run: Path, limits: Limits | None = None, beside: Path | None = None
) -> None:
    """Replace the text between the document's markers by the tables of a run.

    limits: the user's, where every verdict is judged again from the records.
    beside: another run, of another platform: then both are in one table.

    Raises:
        BadUsageError: no run in the directory, or a document without both markers.
    """
    text = document.read_text() if document.is_file() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise BadUsageError(f"{document} has no place for tables: put {BEGIN} and {END} into it")
    made = side_by_side(run, beside, limits) if beside else tables(run, limits)
    document.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}")


def tables(run: Path, limits: Limits | None = None) -> str:
    """Return all tables of a run as Markdown, without those that it did not measure.

    Raises:
        BadUsageError: there is no run in this directory.
    """
    m = read_run(run, limits)
    parts = [_origin(m), *(part for suite in on_paper() for part in suite.tables(m))]
    return "\n\n".join(part for part in parts if part)


def summary(run: Path, limits: Limits | None = None) -> str:
    """Return the result of a run for a page such as CI's: every verdict, what is not met first.

    limits: the user's, where every verdict is judged again from the records.

    Raises:
        BadUsageError: there is no run in this directory.
    """
    m = read_run(run, limits)
    heads = ["outcome", "of", "promise", "allowed", "observed"]
    rows = [
        [v.outcome, v.subject, v.budget.name, allowed(v.budget), observed(v)] for v in m.promises
    ]
    notes = [f"**cut off after {done_of(m)}**: {cell(m.cut_off)}"] if m.cut_off else []
    notes += [f"**failed before it could judge**: {cell(test)}" for test in m.unjudged]
    notes += [f"**control not {v.expected}**: {cell(v.line())}" for v in wrong_controls(m)]
    verdicts = table(heads, rows, 3) if rows else "Nothing was judged."
    more = f"<details><summary>measured</summary>\n\n{tables(run, limits)}\n\n</details>"
    return "\n\n".join((f"## {m.path.name}", *notes, verdicts, more)) + "\n"


def side_by_side(run: Path, other: Path, limits: Limits | None = None) -> str:
    """Return one table of what two runs have measured, a column for each; it fits a page.


    Raises:
        BadUsageError: there is no run in a directory.
    """
    runs = [read_run(path, limits) for path in (run, other)]
    found = Comparison(tuple(runs), MARGIN)
    rows = [
        [f"{one.subject}: {one.what}", *(one.cell(number) for number in range(len(runs)))]
        for one in found.measures
        if one.what not in LONG and not one.subject.endswith(", held")
    ]
    lost = [drilled_ledger(m) for m in runs]
    rows.append(
        ["acknowledged writes lost", *(f"{each.acked_lost:,} of {each.acked:,}" for each in lost)]
    )
    heads = ["seen", *(m.fingerprint.platform if m.fingerprint else m.path.name for m in runs)]
    note = "Smallest / median / largest, and how many; write gaps are those of new connections."
    return "\n\n".join([*map(_origin, runs), table(heads, rows), note])


def _origin(m: RunData) -> str:
    found = [v.outcome for v in m.promises]
    judged = f"{found.count('met')} of {len(found)} promises kept" if found else "nothing judged"
    if not m.fingerprint:
        return f"Run `{m.path.name}`: {judged}."
    f = m.fingerprint
    machine = ", ".join(f"{name} {value}" for name, value in f.machine.items())
    return (
        f"Run `{m.path.name}` on {f.platform} with {f.engine} ({cell(machine)}): {judged}."
        f" Again: `{f.command}`"
    )
