"""A pooler's rise and fall is judged by what was seen, and by nothing else."""

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.judge import budgets, failover
from pgdrill.judge.scaling import (
    SHARED_LEAST,
    carried,
    claims,
    fair_share,
    grown_after,
    most_ready,
    peak_utilisation,
    shrunk_after,
)
from pgdrill.observe import pooler
from pgdrill.observe.autoscale import Limits, ScalingWatch, why_not_at_rest
from pgdrill.observe.events import EventLog
from pgdrill.records import Budget, Event, ScalePoint, Scaling, read_lines
from pgdrill.report import scaleplots, splice, terminal
from pgdrill.report.markdown import tables
from pgdrill.waiting import eventually
from pgdrill.workload import pgbench, surge
from pgdrill.workload.pgbench_program import HostProgram
from tests.unit.conftest import ScratchPostgres
from tests.unit.fake_run import POOLERS, SURGE_AT, scale_point, scaling, write_run

SMALL = budgets.shrinkage(60)
LIMITS = Limits(least=1, most=3, target=60, window=60)


def outcomes(s: Scaling) -> dict[Budget, str]:
    """What each claim of a rise and fall would come out as."""
    return {
        c.budget: "invalid"
        if c.observed is None
        else "met"
        if c.budget.allows(c.observed)
        else "broken"
        for c in claims(s)
    }


def with_points(s: Scaling, points: Iterable[ScalePoint]) -> Scaling:
    """The same, seen otherwise."""
    return s.model_copy(update={"points": tuple(points)})


def of_surge(s: Scaling, **change: object) -> Scaling:
    """The same under another load."""
    return s.model_copy(update={"surge": s.surge.model_copy(update=change)})


def of_ledger(s: Scaling, **change: int) -> Scaling:
    """The same with another ledger."""
    return s.model_copy(update={"ledger": s.ledger.model_copy(update=change)})


def test_a_rise_and_fall_is_measured() -> None:
    """Second pod after 24 s, small 80 s after the load, a third of the load on each pod."""
    s = scaling()
    assert (grown_after(s), shrunk_after(s)) == (24, 80)
    counts = carried(s)
    assert set(counts) == set(POOLERS)
    assert fair_share(counts) == pytest.approx(100)
    assert set(outcomes(s).values()) == {"met"}
    assert len(outcomes(s)) == 7


def test_a_pooler_that_never_grows_is_broken() -> None:
    """The time to a second pod is endless, and there is no evidence about shrinking or sharing."""
    s = scaling()
    alone = with_points(
        s, [scale_point(p.at, 1, {POOLERS[0]: 1000 + n}) for n, p in enumerate(s.points)]
    )
    found = outcomes(alone)
    assert (found[budgets.GROWTH], found[SMALL], found[budgets.FAIR_SHARE]) == (
        "broken",
        "invalid",
        "invalid",
    )
    assert claims(alone)[0].observed == math.inf


def test_a_slow_pooler_is_broken() -> None:
    """One more pod after 92 s is too late by 2 s, and the number says so."""
    s = scaling()
    late = with_points(
        s,
        (p.model_copy(update={"at": p.at + 68} if p.at > SURGE_AT + 22 else {}) for p in s.points),
    )
    assert claims(late)[0].observed == 92
    assert outcomes(late)[budgets.GROWTH] == "broken"


def test_a_pooler_that_stays_big_is_broken() -> None:
    """Three pods to the end of the watch: it never became small, however long one looked."""
    s = scaling()
    big = with_points(s, s.points[:-12])
    assert shrunk_after(big) is None
    assert outcomes(big)[SMALL] == "broken"


def test_a_pooler_that_grows_again_was_not_small_yet() -> None:
    """Only what lasts to the end counts as small."""
    s = scaling()
    end = s.points[-1].at
    again = [
        scale_point(end + 2, 2, dict.fromkeys(POOLERS[:2], 1)),
        scale_point(end + 4, 1, {"a": 1}),
    ]
    assert shrunk_after(with_points(s, (*s.points, *again))) == end + 4 - s.surge.ended_at


