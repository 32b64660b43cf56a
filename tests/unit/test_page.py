"""The page in a real browser: on a desk, on a phone and on paper."""

import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from pgdrill.report import splice
from pgdrill.settings import ROOT
from tests import browser
from tests.browser import DESK, PHONE, Tab
from tests.unit.fake_run import GAP, LOST, verdict, write_run

pytestmark = [
    pytest.mark.unit,
    pytest.mark.skipif(
        browser.PROGRAM is None, reason="no chromium here: apt-get install chromium"
    ),
]

TESTS = """
def test_that_passes_under_a_name_that_is_wider_than_any_phone_can_ever_be_expected_to_be(): pass
def test_that_fails(): assert "x" * 300 == ""
"""
PAPER = """<!DOCTYPE html><meta charset="utf-8"><style>
@page {{ size: A4; margin: 12mm }}
body {{ font: 8.5pt/1.3 sans-serif; margin: 0 }}
h1 {{ font-size: 14pt; margin: 0 }} p {{ margin: 4pt 0 }}
table {{ border-collapse: collapse; margin: 4pt 0 }} td, th {{ padding: 0 5pt; text-align: right }}
</style>{}"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our part of a run with everything in it, on top of a page of pytest-html's own."""
    there = tmp_path_factory.mktemp("page")
    run = write_run(there / "run")
    run.keep(verdict(GAP, "a broken one", 11.0))
    run.keep(verdict(LOST, "one without evidence", None))
    (there / "test_it.py").write_text(TESTS)
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "test_it.py", "-p", "no:cacheprovider"),
            *(f"--html={run.report}", "--self-contained-html", "--rootdir=."),
        ],
        cwd=there,
        capture_output=True,
        check=False,
    )
    assert "data-jsonblob" in run.report.read_text()
    return splice(run.path)


@pytest.fixture(scope="module")
def shown(page: Path) -> Iterator[Tab]:
    """The page in a browser."""
    with browser.tab() as tab:
        tab.open(page)
        yield tab


def test_it_loads_nothing_and_complains_of_nothing(shown: Tab, page: Path) -> None:
    """No request but its own, and not one line on the console."""
    shown.ask("1")
    assert [url for url in shown.requests if not url.startswith("data:")] == [page.as_uri()]
    assert shown.complaints == []


def test_every_section_is_reached_by_its_link(shown: Tab) -> None:
    """The links are the sections, and each brings its section to the top of the screen."""
    links = shown.ask("[...document.querySelectorAll('.pgdrill nav a')].map(a => a.hash)")
    found = shown.ask("[...document.querySelectorAll('section[id]')].map(s => '#' + s.id)")
    assert len(links) > 8
    assert links == found
    shown.resize(DESK, 200)
    tops = {}
    for link in links:
        shown.ask(f"document.querySelector('nav a[href=\"{link}\"]').click()")
        shown.picture()  # by then it has scrolled there
        tops[link] = shown.ask(
            f"Math.round(document.querySelector('{link}').getBoundingClientRect().top) + 0"  # no -0
        )
    shown.resize(DESK)
    assert all(abs(top) <= 1 for top in tops.values()), tops


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_nothing_is_wider_than_the_screen(shown: Tab, width: int) -> None:
    """Wide content scrolls by itself; the page does not, with its folded parts open."""
    shown.resize(width)
    shown.ask("document.querySelectorAll('details').forEach(d => { d.open = true })")
    found = shown.ask("document.documentElement.scrollWidth")
    shown.ask("document.querySelectorAll('details').forEach(d => { d.open = false })")
    shown.resize(DESK)
    assert found == width


def test_what_is_kept_is_folded_and_what_is_not_is_seen(shown: Tab) -> None:
    """A broken promise and one without evidence are open; a met one is behind its question."""
    rows = shown.ask(
        "Object.fromEntries([...document.querySelectorAll('table.verdicts tbody tr')].map("
        "r => [r.cells[1].textContent, r.checkVisibility({contentVisibilityAuto: true})]))"
    )
    assert rows["a broken one"]
    assert rows["one without evidence"]
    assert not rows["primary-kill trial 1 fresh"]
    assert not rows["control: slow disk"]


def test_a_copy_of_the_text_holds_plain_characters(shown: Tab) -> None:
    """No control or invisible character and no odd space: a search for '11 s' finds it."""
    text = shown.ask("document.querySelector('.pgdrill').textContent")
    odd = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Zs", "Co")} - {"\n", " "}
    assert odd == set()
    assert "11 s" in text


def test_it_prints(shown: Tab) -> None:
    """On A4, with the verdicts that the screen folds."""
    pdf = shown.printed()
    assert pdf.startswith(b"%PDF")
    assert 3 < browser.pages(pdf) < 60


def test_the_picture_of_the_readme_is_a_first_screen(page: Path) -> None:
    """`make picture` makes it of the same code, as wide as the one that is there."""
    new, old = browser.first_screen(page), (ROOT / "docs/report.png").read_bytes()
    assert new[:8] == old[:8]
    assert int.from_bytes(new[16:20]) == int.from_bytes(old[16:20]) == browser.PICTURE


def test_the_performance_report_is_one_page(shown: Tab, tmp_path: Path) -> None:
    """The print fits A4 in a readable size."""
    document = (ROOT / "performance-report.md").read_text()
    paper = tmp_path / "report.html"
    paper.write_text(PAPER.format(MarkdownIt("commonmark").enable("table").render(document)))
    with browser.tab() as tab:
        tab.open(paper)
        assert browser.pages(tab.printed()) == 1
        assert browser.pages(shown.printed()) > 1
