"""A suite is one module: its records, its judge and its section are found where it lies."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pgdrill.judge.promises import Limits
from pgdrill.report import sections, splice, suites, terminal
from pgdrill.report.suites import Suite
from pgdrill.settings import ROOT
from tests.unit.fake_run import write_run

pytestmark = pytest.mark.unit

TINY = """
from pgdrill.judge.rejudge import Verdicts
from pgdrill.records import Budget, Record
from pgdrill.report.pages import Markup
from pgdrill.report.suites import Question, Section, Suite
from pgdrill.rundir import Records

LEAKS = Budget(name="leaks", limit=2, unit="drops", better="lower", because="a bucket is below")


class Drop(Record, file="drops.jsonl"):
    where: str


def judge(records: Records, verdicts: Verdicts) -> None:
    drops = records.all(Drop)
    if drops:
        verdicts.check(LEAKS, len(drops), "the roof")


def section(m):
    rows = [Markup("<li>{}</li>").format(drop.where) for drop in m.all(Drop)]
    return Markup('<section id="pgd-roof"><h2>Roof</h2>{}</section>').format(Markup().join(rows))


SUITE = Suite(
    name="tiny",
    order=70,
    marker="is the roof tight?",
    records=(Drop,),
    judges=(judge,),
    place=60,
    questions=(Question("Is the roof tight?"),),
    sections=(Section("roof", "Roof", section),),
    lines=lambda m: [f"roof: {len(m.all(Drop))} drops"],
)
"""


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Suite]:
    """A suite that lies beside those of the report, and changes no other file."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "tiny.py").write_text(TINY)
    suites._found.cache_clear()
    monkeypatch.setattr(sections, "__path__", [*sections.__path__, str(tmp_path / "modules")])
    yield next(suite for suite in suites.in_order() if suite.name == "tiny")
    suites._found.cache_clear()


def test_a_suite_is_judged_and_shown_without_another_change(tiny: Suite, tmp_path: Path) -> None:
    """Its verdict, its section, its link and its line are there, and hostile text stays text."""
    run = write_run(tmp_path / "run")
    (drop,) = tiny.records
    for where in ("attic", "<b>hall</b>", "cellar"):
        run.keep(drop.model_validate({"where": where}))
    page = splice(run.path, Limits({})).read_text()
    assert '<section id="pgd-roof"><h2>Roof</h2><li>attic</li><li>&lt;b&gt;hall' in page
    assert '<a href="#pgd-roof">Roof</a>' in page
    lines = terminal(run.path, Limits({}))
    assert "broken: the roof: leaks 3 drops, budget <= 2 drops (a bucket is below)" in lines
    assert "roof: 3 drops" in lines


def test_a_damaged_file_of_a_suite_is_on_the_first_screen(tiny: Suite, tmp_path: Path) -> None:
    """Its records need no registration first."""
    run = write_run(tmp_path / "run")
    run.file(tiny.records[0]).write_text("{")
    assert any("drops.jsonl:1 is no Drop" in line for line in terminal(run.path))


def test_tests_of_a_suite_have_their_place(tiny: Suite) -> None:
    """Cheap and decisive first; what leaves the cluster young again last."""
    names = [suite.name for suite in suites.in_order()]
    first = ["unit", "watch", "smoke", "alerts", "perf", "scale", "chaos", "recovery"]
    assert names == [*first, "tiny", "controls", "badinput"]


def test_every_directory_of_tests_is_a_suite() -> None:
    """Every suite with a mark is a directory; other directories have no conftest of their own."""
    found = {path.parent.name for path in ROOT.glob("tests/*/test_*.py")}
    assert found == {suite.name for suite in suites.in_order() if suite.marker}
