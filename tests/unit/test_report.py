"""The report shows what the records hold: all of it, nothing more, and safely."""

import html
import json
import math
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pgdrill.attempt_log import AttemptLog, Lane, Outcome
from pgdrill.errors import BadUsageError
from pgdrill.judge import waits as judged_waits
from pgdrill.records import (
    About,
    Bench,
    Clock,
    Collected,
    LoadWorker,
    MachineSecond,
    RunEnd,
    Surge,
    TestEnd,
    Trial,
    Verdict,
    WaitLook,
)
from pgdrill.report import loadplots, plots, splice, terminal
from pgdrill.report.attempts import traces
from pgdrill.report.headline import headline
from pgdrill.report.html import BEGIN, END
from pgdrill.report.markdown import tables
from pgdrill.report.number_format import at_most
from pgdrill.report.read_run import read_run
from pgdrill.report.trials import compared, coverage, groups
from pgdrill.rundir import RunDir
from tests.unit.fake_run import (
    GAP,
    HOSTILE,
    LOST,
    P99,
    PAGED,
    PGBENCH,
    START,
    bench,
    machine,
    scaling,
    slos,
    trial,
    trials,
    verdict,
    with_inside,
    write_run,
)

pytestmark = pytest.mark.unit


def as_of_version_1(run: RunDir) -> None:
    """Remove what records did not hold before version 2."""
    for file, field in ((run.file(Verdict), "about"), (run.file(Trial), "control")):
        records = [json.loads(line) for line in file.read_text().splitlines()]
        for record in records:
            del record[field]
        file.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    clock = json.loads(run.file(Clock).read_text())
    del clock["version"]
    run.file(Clock).write_text(json.dumps(clock))


