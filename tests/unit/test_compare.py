"""Runs side by side: differences, worse figures, and figures that cannot be compared."""

from pathlib import Path

import pytest

from pgdrill.__main__ import main
from pgdrill.errors import BadUsageError
from pgdrill.report.compare import Measure, compare, write
from pgdrill.rundir import RunDir
from tests.unit.fake_run import START, trial, write_run

OTHERS = ("trials", "verdicts", "detections")


def gaps(run: RunDir, *values: float, lost: int = 0) -> None:
    """Write trials of one fault with these write gaps on a new connection."""
    for number, gap in enumerate(values, 1):
        one = trial("primary-kill", number, gap, START + 60 * number)
        ledger = one.ledger.model_copy(update={"acked_lost": lost})
        run.keep(one.model_copy(update={"ledger": ledger}))


@pytest.fixture
def before(tmp_path: Path) -> RunDir:
    """A run with three trials."""
    run = write_run(tmp_path / "before", without=OTHERS)
    gaps(run, 2.0, 2.2, 2.4)
    return run


def _changes(first: RunDir, last: RunDir, margin: float = 25) -> dict[str, str]:
    found = compare([first.path, last.path], margin)
    return {f"{m.subject}: {m.what}": m.change(margin) for m in found.measures}


def test_a_run_is_no_worse_than_itself(before: RunDir) -> None:
    """Every figure is the same, and nothing differs."""
    assert set(_changes(before, before).values()) == {"same"}
    assert compare([before.path, before.path]).differences == []


@pytest.mark.parametrize(
    ("last", "change"),
    [
        pytest.param((2.0, 2.2, 3.2), "worse", id="one-long-trial"),
        pytest.param((2.0, 2.2, 2.8), "same", id="within-the-margin"),
        pytest.param((1.0, 1.1, 1.2), "better", id="shorter"),
    ],
)
def test_the_worst_trial_counts(
    tmp_path: Path, before: RunDir, last: tuple[float, ...], change: str
) -> None:
    """A fault that was survived quickly twice and slowly once has become worse."""
    after = write_run(tmp_path / "after", without=OTHERS)
    gaps(after, *last)
    assert _changes(before, after)["primary-kill, fresh: write gap"] == change


def test_a_single_lost_row_is_worse(tmp_path: Path, before: RunDir) -> None:
    """No margin allows for a loss."""
    after = write_run(tmp_path / "after", without=OTHERS)
    gaps(after, 2.0, lost=1)
    found = _changes(before, after, margin=1000)
    assert found["primary-kill: acknowledged writes lost"] == "worse"


def test_what_only_one_has_measured_is_said(tmp_path: Path, before: RunDir) -> None:
    """A figure that one run lacks is no change; two runs with nothing in common are refused."""
    after = write_run(tmp_path / "after", without=OTHERS)
    assert _changes(before, after)["primary-kill, fresh: write gap"] == "-"
    bare = write_run(tmp_path / "bare", without=(*OTHERS, "bench", "alerts"))
    with pytest.raises(BadUsageError, match="no measurement in common"):
        compare([before.path, bare.path])
    with pytest.raises(BadUsageError, match="at least two"):
        compare([before.path])


def test_pairs_tell_more_than_the_worst() -> None:
    """The share of pairs in which the later is larger: a half where nothing changed."""
    one = Measure("x", "write gap", "s", ((1.0, 2.0, 3.0), (1.5, 2.5, 3.5)))
    assert one.longer == pytest.approx(6 / 9)
    assert one.cell(0) == "1 / 2 / 3 s (3)"


def test_the_command_prints_a_page_and_fails_on_worse(
    tmp_path: Path, before: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1 and a line for each figure that is worse; a page that needs nothing else."""
    after = write_run(tmp_path / "after", without=OTHERS)
    gaps(after, 9.0)
    reports = f"--reports-dir={tmp_path}"
    assert main(["compare", str(before.path), str(after.path), reports]) == 1
    assert "worse: primary-kill, fresh, write gap: 2 / 2.2 / 2.4 s (3), now 9 s" in " ".join(
        capsys.readouterr().out.split()
    )
    (made,) = tmp_path.glob("compare-before-after.html")
    text = made.read_text()
    assert "became worse" in text
    assert "<script" not in text
    assert main(["compare", str(before.path), str(before.path), reports]) == 0


def test_trials_of_one_name_are_drawn_on_one_scale(tmp_path: Path, before: RunDir) -> None:
    """Each run is a row of the same plot, called by its name."""
    after = write_run(tmp_path / "after", without=OTHERS)
    gaps(after, 2.1)
    text = write(compare([before.path, after.path]), tmp_path / "page.html").read_text()
    assert "fresh, before" in text
    assert "fresh, after" in text
