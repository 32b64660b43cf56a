"""report.html: our sections on top of pytest-html's page, or on a page of their own."""

import re
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pgdrill.dashboards.panels import ABSENT
from pgdrill.judge import machine, scaling
from pgdrill.judge import waits as judged_waits
from pgdrill.report import (
    loadplots,
    panels,
    plots,
    recoveryplots,
    scaleplots,
    waits,
    watchplots,
    words,
)
from pgdrill.report.attempts import traces
from pgdrill.report.detection import matrix
from pgdrill.report.facts import drilled_ledger
from pgdrill.report.headline import headline
from pgdrill.report.material import Material, coverage, read_run
from pgdrill.rundir import RunDir

BEGIN, END = "<!-- pgdrill:begin -->", "<!-- pgdrill:end -->"
HERE = Path(__file__).parent
ICONS = {"met": "✔", "broken": "✘", "invalid": "?", "plain": "·"}


def rebuild(run: Path) -> Path:
    """Compute our part of report.html again from the run's records; return the page.

    Raises:
        BadUsageError: there is no run in this directory.
    """
    return splice(run)


def splice(run: Path) -> Path:
    """Put our sections on top of report.html, replacing older ones; return the page.

    pytest-html writes that file when a session ends; without it we write a page of our own.

    Raises:
        BadUsageError: there is no run in this directory.
    """
    material = read_run(run)
    part = f"{BEGIN}\n{sections(material)}\n{END}"
    page = RunDir(run).report
    whole = page.read_text() if page.is_file() else ""
    draft = page.with_suffix(".html.part")
    draft.write_text(
        _placed(whole, part)
        or _environment()
        .get_template("page.html.j2")
        .render(title=f"pgdrill {run.name}", part=part)
    )
    draft.replace(page)
    return page


def page(template: str, title: str, **values: object) -> str:
    """Return a page of its own from a template of ours."""
    part = _environment().get_template(template).render(**values)
    return _environment().get_template("page.html.j2").render(title=title, part=part)


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


def sections(material: Material) -> str:
    """Render our part: its own style and all sections, no script, nothing to fetch."""
    return (
        _environment()
        .get_template("sections.html.j2")
        .render(
            m=material,
            head=headline(material),
            drilled=drilled_ledger(material),
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "num": words.number,
        "secs": words.seconds,
        "at_most": words.at_most,
        "observed": words.observed,
        "measured": words.measured,
        "allowed": words.allowed,
        "count": words.count,
    }
    environment.globals |= {
        "style": (HERE / "style.css").read_text(),
        "plots": plots,
        "loadplots": loadplots,
        "scaleplots": scaleplots,
        "recoveryplots": recoveryplots,
        "watchplots": watchplots,
        "scaling": scaling,
        "machine": machine,
        "judged_waits": judged_waits,
        "waits": waits,
        "panels": panels,
        "absent": ABSENT,
        "coverage": coverage,
        "matrix": matrix,
        "icons": ICONS,
        "traces": traces,
        "clock_time": words.clock_time,
    }
    return environment
