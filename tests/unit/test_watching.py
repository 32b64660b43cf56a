"""What a watch adds up to: failovers, staleness, judgement; and what of a DSN may be shown."""

import socket
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from psycopg.conninfo import conninfo_to_dict

from pgdrill.attempt_log import Outcome
from pgdrill.errors import BadUsageError
from pgdrill.judge import watching
from pgdrill.judge.promises import Limits
from pgdrill.judge.verdicts import BrokenBudgetError, Verdicts
from pgdrill.records import LaneResult, LedgerCount, Reads, Watch
from pgdrill.report import watch_plots, watch_text
from pgdrill.rundir import Records, RunDir
from pgdrill.waiting import eventually
from pgdrill.workload import host_names
from pgdrill.workload.host_names import HostNames
from pgdrill.workload.read_poller import Look, staleness
from pgdrill.workload.user_database import has_secret, parse, public
from tests.unit.test_attempts import Story

pytestmark = pytest.mark.unit


def test_each_server_is_a_change_once(tmp_path: Path) -> None:
    """A timeline, a server, and two that take turns: the first ack of each counts."""
    story = Story(tmp_path)
    for at, server, timeline in ((1, "a", 1), (2, "a", 2), (3, "b", 2), (4, "a", 2), (5, "b", 2)):
        story.attempt(at, server=server, timeline=timeline)
    found = [(c.before, c.after, round(c.last), round(c.at)) for c in story.told().changes()]
    assert found == [(("a", 1), ("a", 2), 1, 2), (("a", 2), ("b", 2), 2, 3)]


def test_pauses_are_those_between_acks(tmp_path: Path) -> None:
    """A refusal does not end one."""
    story = Story(tmp_path)
    story.attempt(1)
    story.attempt(2, Outcome.REFUSED)
    story.attempt(4)
    story.attempt(4.3)
    ((began, ended),) = story.told().pauses("fresh", 0.5)
    assert [began, ended] == pytest.approx([1.005, 4.005])


def test_a_read_is_as_old_as_the_first_write_that_it_lacks(tmp_path: Path) -> None:
    """Newer ids and holes count; what was refused, or sent later, does not."""
    story = Story(tmp_path)
    for at in (1.0, 2.0, 3.0):
        story.attempt(at)
    story.attempt(3.5, Outcome.REFUSED)
    story.attempt(9.0)
    ids = np.array([1, 2, 3, 5])
    looks = [
        Look(4.0, 3, ()),
        Look(4.0, 2, ()),
        Look(4.0, 3, (2,)),
        Look(4.0, 0, ()),
        Look(9.5, 3, (4,)),
    ]
    assert staleness(looks, story.told(), ids) == pytest.approx([0, 1, 2, 3, 0.5])


def test_a_lost_write_counts_until_another_server_answers(tmp_path: Path) -> None:
    """A replica that is cut off is stale, and no more so once it is the primary."""
    story = Story(tmp_path)
    story.attempt(1.0)
    story.attempt(2.0)
    story.attempt(5.0, server="b", timeline=2)
    story.attempt(6.0, server="b", timeline=2)
    looks = [Look(4.0, 1, ()), Look(5.5, 3, (2,))]
    attempts = story.told()
    assert staleness(looks, attempts, np.array([1, 3, 4])) == pytest.approx([2, 0])
    # One that is gone with nobody who followed is no replica's fault.
    assert staleness([Look(7.0, 3, ())], attempts, np.array([1, 2, 3])) == [0]


def lane(gap: float | None, silence: float | None = None, acked: int = 10) -> LaneResult:
    """A lane with a gap, or with one that had not ended."""
    return LaneResult(
        attempts=acked,
        acked=acked,
        refused=0,
        indeterminate=0,
        gap=gap,
        last_ack_before=1.0,
        first_ack_after=None,
        p50_ms=1.0,
        p99_ms=1.0,
        silence=silence,
    )


