"""Reading a run directory for its report."""

from datetime import UTC, datetime
from pathlib import Path

from pgdrill.errors import BadUsageError
from pgdrill.judge.promises import Limits
from pgdrill.judge.rejudge import rejudge
from pgdrill.records import AlertLife, Clock, TestEnd, Trial, Verdict
from pgdrill.report import legacy, suites
from pgdrill.report.results import PytestResult, read_results
from pgdrill.report.run_data import RunData
from pgdrill.rundir import Records, RunDir, first_lines


def read_run(path: Path, limits: Limits | None = None) -> RunData:
    """Read a run directory; a damaged file becomes a complaint that the report shows on top.

    limits: the user's, where every verdict is judged again from the records.

    Raises:
        BadUsageError: there is no run in this directory.
    """
    run = RunDir(path)
    if not run.file(Clock).is_file():
        raise BadUsageError(f"{path} is no run directory (no clock.json): give a path in reports/")
    records = Records(run)
    for suite in suites.in_order():  # now, so that whatever is damaged is known from the start
        for kind in suite.records:
            records.all(kind)
    ends = records.all(TestEnd)
    results = tuple(PytestResult(end.test, end.outcome, end.reason) for end in ends)
    try:
        results = results or read_results(run.report)  # a run of before they were written down
    except (ValueError, KeyError) as error:
        records.complaints.append(f"{run.report}: {first_lines(error)}")
    clock = records.one(Clock)
    if clock and clock.version < 2:
        trials, lives = records.all(Trial), records.all(AlertLife)
        records.replace(Verdict, legacy.with_facts(records.all(Verdict), trials, lives))
        records.replace(Trial, legacy.with_controls(trials))
    if limits is None:
        return RunData(path, records, results)
    judges = {suite.name: suite.judges for suite in suites.in_order()}
    found = rejudge(records, judges, limits, on=f"{datetime.now(UTC):%Y-%m-%d}")
    records.replace(Verdict, found.verdicts)
    return RunData(path, records, results, found)
