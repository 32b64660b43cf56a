"""The last lines on the terminal: the results of a run."""

from collections import Counter
from pathlib import Path

from pgdrill.judge.promises import Limits
from pgdrill.report.read_run import read_run
from pgdrill.report.run_data import RunData, done_of, rejudged_lines, wrong_controls
from pgdrill.report.suites import on_paper
from pgdrill.rundir import RunDir


def terminal(run: Path, limits: Limits | None = None) -> list[str]:
    """Return the final summary, a line for each fact; only facts that this run measured.

    limits: the user's, where every verdict is judged again from the records.

    Raises:
        BadUsageError: there is no run in this directory.
    """
    m = read_run(run, limits)
    return [
        *_cut_off(m),
        *rejudged_lines(m),
        *_outcomes(m),
        *(line for suite in on_paper() for line in suite.lines(m)),
        *(f"damaged record: {complaint}" for complaint in m.complaints),
        f"report: {RunDir(run).report}",
    ]


def _cut_off(m: RunData) -> list[str]:
    return [f"cut off after {done_of(m)}: {m.cut_off}"] if m.cut_off else []


def _outcomes(m: RunData) -> list[str]:
    found = Counter(verdict.outcome for verdict in m.promises)
    counts = ", ".join(f"{found[outcome]} {outcome}" for outcome in ("met", "broken", "invalid"))
    controls = len(m.controls)
    right = controls - len(wrong_controls(m))
    suffix = f"; controls: {right} of {controls} as they must" if controls else ""
    head = f"verdicts: {counts}{suffix}" if m.verdicts else "verdicts: none, nothing was judged"
    bad = [f"{v.outcome}: {v.line()}" for v in m.promises if v.outcome != "met"]
    bad += [f"failed before it could judge: {test}" for test in m.unjudged]
    return [head, *bad, *(f"control not {v.expected}: {v.line()}" for v in wrong_controls(m))]