def seen(one: LaneResult, lost: int | None = 0) -> Watch:
    """A watch of one lane; lost None: the ledger was not read."""
    count = LedgerCount(
        acked_present=one.acked - (lost or 0),
        acked_lost=lost or 0,
        indeterminate_present=0,
        indeterminate_absent=0,
        refused_absent=0,
        refused_present=2,
        duplicate=0,
    )
    return Watch(
        target="host=h",
        server="15",
        began=0.0,
        ended=60.0,
        reason="the time is over",
        rate=50,
        deadline=2,
        lanes={"fresh": one},
        pauses=(),
        handovers=(),
        marks=(),
        ledger=None if lost is None else count,
        unread="nobody answers" if lost is None else "",
        two_writers=0.0,
        schedule_error_p99_ms=1.0,
        attempts_file="raw/x.npz",
    )


@pytest.mark.parametrize(
    ("watch", "own", "outcomes"),
    [
        pytest.param(seen(lane(99.0)), {}, ["met"], id="a gap alone breaks nothing"),
        pytest.param(seen(lane(1.0), lost=1), {}, ["broken"], id="loss does"),
        pytest.param(seen(lane(1.0), lost=None), {}, ["invalid"], id="not read is not kept"),
        pytest.param(seen(lane(None, acked=0)), {}, ["invalid"], id="no ack proves nothing"),
        pytest.param(
            seen(lane(None, 3.0)), {"watch.write-gap": 5}, ["met", "invalid"], id="open, below"
        ),
        pytest.param(
            seen(lane(None, 6.0)), {"watch.write-gap": 5}, ["met", "broken"], id="open, above"
        ),
        pytest.param(
            seen(lane(1.0)), {"watch.refused-present": 1}, ["met", "broken"], id="asked for"
        ),
        pytest.param(seen(lane(1.0)), {"watch.stale-read": 9}, ["met", "invalid"], id="no reads"),
    ],
)
def test_loss_is_judged_and_what_the_user_sets_a_limit_for(
    watch: Watch, own: dict[str, float], outcomes: list[str]
) -> None:
    """Nothing else is, and nothing is kept without evidence."""
    limits = Limits(own)
    verdicts = Verdicts(None, limits=limits)
    try:
        watching.judge(watch, verdicts, limits)
    except BrokenBudgetError:
        assert outcomes != ["met"] * len(outcomes)
    else:
        assert outcomes == ["met"] * len(outcomes)
    assert [v.outcome for v in verdicts.given] == outcomes


def test_each_limit_of_a_user_is_judged_by_what_was_seen_and_says_of_what(tmp_path: Path) -> None:
    """Loss, each lane's gap, and the five promises that have no limit of pgdrill's own."""
    watch = seen(lane(7.5)).model_copy(
        update={
            "two_writers": 0.4,
            "lanes": {"fresh": lane(7.5), "held": lane(None, 6.0, acked=4)},
            "reads": Reads(target="r", answered=9, failed=1, p50_ms=1, p99_ms=2, most_ms=12.5),
        }
    )
    keys = ("write-gap", "refused-present", "duplicate", "two-writers", "stale-read")
    verdicts = Verdicts(None, limits=Limits({f"watch.{key}": 5.0 for key in keys}))
    run = RunDir.create(tmp_path / "run")
    watching.rejudge(Records(run), verdicts)
    assert verdicts.given == []
    run.keep(watch)
    with pytest.raises(BrokenBudgetError):
        watching.rejudge(Records(run), verdicts)
    assert [(v.budget.id, v.subject, v.observed, v.note, v.about.lane) for v in verdicts.given] == [
        ("watch.acked-lost", "watch", 0, "of 14 acked", ""),
        ("watch.write-gap", "watch, fresh", 7.5, "", "fresh"),
        ("watch.write-gap", "watch, held", 6, "the gap had not ended", "held"),
        ("watch.refused-present", "watch", 2, "", ""),
        ("watch.duplicate", "watch", 0, "", ""),
        ("watch.two-writers", "watch", 0.4, "", ""),
        ("watch.stale-read", "watch", 12.5, "", ""),
    ]


