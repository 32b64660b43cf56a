"""report.html: our sections on top of pytest-html's page, or on a page of their own."""

import re
from pathlib import Path

from pgdrill.dashboards.panels import ABSENT, Snapshot
from pgdrill.judge.promises import Limits
from pgdrill.report import loadplots, panels, plots
from pgdrill.report.headline import headline
from pgdrill.report.pages import page, render
from pgdrill.report.questions import asked
from pgdrill.report.read_run import read_run
from pgdrill.report.run_data import RunData, rejudged_lines
from pgdrill.report.suites import Section, alone, shown
from pgdrill.rundir import RunDir

BEGIN, END = "<!-- pgdrill:begin -->", "<!-- pgdrill:end -->"


def splice(run: Path, limits: Limits | None = None) -> Path:
    """Put our sections on top of report.html, replacing older ones; return the page.

    pytest-html writes that file when a session ends; without it we write a page of our own.
    limits: the user's, where every verdict is judged again from the records.

    Raises:
        BadUsageError: there is no run in this directory.
    """
    data = read_run(run, limits)
    part = f"{BEGIN}\n{sections(data)}\n{END}"
    file = RunDir(run).report
    whole = file.read_text() if file.is_file() else ""
    draft = file.with_suffix(".html.part")
    draft.write_text(_placed(whole, part) or page(f"pgdrill {run.name}", part))
    draft.replace(file)
    return file


def _placed(whole: str, part: str) -> str | None:
    """Return the page with our part in its place; None when the page has no place for it."""
    before, begin, rest = whole.partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and end:
        return f"{before}{part}{after}"
    heading = re.search(r"<h1\b.*?</h1>", whole, re.DOTALL)
    if not heading:
        return None
    return f"{whole[: heading.end()]}\n{part}{whole[heading.end() :]}"


def sections(data: RunData) -> str:
    """Render our part: its own style and all sections, no script, nothing to fetch."""
    parts = [(one, one.render(data)) for one in _sections(data)]
    there = [(one, part) for one, part in parts if part]
    return render(
        "sections.html.j2",
        m=data,
        head=headline(data),
        anew=rejudged_lines(data),
        shown=[one for one, _ in there],
        parts=[part for _, part in there],
    )


def _sections(m: RunData) -> list[Section]:
    own = [section for suite in shown(m) for section in suite.sections]
    return [VERDICTS, *own, *([] if alone(m) else [DASHBOARDS]), *OF_THE_RUN]


def _dashboards(m: RunData) -> str:
    snapshots = m.all(Snapshot)
    made = {"panels": panels, "loadplots": loadplots, "absent": ABSENT}
    return render("dashboards.html.j2", m=m, snapshots=snapshots, **made)


VERDICTS = Section(
    "verdicts",
    "Verdicts",
    lambda m: render("verdicts.html.j2", m=m, questions=asked(m), alone=alone(m)),
)
DASHBOARDS = Section("dashboards", "Dashboards", _dashboards)
OF_THE_RUN = (
    Section("events", "Events", lambda m: render("events.html.j2", m=m, plots=plots)),
    Section(
        "environment", "Environment", lambda m: render("environment.html.j2", m=m, alone=alone(m))
    ),
)