def test_without_a_metric_nothing_is_proven() -> None:
    """An autoscaler that saw no CPU proves nothing, and its own words are told."""
    s = scaling()
    words = "FailedGetScale: the HPA target's scale is missing a selector"
    blind = with_points(
        s, (p.model_copy(update={"utilisation": None, "trouble": words}) for p in s.points)
    )
    found = outcomes(blind)
    assert found[budgets.GROWTH] == found[SMALL] == found[failover.LOST] == "invalid"
    assert words in claims(blind)[0].note


def test_without_a_load_nothing_is_proven() -> None:
    """A pgbench that could not start gives no verdict that is met."""
    idle = of_surge(scaling(), transactions=0, exit_status=1)
    assert "met" not in {v for b, v in outcomes(idle).items() if b != budgets.FAIR_SHARE}
    assert "pgbench exit status 1" in claims(idle)[0].note


def test_a_load_that_asks_for_no_pod_proves_nothing() -> None:
    """An autoscaler whose target was not passed was right to do nothing: the load is to blame."""
    s = scaling()
    calm = [scale_point(p.at, 1, {POOLERS[0]: 1000 + n}) for n, p in enumerate(s.points)]
    slight = with_points(s, (p.model_copy(update={"utilisation": 66.0}) for p in calm))
    assert outcomes(slight)[budgets.GROWTH] == "invalid"
    assert claims(slight)[0].note == "too little load: CPU up to 66 %, target 60 %"


def test_a_pooler_not_seen_after_the_load_is_no_evidence() -> None:
    """Nobody looked whether it shrank: that is not the same as that it did not."""
    s = scaling()
    cut = with_points(s, (p for p in s.points if p.at <= s.surge.ended_at))
    assert (outcomes(cut)[budgets.GROWTH], outcomes(cut)[SMALL]) == ("met", "invalid")


def test_a_pooler_that_was_big_before_proves_nothing() -> None:
    """Pods that stood before the load were not brought by it."""
    s = scaling()
    big = (scale_point(p.at, 3, dict.fromkeys(POOLERS, 5)) for p in s.points if p.at <= SURGE_AT)
    after = (p for p in s.points if p.at > SURGE_AT)
    assert outcomes(with_points(s, (*big, *after)))[budgets.GROWTH] == "invalid"


def test_nobody_seen_proves_nothing() -> None:
    """A watch whose every look failed has no evidence of anything."""
    found = outcomes(with_points(scaling(), ()))
    assert {found[b] for b in (budgets.GROWTH, SMALL, budgets.FAIR_SHARE)} == {"invalid"}


def test_an_idle_pod_is_broken() -> None:
    """Pods that stand beside the load, because connections stay where they are, are found out."""
    s = scaling()
    idle = with_points(
        s,
        (
            scale_point(p.at, p.desired, {n: 1000 if i else 400 * k for i, n in enumerate(p.pods)})
            for k, p in enumerate(s.points)
        ),
    )
    assert fair_share(carried(idle)) == 0
    assert outcomes(idle)[budgets.FAIR_SHARE] == "broken"


def test_a_pod_that_says_nothing_is_no_evidence() -> None:
    """Without the count of one pod nobody knows what the others' share is."""
    s = scaling()

    def mute(point: ScalePoint) -> ScalePoint:
        told = {n: p.model_copy(update={"transactions": None}) for n, p in point.pods.items()}
        return point.model_copy(update={"pods": point.pods | dict([*told.items()][-1:])})

    assert outcomes(with_points(s, map(mute, s.points)))[budgets.FAIR_SHARE] == "invalid"


@pytest.mark.parametrize(
    ("budget", "change"),
    [
        (failover.LOST, {"acked_lost": 1}),
        (failover.PHANTOM, {"refused_present": 1}),
        (failover.DUPLICATE, {"duplicate": 1}),
    ],
    ids=["lost", "phantom", "duplicate"],
)
def test_one_wrong_write_is_broken(budget: Budget, change: Mapping[str, int]) -> None:
    """One is enough, of thousands."""
    assert outcomes(of_ledger(scaling(), **change))[budget] == "broken"


