"""Templates, and what every one of them may use."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pgdrill.report import words

HERE = Path(__file__).parent
ICONS = {"met": "✔", "broken": "✘", "invalid": "?", "plain": "·"}


def render(template: str, **values: object) -> Markup:
    """Return what a template makes of some values."""
    return Markup(_environment().get_template(template).render(**values))


def page(title: str, part: str) -> str:
    """Return a page of its own around a part."""
    return render("page.html.j2", title=title, part=part)


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
        "icons": ICONS,
        "clock_time": words.clock_time,
    }
    return environment
