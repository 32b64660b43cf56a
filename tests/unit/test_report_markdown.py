"""The tables of performance-report.md come from a run; the prose around them is left alone."""

from pathlib import Path

import pytest

from pgdrill.__main__ import main
from pgdrill.errors import BadUsageError
from pgdrill.judge import catalogue
from pgdrill.records import Collected, Fingerprint, RunEnd, read, write
from pgdrill.report.markdown import BEGIN, END, summary, tables, update
from pgdrill.report.read_run import read_run
from pgdrill.settings import resolve
from tests.unit.fake_run import GAP, LOST, START, trial, verdict, write_run

pytestmark = pytest.mark.unit


def test_tables_hold_the_measured_numbers(tmp_path: Path) -> None:
    """Gaps, ledger, percentiles, objectives, alerts and the dataset are there, on one page."""
    text = tables(write_run(tmp_path / "run").path)
    for row in (
        "| primary-kill | tuned | fresh | 9/9 | 1.66 s | 2.09 s | 2.58 s | ≤ 10 s | 71 % |",
        "| writes in 12 trials | 64,851 | 0 | 720 | 6,480 | 0 | 0 |",
        "| all | 420 | 6.2 | 19.4 | 41.7 | 188 | 3 | 0 | 0 |",
        "| PostgresDown | 8.1 s | 9 s | 14.2 s | 46 s | ≤ 17 s |",
        "SLO: p99 latency 41.7 ms (promised ≤ 200 ms): **met**.",
    ):
        assert row in text
    assert len(text.splitlines()) < 40


def test_table_cells_stay_cells(tmp_path: Path) -> None:
    """A bar or a tag in a name cannot tear the table."""
    run = write_run(tmp_path / "run")
    run.keep(trial("a|b <i>", 1, 2.0, START + 900))
    assert "| a\\|b &lt;i> | tuned | fresh |" in tables(run.path)


def test_unmeasured_table_is_left_out(tmp_path: Path) -> None:
    """A run without trials gives no empty table of gaps."""
    text = tables(write_run(tmp_path / "run", without=("trials", "alerts")).path)
    assert "write gap" not in text
    assert "ledger" not in text
    assert "p99 ms" in text


def test_update_replaces_between_markers_only(tmp_path: Path) -> None:
    """Prose before and after the tables survives, twice in a row."""
    run = write_run(tmp_path / "run")
    page = tmp_path / "performance-report.md"
    page.write_text(f"# Ours\n\n{BEGIN}\nold\n{END}\n\nBy hand.\n")
    update(page, run.path)
    once = page.read_text()
    update(page, run.path)
    assert page.read_text() == once
    assert once.startswith(f"# Ours\n\n{BEGIN}\nRun `run`")
    assert once.endswith(f"{END}\n\nBy hand.\n")
    assert "old" not in once


def test_two_platforms_are_one_table(tmp_path: Path) -> None:
    """A column for each, a line for each fault, and what one has not measured is a dash."""
    here, there = write_run(tmp_path / "a"), write_run(tmp_path / "b", without=("alerts",))
    other = read(there.file(Fingerprint), Fingerprint)
    assert other
    write(there.file(Fingerprint), other.model_copy(update={"platform": "kind"}))
    document = tmp_path / "report.md"
    document.write_text(f"{BEGIN}\n{END}\n")
    update(document, here.path, beside=there.path)
    text = document.read_text()
    for row in (
        "| seen | local | kind |",
        "| primary-kill, fresh: write gap | 1.66 / 2.09 / 2.58 s (9) | 1.66 / 2.09 / 2.58 s (9) |",
        "| load: p99 | 41.7 ms | 41.7 ms |",
        "| PostgresDown: condition to page | 14.2 s | - |",
        "| acknowledged writes lost | 0 of 64,851 | 0 of 64,851 |",
    ):
        assert row in text
    assert text.count("| :-- |") == 1


def test_document_without_markers_is_refused(tmp_path: Path) -> None:
    """A document with no place for tables stays as it is, and the message names what to add."""
    run = write_run(tmp_path / "run")
    page = tmp_path / "performance-report.md"
    page.write_text("# Ours\n")
    with pytest.raises(BadUsageError, match="has no place for tables"):
        update(page, run.path)
    assert page.read_text() == "# Ours\n"


def test_a_summary_begins_with_what_is_not_met(tmp_path: Path) -> None:
    """Every verdict is a row of one table, the broken first; controls are not among them."""
    run = write_run(tmp_path / "run")
    run.keep(verdict(GAP, "late", 12.5))
    run.keep(verdict(LOST, "unseen", None))
    text = summary(run.path)
    rows = [line for line in text.splitlines() if line.startswith(("| met", "| broken", "| inv"))]
    assert text.startswith("## run\n")
    assert rows[0] == "| broken | late | write gap | ≤ 10 s | 12.5 s |"
    assert rows[1] == "| invalid | unseen | acknowledged writes lost | ≤ 0 rows | no evidence |"
    assert len(rows) == len(read_run(run.path).promises)
    assert "control" not in text


def test_a_run_that_was_cut_off_says_so_in_its_summary(tmp_path: Path) -> None:
    """A run without verdicts has no empty table."""
    run = write_run(tmp_path / "run", without=("verdicts",))
    run.keep(Collected(tests=("tests/smoke/test_a.py::test_a",), left_out=()))
    run.keep(RunEnd(exit_status=2, reason="interrupted"))
    text = summary(run.path)
    assert "**cut off after 0 of 1 test**: interrupted" in text
    assert "Nothing was judged." in text


def test_the_command_prints_nothing_but_the_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """CI appends the summary to its page, and the page of the run is not changed."""
    run = write_run(tmp_path / "run")
    assert main(["report", str(run.path), "--markdown"]) == 0
    assert capsys.readouterr().out == summary(run.path, catalogue.limits(resolve({})))
    assert not run.report.exists()