@pytest.mark.parametrize("what", ["refused-present", "duplicate", "two-writers", "stale-read"])
def test_a_watch_in_which_nothing_was_acknowledged_keeps_no_promise(what: str) -> None:
    """Nor does one whose ledger nobody could read: its reason is the note."""
    limits = Limits({f"watch.{what}": 1e9})
    verdicts = Verdicts(None, limits=limits)
    with suppress(BrokenBudgetError):
        watching.judge(seen(lane(1.0, acked=0)), verdicts, limits)
    assert [(v.outcome, v.note) for v in verdicts.given] == [
        ("invalid", "of 0 acked"),
        ("invalid", ""),
    ]
    unread = Verdicts(None, limits=limits)
    with suppress(BrokenBudgetError):
        watching.judge(seen(lane(1.0), lost=None), unread, limits)
    assert unread.given[0].note == "of 10 acked: nobody answers"
    counted = what == "two-writers"  # by the prober alone
    assert unread.given[1].outcome == ("met" if counted else "invalid")


def test_one_acknowledged_write_is_evidence_and_no_limit_of_pgdrills_own_breaks() -> None:
    """What only its user can limit is endless until then, and lower is better."""
    verdicts = Verdicts(None)
    watching.judge(seen(lane(1.0, acked=1)), verdicts, Limits({}))
    assert [(v.outcome, v.note) for v in verdicts.given] == [("met", "of 1 acked")]
    assert watching._yours("write-gap", "write gap", "s") == watching.GAP
    assert (watching.GAP.id, watching.GAP.better) == ("watch.write-gap", "lower")
    assert watching.GAP.limit == float("inf")


def test_an_open_gap_is_as_long_as_the_limit_or_not_known() -> None:
    """At the limit it may still be kept; a gap that ended is its own length."""
    assert watching.longest(lane(3.0, 9.0), 5) == (3.0, False)
    assert watching.longest(lane(None), 5) == (None, False)
    assert watching.longest(lane(None, 5.0), 5) == (None, True)
    assert watching.longest(lane(None, 5.1), 5) == (5.1, True)


def test_an_outage_that_had_not_ended_is_drawn_to_the_end() -> None:
    """The last lines and the plot have no end of it to name."""
    watch = seen(lane(None, 3.0))
    assert "at least 3 s, not over" in " ".join(watch_text.lines(watch))
    assert 'class="outage"' in str(watch_plots.course(watch))


def test_what_is_secret_of_a_dsn_is_not_shown() -> None:
    """Of either form; and what libpq quotes where it cannot read one may be the password."""
    for dsn in ("postgresql://u:geheim@h:5/d?sslmode=require", "host=h user=u password=geheim"):
        assert has_secret(dsn)
        assert "geheim" not in public(dsn)
        assert "user=u" in public(dsn)
    assert not has_secret("service=mine passfile=/x")
    for dsn in ("postgresql://u:%geheim@h/d", "password=a geheim", "geheim"):
        with pytest.raises(BadUsageError) as caught:
            parse(dsn)
        assert "geheim" not in str(caught.value)


def test_names_are_looked_up_again_beside_the_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads elsewhere after a failover is followed; an outage of names is not."""
    table = {"db": ["10.0.0.1", "10.0.0.2"]}

    def answer(host: str, *_: object, **__: object) -> list[object]:
        if host not in table:
            raise socket.gaierror(-2, "Name or service not known")
        return [(0, 0, 0, "", (address, 0)) for address in table[host]]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    monkeypatch.setattr(host_names, "LOOK_UP_EVERY", 0.01)
    found = HostNames("host=db,10.9.9.9,/tmp port=5,6,7 dbname=x")

    def parts(key: str) -> str:
        return str(conninfo_to_dict(found.conninfo.decode())[key])

    assert parts("hostaddr") == "10.0.0.1,10.0.0.2,10.9.9.9,"
    assert parts("host") == "db,db,10.9.9.9,/tmp"
    assert parts("port") == "5,5,6,7"
    table["db"] = ["10.0.0.3"]
    eventually("the new address", lambda: parts("hostaddr") == "10.0.0.3,10.9.9.9,", within=10)
    del table["db"]
    found.conninfo = found._resolved()
    assert parts("hostaddr") == "10.0.0.3,10.9.9.9,"
    found.close()


def test_an_address_is_left_as_it_is() -> None:
    """Nobody is asked, and libpq gets what was given."""
    for given in ("host=127.0.0.1 port=5", "host=::1", "host=/run", "host=db hostaddr=10.0.0.1"):
        found = conninfo_to_dict(HostNames(given).conninfo.decode())
        assert found == conninfo_to_dict(given) | {"gssencmode": "disable"}