def test_a_lane_that_fell_silent_proves_no_write_kept() -> None:
    """Zero lost of a lane that did not write to the end is no evidence."""
    s = scaling()
    silent = s.lanes["held"].model_copy(update={"gap": None})
    found = outcomes(s.model_copy(update={"lanes": s.lanes | {"held": silent}}))
    assert found[failover.LOST] == "invalid"


def test_a_client_turned_away_is_broken() -> None:
    """A pod that is in the way of new connections while it comes or goes is found out."""
    away = of_surge(scaling(), aborted_clients=1, exit_status=2)
    assert outcomes(away)[budgets.ABORTED_CLIENTS] == "broken"


def test_looks_count_from_the_first_moment_of_the_load_to_its_last() -> None:
    """One at the very end is still under load: it is no time after it."""
    s = scaling()
    begin, end = s.surge.started_at, s.surge.ended_at
    two = scale_point(begin, 2, dict.fromkeys(POOLERS[:2], 1))
    one = scale_point(end, 1, {POOLERS[0]: 1})
    assert grown_after(with_points(s, [two])) == 0
    assert grown_after(with_points(s, [two.model_copy(update={"at": end})])) == end - begin
    for outside in (begin - 0.1, end + 0.1):
        unseen = with_points(s, [two.model_copy(update={"at": outside})])
        assert grown_after(unseen) is None
        assert (most_ready(unseen), peak_utilisation(unseen)) == (0, None)
    assert shrunk_after(with_points(s, [one])) is None
    after = one.model_copy(update={"at": end + 0.5})
    assert shrunk_after(with_points(s, [after])) == 0.5
    assert shrunk_after(with_points(s, [after.model_copy(update={"desired": 2})])) is None
    assert most_ready(s) == 3
    assert peak_utilisation(s) == 110


def test_shares_need_some_seconds_in_which_every_pod_tells_its_count() -> None:
    """Of the same pods at the beginning as at the end, and more than the least number."""
    s = scaling()
    at = s.surge.started_at

    def full(after: float, *counts: int) -> ScalePoint:
        return scale_point(at + after, 2, dict(zip(POOLERS, counts, strict=False)))

    first, last = full(1, 100, 0), full(1 + SHARED_LEAST, 160, 20)
    shares = carried(with_points(s, [full(0, 70), first, last]))
    assert shares == {POOLERS[0]: 60, POOLERS[1]: 20}
    assert fair_share(shares) == 50
    short = last.model_copy(update={"at": last.at - 0.1})
    assert carried(with_points(s, [first, short])) == {}
    other = scale_point(last.at, 2, {POOLERS[0]: 160, POOLERS[2]: 20})
    assert carried(with_points(s, [first, other])) == {}
    assert carried(with_points(s, [full(1, 100), full(30, 200)])) == {}
    assert fair_share({}) is None
    assert fair_share({"a": 0, "b": 0}) is None
    assert fair_share({"a": 1, "b": 2, "c": 3}) == 50
    silent = first.pods | {POOLERS[1]: first.pods[POOLERS[1]].model_copy(update={"ready": False})}
    starting = first.model_copy(update={"pods": silent})
    assert carried(with_points(s, [starting, first, last])) == shares, "one is not ready yet"


