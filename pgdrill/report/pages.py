"""Templates, and what every one of them may use."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pgdrill.report import number_format

HERE = Path(__file__).parent
ICONS = {"met": "✔", "broken": "✘", "invalid": "?", "plain": "·"}


def render(template: str, **values: object) -> Markup:
    """Return a template's text with some values."""
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
        "num": number_format.number,
        "secs": number_format.seconds,
        "at_most": number_format.at_most,
        "observed": number_format.observed,
        "measured": number_format.measured,
        "allowed": number_format.allowed,
        "count": number_format.count,
    }
    environment.globals |= {
        "style": (HERE / "style.css").read_text(),
        "icons": ICONS,
        "clock_time": number_format.clock_time,
    }
    return environment