class Page(HTMLParser):
    """The resources that a browser would load or run of a page, and whether its elements close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.scripts = 0
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what is loaded."""
        self.scripts += tag == "script"
        self.loads += [v or "" for k, v in attrs if k in ("src", "srcset", "data", "xlink:href")]
        self.loads += [v or "" for k, v in attrs if tag == "link" and k == "href"]
        if tag not in ("br", "wbr", "meta", "link", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Demand that elements close in order."""
        assert self.open
        assert self.open.pop() == tag


@pytest.fixture
def whole(tmp_path: Path) -> RunDir:
    """A run that measured everything and kept every promise."""
    return write_run(tmp_path / "whole")


def bare(path: Path) -> RunDir:
    """A run with no record but its clock."""
    path.mkdir()
    RunDir(path).keep(Clock(monotonic=START, wall="2026-11-23T20:00:00+00:00"))
    return RunDir(path)


def first_screen(run: RunDir) -> str:
    """The state and the sentence on top."""
    head = headline(read_run(run.path))
    return f"{head.state}: {head.sentence}"


def test_page_needs_nothing_from_elsewhere(whole: RunDir) -> None:
    """Our page loads no file and runs no script, its elements nest, and it stays small."""
    text = splice(whole.path).read_text()
    page = Page(text)
    assert (page.loads, page.scripts, page.open) == ([], 0, [])
    assert not re.search(r"https?://|@import|url\(", text)
    assert len(text) < 1_000_000


def test_every_section_is_there_and_in_order(whole: RunDir) -> None:
    """The sections come in the order of a reader's questions."""
    found = re.findall(r'<section id="pgd-(\w+)"', splice(whole.path).read_text())
    assert found == [
        "verdicts",
        "failover",
        "ledger",
        "load",
        "dataset",
        "scaling",
        "recovery",
        "alerts",
        "detection",
        "dashboards",
        "events",
        "environment",
    ]


def test_kept_promises_give_the_numbers(whole: RunDir) -> None:
    """When all is kept, the sentence has how long, how many writes, how many alerts."""
    worst = max(gap for t in trials() if (gap := t.lanes["fresh"].gap))
    said = first_screen(whole)
    assert said.startswith("met: All 28 promises were kept")
    stated = re.search(r"at most ([\d.]+) s \(primary-pause\)", said)
    assert stated
    assert worst <= float(stated[1]) < worst + 0.1
    assert "no acknowledged write was lost in 12 trials (64,851 acknowledged)" in said
    assert "3 of 3 alerts reached Alertmanager" in said


def test_broken_promise_is_named_first(whole: RunDir) -> None:
    """One broken promise is the headline, with observed and allowed, and the first table row."""
    whole.keep(verdict(GAP, "primary-kill trial 9 fresh", 10.0004))
    assert first_screen(whole) == (
        "broken: 1 of 29 promises broken: primary-kill trial 9 fresh: write gap 10.0004 s"
        " (allowed ≤ 10 s)."
    )
    row = re.search(r"<tbody>\s*<tr.*?</tr>", splice(whole.path).read_text(), re.DOTALL)
    assert row
    assert "primary-kill trial 9 fresh" in row[0]
    assert "broken</span>" in row[0]


def test_what_never_happened_is_broken(whole: RunDir) -> None:
    """An alert that never came is judged as infinite, which JSON cannot hold: it reads 'never'."""
    whole.keep(verdict(PAGED, "PostgresDown resolved", math.inf))
    said = "broken: 1 of 29 promises broken: PostgresDown resolved: condition to alert never"
    assert first_screen(whole).startswith(said)


def test_lost_write_cannot_be_overlooked(whole: RunDir) -> None:
    """One lost write is in the figure, the answer and the terminal, and the claim is removed."""
    last = trial("primary-kill", 10, 2.0, START + 700)
    lossy = last.model_copy(update={"ledger": last.ledger.model_copy(update={"acked_lost": 1})})
    whole.keep(lossy)
    head = headline(read_run(whole.path))
    assert (head.tiles[1].value, head.tiles[1].state) == ("1", "broken")
    assert "1 of 70,262 acknowledged writes." in dict(head.answers)["Was anything lost?"]
    assert "was lost" not in head.sentence
    assert "acked-lost 1" in "\n".join(terminal(whole.path))


def test_two_writers_that_nobody_looked_for_are_not_denied(whole: RunDir) -> None:
    """Without an address of each member the page says so, in the answer and in the table."""
    never = "No two members ever acknowledged writes at the same time."
    assert never in dict(headline(read_run(whole.path)).answers)["Was anything lost?"]
    last = trial("primary-kill", 10, 2.0, START + 700)
    routed = {name: one for name, one in last.lanes.items() if "@" not in name}
    whole.keep(last.model_copy(update={"lanes": routed}))
    answer = dict(headline(read_run(whole.path)).answers)["Was anything lost?"]
    assert "Not judged: two members that both accept writes" in answer
    assert never not in answer
    assert '<td class="r">not judged' in splice(whole.path).read_text()


@pytest.mark.parametrize(
    ("value", "text"), [(0.0201, "21 ms"), (3.1, "3.1 s"), (3.1001, "3.2 s"), (12.94, "13 s")]
)
def test_upper_bounds_are_rounded_up(value: float, text: str) -> None:
    """A sentence with 'at most' is never below what was measured."""
    assert at_most(value) == text


def test_missing_evidence_is_not_kept(whole: RunDir) -> None:
    """A verdict without evidence turns the headline, though nothing was broken."""
    whole.keep(verdict(P99, "steady load", None))
    assert first_screen(whole).startswith("invalid: 1 of 29 promises without evidence: steady load")


def test_control_that_stays_green_breaks_the_run(whole: RunDir) -> None:
    """A control whose verdict was met is as bad as a broken promise."""
    whole.keep(verdict(LOST, "control: asynchronous kill", 0, expected="broken"))
    said = first_screen(whole)
    assert said.startswith("broken: ")
    assert "1 control did not come out as it must (control: asynchronous kill" in said


def test_nothing_measured_claims_nothing(tmp_path: Path) -> None:
    """A run with no records is invalid, its sections state it, and no plot is drawn."""
    run = bare(tmp_path / "bare")
    assert first_screen(run).startswith("invalid: No number was judged")
    text = splice(run.path).read_text()
    assert text.count("Not measured: this run has no") == 11
    assert "<svg" not in text
    assert not re.search(r"\b0 of 0\b|no acknowledged write was lost|nan|None", text)


@pytest.mark.parametrize("missing", ["trials", "alerts", "bench", "seed", "events", "fingerprint"])
def test_headline_is_silent_on_what_was_not_measured(tmp_path: Path, missing: str) -> None:
    """Without one kind of record the rest is reported, and the first screen drops that claim."""
    run = write_run(tmp_path / "part", without=(missing,))
    claims = {
        "trials": "acknowledged",
        "alerts": "Alertmanager",
        "bench": "transactions/s",
        "seed": "rows seeded",
    }
    text = splice(run.path).read_text()
    first = re.sub(r"<[^>]*>", " ", text[text.index("hero") : text.index("<nav>")])
    first = re.sub(r"acknowledged writes lost\s+-", "", first)
    assert claims.get(missing, "no such words") not in first
    assert "Not measured" in text


def test_trial_without_a_gap_takes_the_bound_away(whole: RunDir) -> None:
    """When one trial had too few acks to decide, no maximum is claimed for its lane."""
    whole.keep(trial("primary-kill", 10, None, START + 700))
    assert "went without" not in first_screen(whole)
    text = splice(whole.path).read_text()
    assert "1 trial had too few acknowledged writes</span>" in text
    assert "No bound can be claimed" in text


def test_unverified_trial_is_shown_but_not_counted(whole: RunDir) -> None:
    """A fault without evidence stays in the table as not verified, and out of the statistics."""
    ghost = trial("primary-kill", 10, 0.02, START + 700).model_copy(update={"verified": False})
    whole.keep(ghost)
    kill = groups(read_run(whole.path))[0]
    assert [len(lane.gaps) for lane in kill.lanes] == [9, 9]
    assert "lost in 12 trials (64,851 acknowledged)" in first_screen(whole)
    assert "? not verified" in splice(whole.path).read_text()


def test_control_trials_stay_out_of_the_sums(whole: RunDir) -> None:
    """Writes lost by a set-up that must lose writes are no loss of the cluster."""
    sample = trial("primary-kill", 1, 2.0, START + 700)
    lossy = sample.model_copy(
        update={
            "experiment": "control_asynchronous",
            "control": True,
            "ledger": sample.ledger.model_copy(update={"acked_lost": 31}),
        }
    )
    whole.keep(lossy)
    assert "no acknowledged write was lost in 12 trials" in first_screen(whole)
    assert "acked-lost 0" in "\n".join(terminal(whole.path))


def test_single_attempts_are_drawn_where_their_answers_came(whole: RunDir) -> None:
    """With the prober's file beside it, a trial is drawn from every answer that a lane got."""
    one = trial("primary-kill", 1, 2.0, START + 60)
    log = AttemptLog([Lane("fresh", "fresh", "host=127.0.0.1", 100)], deadline=2.0)
    for number in range(1000):
        due = int((one.injected_at - 4 + number / 100) * 1e9)
        outcome = Outcome.REFUSED if 400 < number < 600 else Outcome.ACKED
        log.add(number, 0, (due, due, due, due + 5_000_000), outcome)
    whole.raw.mkdir()
    log.save(whole.path / one.attempts_file)
    (trace,) = traces(whole.path, one)
    refused = [at for at, word in zip(trace.at, trace.outcome, strict=True) if word == "refused"]
    assert (min(refused), max(refused)) == pytest.approx((0.015, 1.995), abs=1e-5)
    assert trace.latency_ms == pytest.approx([5.0] * 1000)
    drawn = str(plots.trial(one, [trace]))
    assert 'class="acked"' in drawn
    assert 'class="refused"' in drawn
    assert "fresh: answers/s" in splice(whole.path).read_text()


def test_each_second_of_service_is_drawn_where_it_was_counted(tmp_path: Path) -> None:
    """Seconds below 99 % stand out; a trial of an older run has no such picture."""
    run = bare(tmp_path / "service")
    one = trial("primary-kill", 1, 2.0, START + 60)
    run.keep(one)
    page = splice(run.path).read_text()
    assert "second 2 to 3: 61.4 % in time" in page
    assert "for a window of 5 s" in page
    assert str(plots.service(one)).count('class="refused"') == 3
    older = one.model_copy(update={"service": None, "steady": None})
    assert not plots.service(older)
    run.keep(older)
    assert "not seen" in splice(run.path).read_text()


def test_budget_of_a_lane_is_drawn_for_that_lane(tmp_path: Path) -> None:
    """A promise that names one lane is not drawn for the other."""
    run = bare(tmp_path / "lanes")
    run.keep(trial("primary-kill", 1, 2.0, START + 60))
    run.keep(verdict(GAP, "primary-kill fresh", 2.0))
    (group,) = groups(read_run(run.path))
    assert {lane.lane: lane.limit for lane in group.lanes} == {"fresh": 10, "held": None}


def test_other_settings_are_compared_and_not_the_headline(whole: RunDir) -> None:
    """A trial under other failover settings is drawn beside the run's own, with its own budget."""
    other = trial("primary-kill", 1, 48.0, START + 60).model_copy(update={"tuning": "default"})
    whole.keep(other)
    about = About(fault="primary-kill", timing="default", lane="fresh")
    lenient = GAP.model_copy(update={"limit": 90})
    whole.keep(verdict(lenient, "primary-kill on default timing", 48.0, about=about))
    m = read_run(whole.path)
    ((own, other_one),) = compared(m)
    limits = [
        {lane.limit for lane in group.lanes if lane.lane == "fresh"} for group in (own, other_one)
    ]
    assert (own.tuning, other_one.tuning) == ("tuned", "default")
    assert limits == [{10}, {90}]
    assert "fresh, default" in str(plots.compared([own, other_one]))
    assert all(word not in headline(m).sentence for word in ("48", "default"))


def test_settings_that_were_not_judged_borrow_no_budget(whole: RunDir) -> None:
    """Trials whose test ended before its verdict are not measured by another settings' promise."""
    other = trial("primary-kill", 1, 48.0, START + 60).model_copy(update={"tuning": "default"})
    whole.keep(other)
    ((own, other_one),) = compared(read_run(whole.path))
    assert {lane.limit for lane in own.lanes if lane.lane == "fresh"} == {10}
    assert {lane.limit for lane in other_one.lanes} == {None}


def test_text_from_outside_cannot_become_markup(whole: RunDir) -> None:
    """Evidence with script and our own end marker is shown as text, and the page stays whole."""
    bad = trial("primary-kill", 10, 2.0, START + 700)
    whole.keep(bad.model_copy(update={"evidence": HOSTILE, "target": HOSTILE}))
    whole.keep(verdict(GAP, f"primary-kill {HOSTILE}", 2.0))
    text = splice(whole.path).read_text()
    assert Page(text).scripts == 0
    assert (text.count(BEGIN), text.count(END)) == (1, 1)
    again = splice(whole.path).read_text()
    assert again == text


def test_splice_replaces_only_its_own_part(whole: RunDir) -> None:
    """The part of pytest-html stays byte for byte, below its heading and our part."""
    theirs = "<html><body>\n<h1 id='title'>run</h1>", "\n<p>results \\1 \\g<0></p></body></html>"
    whole.report.write_text("".join(theirs))
    first = splice(whole.path).read_text()
    whole.keep(verdict(GAP, "primary-kill trial 9 fresh", 11))
    second = splice(whole.path).read_text()
    for text in (first, second):
        assert text.startswith(theirs[0] + "\n" + BEGIN)
        assert text.endswith(END + theirs[1])
    assert "1 of 29 promises broken" not in first
    assert "1 of 29 promises broken" in second


def test_damaged_record_is_shown_and_never_green(whole: RunDir) -> None:
    """A half-written line keeps the readable ones, is named on top, and spoils the green."""
    with whole.file(Verdict).open("a") as file:
        file.write('{"budget": {"na')
    head = headline(read_run(whole.path))
    assert head.state == "invalid"
    assert "verdicts.jsonl:32 is no Verdict" in splice(whole.path).read_text()
    assert any("verdicts.jsonl:32" in line for line in terminal(whole.path))


def test_damaged_single_record_is_named(whole: RunDir) -> None:
    """A record that is no JSON is not taken for one that was never measured."""
    whole.file(Bench).write_text("{}")
    head = headline(read_run(whole.path))
    assert head.state == "invalid"
    assert "bench.json is no Bench" in splice(whole.path).read_text()


def test_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    """A wrong path is one clear line, and nothing is written there."""
    with pytest.raises(BadUsageError, match="is no run directory"):
        splice(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("trials", "percent"), [(0, 0), (1, 5), (9, 71), (58, 94), (59, 95)])
def test_coverage_is_what_trials_can_show(trials: int, percent: int) -> None:
    """Nine trials vouch for 71 % at 95 % confidence, and 59 for 95 %: rounded down."""
    assert coverage(trials) == percent


def test_terminal_says_the_same_in_few_lines(whole: RunDir) -> None:
    """The terminal's summary gives counts, gaps, losses, objectives, alerts, and the page."""
    said = "\n".join(terminal(whole.path))
    assert said.startswith("verdicts: 28 met, 0 broken, 0 invalid; controls: 3 of 3 as they must")
    for words in (
        "write gap primary-kill tuned fresh: min 1.66 s, p50 2.09 s, max 2.58 s (9 trials",
        "acked 64,851, acked-lost 0",
        "SLO met: steady load: p99 latency 41.7 ms, budget <= 200 ms",
        "alert PostgresDown: paged 14.2 s after its condition, resolved",
        f"report: {whole.report}",
    ):
        assert words in said
    assert said.isascii()


def test_gaps_inside_are_beside_those_outside(tmp_path: Path) -> None:
    """Terminal, table and page have both, and by how much the way in makes them longer."""
    run = bare(tmp_path / "run")
    for number in (1, 2, 3):
        outside = trial("primary_kill", number, 2.0, START + 60 * number)
        run.keep(with_inside(outside, 0.1 * number))
    said = "\n".join(terminal(run.path))
    assert "write gap primary_kill tuned fresh: min 2 s, p50 2 s, max 2 s (3 trials)\n" in said
    inside = "write gap primary_kill tuned fresh inside: min 1.7 s, p50 1.8 s, max 1.9 s (3 trials)"
    assert f"{inside}; the way in: p50 +0.2 s" in said
    ledger = trial("primary_kill", 1, 2.0, START).ledger
    assert f"ledger: acked {6 * ledger.acked + 6:,}" in said, "those of both"
    assert "| primary_kill | tuned | fresh inside | 3/3 |" in tables(run.path)
    page = splice(run.path).read_text()
    assert "gap held inside" in page
    assert "what the way in costs" in page


SUITE = """
from pathlib import Path
from pgdrill.report import splice, terminal

def pytest_terminal_summary(terminalreporter):
    splice(Path(__file__).parent / "run")
    for line in terminal(Path(__file__).parent / "run"):
        terminalreporter.write_line(line)
"""
TESTS = """
def test_kept():
    assert True

def test_crashed():
    assert 1 == 2, "<!-- pgdrill:begin --> <h1>not a heading</h1> <!-- pgdrill:end -->"
"""


def test_our_part_stands_on_top_of_a_real_pytest_html_page(tmp_path: Path) -> None:
    """Spliced in pytest's terminal summary, and a crashed test spoils the green of the verdicts."""
    run = write_run(tmp_path / "run")
    (tmp_path / "conftest.py").write_text(SUITE)
    (tmp_path / "test_two.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:benchmark"]
    command += [f"--html={run.report}", "--self-contained-html", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert f"report: {run.report}" in done.stdout
    text = run.report.read_text()
    ours = text[text.index(BEGIN) : text.index(END)]
    assert text.index("<h1") < text.index(BEGIN) < text.index("Report generated on")
    assert headline(read_run(run.path)).state == "invalid"
    assert 'class="answer">1 test failed before it could judge: crashed. All 28' in ours
    blob = re.search(r'data-jsonblob="([^"]*)"', text[text.index(END) :])
    assert blob
    assert len(json.loads(html.unescape(blob[1]))["tests"]) == 2


def test_the_pgbench_in_use_is_told_everywhere(whole: RunDir) -> None:
    """Page (of both loads), terminal and tables show which one it was and why."""
    page = splice(whole.path).read_text()
    assert f"Load and calibration were made by {html.escape(PGBENCH)}." in page
    assert f"The load was made by {html.escape(PGBENCH)}." in page
    assert any(line.startswith("load:") and PGBENCH in line for line in terminal(whole.path))
    assert "calibrated 912 tx/s, by pgbench 16.2 in a container of &lt;pg>" in tables(whole.path)


def test_each_pod_of_a_load_is_shown_everywhere(whole: RunDir) -> None:
    """Page, terminal and tables name it, with its clock and its lag; none where none was."""
    assert "carried it beside the database" not in splice(whole.path).read_text()
    figures = {"clients": 5, "clock_ahead_ms": -3.2, "clock_bound_ms": 1.5, "late_ms": 12.0}
    pods = tuple(
        LoadWorker(pod=f"load-{n}", node="n1", transactions=1234, lag_p99_ms=0.7, **figures)
        for n in range(2)
    )
    whole.file(Bench).write_text(bench().model_copy(update={"workers": pods}).model_dump_json())
    page = splice(whole.path).read_text()
    assert "2 pods carried it beside the database" in page
    assert "-3.2 ± 1.5" in page
    shown = [line for line in terminal(whole.path) if line.startswith("load-")]
    assert len(shown) == 2
    assert "1,234 transactions of 5 clients, began 12 ms late" in shown[1]
    assert "| load-1 | n1 | 5 | 1,234 |" in tables(whole.path)


def test_runs_of_before_the_pgbench_was_kept_are_read(whole: RunDir) -> None:
    """Their records lack the field, and their reports the sentence."""
    old = bench().model_dump(mode="json", exclude={"pgbench"})
    whole.file(Bench).write_text(json.dumps(old))
    surge = scaling().surge.model_dump(mode="json", exclude={"pgbench"})
    assert Surge.model_validate(surge).pgbench == Bench.model_validate(old).pgbench == ""
    assert "Load and calibration were made by" not in splice(whole.path).read_text()
    assert "calibrated 912 tx/s. SLO" in tables(whole.path)


def test_objectives_that_disagree_are_in_the_page_and_on_the_terminal(whole: RunDir) -> None:
    """Both counts, their difference and the bound are shown; what Prometheus lacks is no data."""
    told = splice(whole.path).read_text()
    agreed = told[told.index("computed twice") :]
    assert '<td class="r">44.25 ms</td><td class="r big">2.55</td>' in agreed
    assert "row-broken" not in agreed.split("</table>")[0]
    one = slos()[0]
    whole.keep(one.model_copy(update={"prometheus": 125_999.0}))
    whole.keep(one.model_copy(update={"prometheus": None, "note": "gateway away"}))
    told = splice(whole.path).read_text()
    rows = re.findall(r'<tr class="row-(\w+)"><td>.*?</tr>', told[told.index("computed twice") :])
    assert rows[:2] == ["broken", "invalid"]
    assert "gateway away" in told
    (line,) = (line for line in terminal(whole.path) if line.startswith("computed twice"))
    assert "due 126,000 and 126,000 (met)" in line
    assert "due 126,000 and 125,999 (broken)" in line
    assert "due 126,000 and - (invalid)" in line


def test_pace_of_the_machine_is_in_the_page_and_on_the_terminal(whole: RunDir) -> None:
    """The machine's pace where transactions came late; without looks there is no line."""
    told = splice(whole.path).read_text()
    assert "Where transactions came late it was at <strong>50 %</strong>" in told
    assert 'aria-label="The machine during the load"' in told
    (line,) = (line for line in terminal(whole.path) if line.startswith("pace of the machine"))
    assert "98.3 under the load, 50 in the slowest 10 s, 100 before the load, 50 where" in line
    whole.file(MachineSecond).unlink()
    assert "Not measured: this run has no look at the machine" in splice(whole.path).read_text()
    assert not [line for line in terminal(whole.path) if line.startswith("pace")]


PRESSED = {"cpu_pressure", "io_pressure", "memory_pressure", "run_queue"}


def test_waits_are_in_the_page_and_on_the_terminal(whole: RunDir) -> None:
    """The waits of sessions are drawn, tabled and summed up, with the gap; so for late seconds."""
    told = splice(whole.path).read_text()
    part = told[told.index("What did the sessions wait for?") : told.index("Was it the machine?")]
    said = (
        "Of the time that sessions were busy, 60 % was spent on or waiting for a CPU, 20 % waiting"
        " for the WAL flush, 20 % waiting for a standby (SyncRep). CPU pressure 40 %, I/O pressure"
        " 4 %. In the 1 second with late transactions: 75 % on or waiting for a CPU, 25 % waiting"
        " for the WAL flush. CPU pressure 90 %, I/O pressure 4 %."
    )
    assert f"<strong>{said}</strong>" in part
    assert 'aria-label="What the sessions waited for over time"' in part
    assert "<title>LWLock:WALWrite</title>" in part
    assert "together waited 0.807 s for a CPU in each second, 3 s in those with late" in part
    assert "In 1 second of the load no look succeeded: connection &lt;lost&gt;." in part
    cells = re.findall(r'</span>(\S+)</td>|<td class="r[^"]*">(.*?)</td>', part)
    assert [a or b for a, b in cells][:8] == [
        *("CPU", "60 %", "75 %", "60 %"),
        *("LWLock:WALWrite", "0.27 %", "25 %", "0 %"),
    ]
    (line,) = (line for line in terminal(whole.path) if line.startswith("waits:"))
    assert line == f"waits: {said} No look succeeded in 1 second."


def test_runs_of_before_waits_were_looked_at_are_read(whole: RunDir) -> None:
    """They have no such file, and no pressure in the seconds of their machine."""
    whole.file(WaitLook).unlink()
    whole.file(MachineSecond).unlink()
    with whole.file(MachineSecond).open("w") as file:
        file.writelines(f"{json.dumps(one.model_dump(exclude=PRESSED))}\n" for one in machine())
    page = splice(whole.path).read_text()
    assert "Not measured: this run has no look at the sessions of its load" in page
    assert 'aria-label="The machine during the load"' in page
    assert "pressure" not in page[page.index('<section id="pgd-load"') :].split("</section>")[0]
    assert not [line for line in terminal(whole.path) if line.startswith(("waits", "damaged"))]


@pytest.mark.parametrize("looked", [False, True])
def test_waits_without_pressure_are_drawn_alone(whole: RunDir, looked: bool) -> None:
    """As on macOS: the page states that the kernel has no figures, and draws no empty axis."""
    whole.file(MachineSecond).unlink()
    for one in machine() if looked else []:
        whole.keep(one.model_copy(update=dict.fromkeys(PRESSED)))
    page = splice(whole.path).read_text()
    (height,) = re.findall(r'1120 (\d+)"[^>]*="What the sessions waited for over time"', page)
    assert int(height) < 300
    assert "The kernel of this machine does not count CPU pressure." in page
    assert "pressure: %" not in page
    (line,) = (line for line in terminal(whole.path) if line.startswith("waits:"))
    assert "pressure" not in line


def test_one_pressure_without_the_other_is_drawn(whole: RunDir) -> None:
    """A figure that the kernel does not have gets no curve and no name."""
    whole.file(MachineSecond).unlink()
    for one in machine():
        whole.keep(one.model_copy(update={"io_pressure": None}))
    page = splice(whole.path).read_text()
    part = page[page.index("What the sessions waited for over time") :].split("</svg>")[0]
    assert ("<title>CPU, %</title>" in part, "<title>I/O, %</title>" in part) == (True, False)


def test_a_long_load_has_no_more_columns_than_can_be_seen() -> None:
    """Half an hour is drawn in columns of several seconds, with their mean."""
    long = bench().model_copy(update={"duration": 1800})
    sessions = [{"CPU": 6 * (second % 2)} for second in range(1800)]
    looks = [
        WaitLook(at=long.started_at + second + 0.5, sessions=found)
        for second, found in enumerate(sessions)
    ]
    found = judged_waits.waits(long, looks)
    assert found is not None
    drawn = str(loadplots.waits(long, found, None, []))
    (columns,) = re.findall(r'<path class="wait0" d="([^"]*)"', drawn)
    assert columns.count("z") == 1800 / 6
    assert len(set(re.findall(r"M[\d.]+,([\d.]+)H", columns))) == 1


RUN_TESTS = ("tests/chaos/test_failover.py::test_kill", "tests/perf/test_load.py::test_slo")


def kept_run(path: Path) -> RunDir:
    """Make a run whose one verdict is met."""
    run = write_run(path, without=("verdicts",))
    run.keep(verdict(GAP, "primary_kill fresh", 3.2))
    return run


def ended(run: RunDir, *done: str, end: RunEnd | None, left_out: tuple[str, ...] = ()) -> None:
    """Write down what a run set out to do, what of that ended, and how the run did."""
    run.keep(Collected(tests=RUN_TESTS, left_out=left_out))
    for test in done:
        run.keep(TestEnd(test=test, outcome="passed"))
    if end:
        run.keep(end)


@pytest.mark.parametrize(
    ("done", "end", "said"),
    [
        (RUN_TESTS[:1], RunEnd(exit_status=2, reason="interrupted"), "1 of 2 tests (interrupted)"),
        (RUN_TESTS[:1], RunEnd(exit_status=1), "1 of 2 tests (ended early)"),
        (RUN_TESTS[:1], None, "1 of 2 tests (killed)"),
        (RUN_TESTS, None, "2 of 2 tests (killed)"),
        ((), RunEnd(exit_status=2, reason="pgdrill: no disk"), "0 of 2 tests (pgdrill: no disk)"),
    ],
)
def test_a_run_that_was_cut_off_is_not_green(
    tmp_path: Path, done: tuple[str, ...], end: RunEnd | None, said: str
) -> None:
    """Whatever the run kept: the first words are how far it came, and what is missing."""
    run = kept_run(tmp_path / "run")
    ended(run, *done, end=end)
    first = headline(read_run(run.path))
    assert first.state == "invalid"
    assert first.sentence.startswith(f"Cut off after {said}: what follows")
    assert terminal(run.path)[0] == f"cut off after {said.replace(' (', ': ').rstrip(')')}"
    if len(done) < len(RUN_TESTS):
        assert any("slo" in line for line in first.missing)


def test_a_run_that_ended_says_what_it_left_out(tmp_path: Path) -> None:
    """By name, on the first screen: what the profile leaves out, and what was skipped, and why."""
    run = kept_run(tmp_path / "run")
    left = ("tests/recovery/test_restore.py::test_everything_gone",)
    ended(run, RUN_TESTS[0], end=RunEnd(exit_status=0), left_out=left)
    run.keep(TestEnd(test=RUN_TESTS[1], outcome="skipped", reason="needs a pooler"))
    first = headline(read_run(run.path))
    assert first.state == "met"
    assert first.missing == (
        "Left out by the profile: everything_gone",
        "Skipped: slo (needs a pooler)",
        "Need not be detected by any alert: kill-standby (restarted at once)",
    )


def test_how_tests_ended_is_known_without_the_page_of_pytest(tmp_path: Path) -> None:
    """A page that was written elsewhere, or never, hides no test that failed."""
    run = kept_run(tmp_path / "run")
    ended(run, RUN_TESTS[0], end=RunEnd(exit_status=1))
    run.keep(TestEnd(test=RUN_TESTS[1], outcome="failed"))
    first = headline(read_run(run.path))
    assert first.state == "invalid"
    assert "1 test failed before it could judge: slo" in first.sentence


def test_a_run_of_before_is_reported_as_it_was(tmp_path: Path) -> None:
    """A verdict's subject is read from its sentence where its record has no fields for it."""
    run = write_run(tmp_path / "run")
    control = trial("control_lossy", 1, 2.0, START).model_copy(update={"control": True})
    run.keep(control)
    today = (terminal(run.path), tables(run.path), splice(run.path).read_text())
    as_of_version_1(run)
    assert (terminal(run.path), tables(run.path), splice(run.path).read_text()) == today
    assert [group.experiment for group in groups(read_run(run.path)) if group.is_control] == [
        "control_lossy"
    ]