def test_what_is_no_evidence_says_why() -> None:
    """For the size, for the share, and for what was kept."""
    s = scaling()
    small = [scale_point(p.at, 1, {POOLERS[0]: 1000 + n}) for n, p in enumerate(s.points)]
    never = claims(with_points(s, small))
    assert [c.note for c in never[:3]] == [
        "1 of at most 3 pods, CPU up to 110 % of what they request, target 60 %",
        "it never grew",
        "no second pod for long, or no count",
    ]
    under = [p for p in s.points if p.at <= s.surge.ended_at]
    assert claims(with_points(s, under))[1].note == "not seen after the load"
    assert claims(with_points(s, [*under, s.points[-1]]))[1].note == "down to 1"
    unused = [p.model_copy(update={"utilisation": 0.0}) for p in s.points]
    assert "CPU up to 0 % of" in claims(with_points(s, unused))[0].note
    none = [p.model_copy(update={"utilisation": None}) for p in s.points]
    blind = claims(with_points(s, none))
    why = "the autoscaler had no CPU metric: no reason was reported"
    assert [(c.observed, c.note) for c in blind[:2]] == [(None, why), (None, why)]
    big = [scale_point(p.at, 2, dict.fromkeys(POOLERS[:2], 5)) for p in s.points]
    assert claims(with_points(s, big))[0].note == "2 pods were ready when the load began, not 1"
    silent = s.lanes["held"].model_copy(update={"gap": None})
    mute = claims(s.model_copy(update={"lanes": dict.fromkeys(("fresh", "held"), silent)}))
    assert {c.note for c in mute[4:]} == {"lanes without acks to the end: fresh, held"}
    nothing = claims(of_ledger(s, acked_present=0))
    assert [(c.observed, c.note) for c in nothing[4:]] == [(None, "of 0 acked")] * 3
    idle = claims(of_surge(s, transactions=0))
    assert [(c.observed, c.note) for c in idle[3:5]] == [
        (None, "0 transactions of 8 clients"),
        (None, "of 4870 acked"),
    ]
    slight = with_points(s, (p.model_copy(update={"utilisation": 66.1}) for p in small))
    assert claims(slight)[0].observed == math.inf, "an autoscaler had a reason to act"


@pytest.mark.parametrize(
    ("point", "why"),
    [
        (scale_point(1, 1, {"a": 1}), ""),
        (scale_point(1, 2, {"a": 1}), "1 pods ready, 2 wanted, 1 at rest"),
        (scale_point(1, 1, {}), "0 pods ready, 1 wanted, 1 at rest"),
        (scale_point(1, 1, {"a": 1}).model_copy(update={"utilisation": None}), "no CPU metric"),
        (scale_point(1, 1, {"a": 1}).model_copy(update={"trouble": "no scale"}), "no scale"),
    ],
    ids=["rest", "wanted", "starting", "blind", "trouble"],
)
def test_rest_is_small_ready_and_measured(point: ScalePoint, why: str) -> None:
    """A load begins only on a pooler of which all three are known."""
    assert why in why_not_at_rest(point, LIMITS)
    assert bool(why_not_at_rest(point, LIMITS)) is bool(why)


class Scripted:
    """Answers one look after the other; None: nobody answers."""

    def __init__(self, looks: list[ScalePoint | None]) -> None:
        self.looks = looks

    def limits(self) -> Limits:
        """Those of all tests here."""
        return LIMITS

    def look(self) -> ScalePoint:
        """The next one; the last for ever."""
        seen = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if seen is None:
            raise BrokenEnvironmentError("no autoscaler pooler: not answered")
        return seen


def test_changes_are_events_and_failed_looks_are_holes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every change is told once, with its instant; what nobody answered is not made up."""
    monkeypatch.setattr("pgdrill.observe.autoscale.LOOK_EVERY", 0.01)
    looks = [scale_point(1, 1, {"a": 1}), None, scale_point(3, 2, {"a": 1, "b": 0})]
    with ScalingWatch(Scripted([*looks]), EventLog(tmp_path / "events.jsonl")) as watch:
        eventually("two looks", lambda: len(watch.points) >= 2, within=5, every=0.01)
        assert watch.why_not_at_rest(LIMITS, since=3.0).startswith("not seen for")
        assert watch.why_not_at_rest(LIMITS, since=2.0) == "2 pods ready, 2 wanted, 1 at rest"
    assert [p.at for p in watch.points[:2]] == [1, 3]
    told = [(e.what, e.at) for e in read_lines(tmp_path / "events.jsonl", Event)]
    assert told[:2] == [("pooler pods wanted: 1", 1), ("pooler pods ready: 1", 1)]
    assert told[2][0] == "pooler not seen"
    assert told[3:] == [("pooler pods wanted: 2", 3), ("pooler pods ready: 2", 3)]


SHOW_STATS = """\
# TYPE cnpg_pgbouncer_stats_total_xact_count gauge
cnpg_pgbouncer_stats_total_xact_count{database="pgbouncer"} 31
cnpg_pgbouncer_stats_total_xact_count{database="shop"} 1.234567e+06
cnpg_pgbouncer_stats_total_xact_count{database="other"} 3
cnpg_pgbouncer_stats_total_query_count{database="shop"} 9
"""


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (SHOW_STATS, 1_234_570),
        ("\n".join(SHOW_STATS.splitlines()[:2]), 0),
        ("# nothing of PgBouncer's", None),
    ],
    ids=["carried", "not-yet-asked", "no-count"],
)
def test_transactions_are_those_of_clients(text: str, count: int | None) -> None:
    """PgBouncer's own are not counted; a pod that nobody asked yet carried 0, not nothing."""
    assert pooler.carried(text) == count


def test_a_real_surge_connects_anew_and_is_counted(
    program: HostProgram, scratch_postgres: ScratchPostgres, tmp_path: Path
) -> None:
    """pgbench's own count of a short load is the record's, and no client is lost."""
    conninfo = scratch_postgres.database("surge")
    pgbench.prepare(program, conninfo, 1, lambda line: None)
    load = surge.run(
        program, conninfo, clients=2, rate=50, seconds=2, scale=1, seed=1, directory=tmp_path
    )
    assert (load.exit_status, load.aborted_clients) == (0, 0)
    assert 40 <= load.transactions <= 160
    assert load.seconds >= 1.5
    assert "including reconnection times" in (tmp_path / "pgbench.out").read_text()


def test_a_surge_at_nobody_is_a_load_that_did_nothing(program: HostProgram, tmp_path: Path) -> None:
    """A pooler that does not answer gives a record without transactions, not an error."""
    nobody = "host=127.0.0.1 port=1 dbname=x user=x"
    load = surge.run(
        program, nobody, clients=1, rate=5, seconds=1, scale=1, seed=1, directory=tmp_path
    )
    assert load.transactions == 0
    assert load.exit_status != 0


def test_the_report_shows_pods_load_and_lanes(tmp_path: Path) -> None:
    """Page, terminal and tables say the same of a rise and fall."""
    run = write_run(tmp_path / "run")
    page = splice(run.path).read_text()
    for words in ("second pod +24 s", "small 80 s after the load", "pooler-b", "0.05 cores"):
        assert words in page
    line = next(line for line in terminal(run.path) if line.startswith("pooler"))
    assert line.startswith(
        "pooler: 1 -> 3 pods under 200 connections/s, second pod after 24 s, small 80 s after it;"
    )
    row = "| 200 connections/s for 2 min | 1 to 3 | 24 s | 80 s | 100 % | 4,870 | 0 |"
    assert row in tables(run.path)


def test_a_pooler_that_was_never_seen_is_reported_without_a_plot(tmp_path: Path) -> None:
    """Not a single look: the section says what is not known and draws nothing."""
    run = write_run(tmp_path / "run", without=("scaling",))
    unseen = with_points(scaling(), ())
    run.keep(unseen)
    assert not scaleplots.over_time(unseen)
    assert 'id="pgd-scaling"' in splice(run.path).read_text()
    assert any("never grew, not seen to shrink" in line for line in terminal(run.path))


def test_pods_are_drawn_as_steps() -> None:
    """The line of ready pods goes up and down at right angles: no pod came half."""
    drawn = str(scaleplots.over_time(scaling()))
    ready = next(part for part in drawn.split("<polyline")[1:] if "<title>ready" in part)
    pixels = [p.split(",") for p in ready.split('points="')[1].split('"')[0].split()]
    assert all(a[0] == b[0] or a[1] == b[1] for a, b in pairwise(pixels))
    assert len({y for _, y in pixels}) == 3
