"""A watch over alerts, its sources and its clock in the test's own hands."""

import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest
import requests

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.observe import alerts
from pgdrill.observe.alertmanager import Alertmanager
from pgdrill.observe.alerts import AlertWatch, Expectation, RunEndedError, Sighting, Stage
from pgdrill.observe.deadman import WATCHDOG
from pgdrill.observe.load import PUSHED_EVERY, TRANSACTIONS
from pgdrill.observe.prometheus import ActiveAlert, AlertRule, Prometheus
from pgdrill.records import AlertPath
from pgdrill.waiting import DeadlineError, eventually
from tests.unit.test_alert_watch_properties import (
    RULE,
    TellingAlertmanager,
    TellingPrometheus,
)

pytestmark = pytest.mark.unit

OF = Expectation("PgLag", "pg-1")
WITHIN = 10.0  # seconds; every wait here is over at once on an idle machine


class Rules(TellingPrometheus):
    """Three rules, and an outage where the test wants one."""

    outage = ""

    def rules(self) -> dict[str, AlertRule]:
        """One that pages, one that is logged, and one of a load that is pushed."""
        return {
            "PgLag": replace(RULE, name="PgLag", hold=3.0, evaluation=4.0, query="x[30s] > 0"),
            "PgMoved": replace(RULE, name="PgMoved", severity="info"),
            "PgLoad": replace(RULE, name="PgLoad", query=f"rate({TRANSACTIONS}[1m]) > 0"),
        }

    def scrape_interval(self) -> float:
        """Seconds."""
        return 5.0

    def alerts(self) -> list[ActiveAlert]:
        """Return what is pending or firing, unless there is an outage."""
        if self.outage:
            raise BrokenEnvironmentError(self.outage)
        return super().alerts()


class Routes(TellingAlertmanager):
    """A receiver's address that is free."""

    def __init__(self) -> None:
        super().__init__()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])

    def webhook(self) -> tuple[str, int]:
        """Return it."""
        return "127.0.0.1", self.port


class Made:
    """A watch that looks when the test says so, unless it is entered."""

    def __init__(self, *, pages: bool = False) -> None:
        self.prometheus, self.alertmanager = Rules(), Routes()
        self.told: list[Sighting] = []
        self.watch = AlertWatch(
            cast(Prometheus, self.prometheus),
            cast(Alertmanager, self.alertmanager),
            self.told.append,
            **({} if pages else {"pages": False}),
        )

    def look(self, **stages: str) -> float:
        """Let it see these alerts, by name and stage; return an instant after that."""
        held = {Expectation(name): stage for name, stage in stages.items()}
        self.prometheus.rule_states = {of: s for of, s in held.items() if s != "alertmanager"}
        self.alertmanager.arrived = {of for of, s in held.items() if s == "alertmanager"}
        self.watch._look()
        return time.monotonic()

    def post(self, receiver: str, status: str, **labels: str) -> int:
        """Send a page as Alertmanager does; return the status of the answer."""
        page = {"alerts": [{"labels": labels, "status": status}]}
        url = f"http://127.0.0.1:{self.alertmanager.port}/{receiver}"
        return requests.post(url, json=page, timeout=WITHIN).status_code


@pytest.fixture
def made() -> Made:
    """A watch that was made a moment ago."""
    return Made()


def aged(made: Made, seconds: float) -> None:
    """Let so many seconds have passed since the watch began and looked last."""
    made.watch._last_look -= seconds
    made.watch._watched_since -= seconds


def test_the_path_of_an_alert_is_that_of_its_rule_and_its_route(made: Made) -> None:
    """Only what is counted by pgdrill's own load has to be pushed first."""
    assert made.watch.path("PgLag") == AlertPath(
        push=0, scrape=5, evaluation=4, hold=3, memory=30, group_wait=1, group_interval=2
    )
    assert made.watch.path("PgLoad").push == PUSHED_EVERY
    assert made.watch.rule("PgMoved").severity == "info"
    assert [made.watch.last_stage(name) for name in ("PgLag", "PgMoved")] == ["paged", "logged"]
    with pytest.raises(BrokenEnvironmentError) as caught:
        made.watch.rule("PgGone")
    assert str(caught.value) == (
        "Prometheus at http://history has no rule PgGone, only PgLag, PgMoved, PgLoad:"
        " `make down up` loads infra/alerts"
    )


def test_no_view_of_alerts_is_no_quiet(made: Made) -> None:
    """For some seconds the last look counts; after that its error is told."""
    made.look(PgLag="firing")
    aged(made, alerts.BLIND - 0.5)
    assert made.watch.active() == ["PgLag firing"]
    aged(made, 0.6)
    with pytest.raises(BrokenEnvironmentError, match=r"^no view of alerts for 5 s: $"):
        made.watch.active()
    made.watch._last_error = "it is gone"
    with pytest.raises(BrokenEnvironmentError, match=r"^no view of alerts for 5 s: it is gone$"):
        made.watch.active()
    made.look()
    assert made.watch.active() == []


def test_every_wait_ends_with_the_run(made: Made) -> None:
    """None of them waits for its own deadline."""
    made.watch.end_waits()
    waits: tuple[Callable[[], object], ...] = (
        lambda: made.watch.wait(OF, "firing", since=0, within=WITHIN),
        lambda: made.watch.settle(within=WITHIN),
        lambda: made.watch.quiet(lasting=WITHIN),
        lambda: made.watch.wait_quiet(lasting=1, within=WITHIN),
        made.watch.active,
    )
    for wait in waits:
        with pytest.raises(RunEndedError):
            wait()


def test_a_wait_ends_with_the_first_sighting_after_its_instant(made: Made) -> None:
    """None where there was none in time: a sighting of before, or of another stage."""
    made.watch._note("firing", OF, at=5.0)
    made.watch._note("firing", OF, at=7.0)
    assert made.watch.wait(OF, "firing", since=5.0, within=WITHIN) == 5.0
    assert made.watch.wait(OF, "firing", since=5.5, within=WITHIN) == 7.0
    assert made.watch.wait(OF, "firing", since=7.5, within=0) is None
    assert made.watch.wait(OF, "paged", since=0, within=0) is None
    assert made.watch.when(OF, "firing", 7.0) == 7.0
    assert (made.watch.raised(7.0), made.watch.raised(7.1)) == ((OF,), ())


def test_old_alerts_are_waited_for_and_named_where_they_stay(made: Made) -> None:
    """Neither a look without alerts nor one with them is taken for the other."""
    made.look(PgLag="pending")
    with pytest.raises(
        DeadlineError, match=r"(?s)^no alert: not within 0\.1 s, saw.*PgLag pending"
    ):
        made.watch.settle(within=0.1)
    made.look()
    made.watch.settle(within=0)


def test_an_alert_or_a_page_breaks_the_quiet_unless_it_is_known(made: Made) -> None:
    """A page counts though its alert is held no more; one of before the window does not."""
    made.watch._note("paged", OF)
    before = time.monotonic()
    began = made.watch.quiet(lasting=0.05)
    assert before <= began <= time.monotonic()
    made.look(PgLag="firing")
    with pytest.raises(DeadlineError, match=r"(?s)^no alert: ended after .*PgLag firing"):
        made.watch.quiet(lasting=1)
    made.watch.quiet(lasting=0.05, besides=lambda: {"PgLag"})
    made.look()
    made.watch._note("paged", OF, at=time.monotonic() + 60)
    with pytest.raises(DeadlineError, match=r"PgLag\(pg-1\) paged"):
        made.watch.quiet(lasting=1)
    made.watch.quiet(lasting=0.05, besides=lambda: {"PgLag"})


def test_seconds_that_were_watched_already_are_not_waited_for_again(made: Made) -> None:
    """Alerts that passed in them count, unless they are known; so does not having watched."""

    def refused(lasting: float, *known: str) -> str:
        with pytest.raises(DeadlineError) as caught:
            made.watch.wait_quiet(lasting=lasting, within=0, besides=lambda: known)
        return str(caught.value)

    assert refused(60).startswith("60 s without an alert: not within 0 s, saw\n")
    assert "['not watched for so long']" in refused(60)
    made.look()
    aged(made, 100)
    made.look()  # nobody looked for longer than BLIND: the window begins anew
    assert "['not watched for so long']" in refused(60)
    made.watch._watched_since -= 100
    called = time.monotonic()
    began = made.watch.wait_quiet(lasting=60, within=0)
    assert called <= began <= time.monotonic()
    made.look(PgLag="pending")
    assert "['PgLag', 'PgLag pending']" in refused(60)
    made.look()
    assert "['PgLag']" in refused(60)
    assert made.watch.wait_quiet(lasting=60, within=0, besides=lambda: {"PgLag"}) >= began
    made.watch._held = []
    made.watch._note("paged", OF, at=time.monotonic() - 59)
    assert "['PgLag(pg-1) paged']" in refused(60)
    assert made.watch.wait_quiet(lasting=58, within=0) >= began


def test_a_window_that_had_to_be_waited_for_begins_so_long_before_its_end(made: Made) -> None:
    """Not at the call, which came before the alert was over."""
    made.watch._watched_since -= 100
    made.look(PgLag="firing")
    made.look()
    called = time.monotonic()
    began = made.watch.wait_quiet(lasting=0.6, within=WITHIN)
    assert called < began + 0.6 <= time.monotonic()
    assert began > called


def test_what_is_held_changes_only_with_its_names(made: Made) -> None:
    """A stage is no new content; what was held before the first look is nothing."""
    before = time.monotonic()
    first = made.look(PgLag="pending")
    made.look(PgLag="firing")
    last = made.look(PgMoved="firing", PgLag="alertmanager")
    assert [names for _, names in made.watch._held] == [("PgLag",), ("PgLag", "PgMoved")]
    assert made.watch.held(made.watch._held[0][0]) == ("PgLag",)
    assert made.watch.held(first) == ("PgLag",)
    assert made.watch.held(last) == ("PgLag", "PgMoved")
    assert made.watch.held(before) == ()
    assert [s.at for s in made.told[-2:]] == [made.watch._last_look] * 2
    told: list[tuple[Stage, str]] = [(s.stage, str(s.of)) for s in made.told]
    assert told == [
        ("pending", "PgLag"),
        ("firing", "PgLag"),
        ("alertmanager", "PgLag"),
        ("firing", "PgMoved"),
    ]


def test_a_look_after_an_outage_begins_a_new_watch(made: Made) -> None:
    """One that comes in time continues the old one."""
    since = made.watch._watched_since
    aged(made, alerts.BLIND - 1)
    made.look()
    assert made.watch._watched_since == since - (alerts.BLIND - 1)
    aged(made, alerts.BLIND + 1)
    now = made.look()
    assert since < made.watch._watched_since == made.watch._last_look <= now


def test_a_life_ends_with_the_page_that_follows_its_own(made: Made) -> None:
    """Of information it is the log's; a page may prove the arrival before the poll does."""
    member = Expectation("PgLag", "pg-1")
    stages: tuple[tuple[Stage, float], ...] = (
        *(("resolved", 9.0), ("pending", 10.0), ("firing", 13.0)),
        *(("paged", 14.0), ("alertmanager", 14.2), ("resolved", 20.0)),
    )
    for stage, at in stages:
        made.watch._note(stage, member, at=at)

    def life(of: Expectation) -> dict[str, object]:
        return made.watch.life(
            of, scenario="s", quiet_from=8.0, condition=9.5, healed=18.0, healing=17.0
        ).model_dump(exclude_defaults=True)

    assert life(member) == {
        "alert": "PgLag",
        "severity": "critical",
        "scenario": "s",
        "scrape": 5,
        "evaluation": 4,
        "hold": 3,
        "group_wait": 1,
        "quiet_from": 8,
        "condition": 9.5,
        "pending": 10,
        "firing": 13,
        "alertmanager": 14,
        "paged": 14,
        "healed": 18,
        "healing": 17,
        "resolved": 20,
    }
    moved = Expectation("PgMoved")
    for stage, at in (("alertmanager", 11.0), ("logged", 12.0), ("resolved", 15.0)):
        made.watch._note(stage, moved, at=at)
    logged = made.watch.life(moved, scenario="s", quiet_from=8, condition=9, healed=None)
    assert (logged.severity, logged.paged, logged.logged) == ("info", None, 12)
    assert (logged.alertmanager, logged.resolved, logged.healed) == (11, 15, None)
    brief = Expectation("PgLag", "pg-2")
    made.watch._note("paged", brief, at=11.0)
    assert life(brief)["alertmanager"] == 11, "a page of what no poll saw there"
    made.watch._note("firing", Expectation("PgLoad"), at=11.0)
    silent = made.watch.life(
        Expectation("PgLoad"), scenario="s", quiet_from=8, condition=9, healed=None
    )
    assert (silent.alertmanager, silent.paged, silent.resolved) == (None, None, None)


def test_a_page_is_received_by_its_path_and_its_status() -> None:
    """The pager pages, the log logs, what is over is resolved, and the watchdog beats."""
    made = Made(pages=True)
    with made.watch as watch:
        assert watch is made.watch
        since = time.monotonic()
        beats = watch.switch.heartbeats
        assert made.post("pager", "firing", alertname="PgLag", member="pg-1") == 200
        assert made.post("log", "firing", alertname="PgMoved") == 200
        assert made.post("log", "resolved", alertname="PgMoved") == 200
        assert made.post("pager", "resolved", alertname="PgLag", member="pg-1") == 200
        assert made.post("watchdog", "firing", alertname=WATCHDOG) == 200
        assert watch.switch.heartbeats == beats + 1
        assert [(s.stage, str(s.of)) for s in made.told] == [
            ("paged", "PgLag(pg-1)"),
            ("logged", "PgMoved"),
            ("resolved", "PgMoved"),
            ("resolved", "PgLag(pg-1)"),
        ]
        assert all(since <= s.at <= time.monotonic() for s in made.told)
        assert made.told == watch.sightings
        assert watch._paged(since) == ["PgLag(pg-1) paged"]
        assert watch._paged(made.told[0].at) == ["PgLag(pg-1) paged"]
        assert watch._paged(time.monotonic()) == []
        assert watch.raised(since) == (OF, Expectation("PgMoved"))
        again = Made(pages=True)
        again.alertmanager.port = made.alertmanager.port
        with pytest.raises(BrokenEnvironmentError) as caught, again.watch:
            pass
        assert str(caught.value) == (
            f"cannot receive pages at 127.0.0.1:{made.alertmanager.port} (Address already in use):"
            " does another alerts suite run?"
        )
    with pytest.raises(requests.ConnectionError):
        made.post("pager", "firing", alertname="PgLag")
    assert not watch._poller.is_alive()


def test_a_watch_polls_until_its_block_ends_and_outlives_an_outage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A watchdog that is silent pages; without pages nobody asks for it."""
    monkeypatch.setattr(alerts, "POLL", 0.01)
    monkeypatch.setattr("pgdrill.observe.deadman.PAGES_AFTER", 0.0)
    for pages in (True, False):
        began, made = time.monotonic(), Made(pages=pages)
        made.prometheus.rule_states = {OF: "firing"}
        with made.watch as watch:
            assert watch.active() == ["PgLag(pg-1) firing"]
            made.prometheus.outage = "no answer"
            eventually("the outage", lambda: watch._last_error == "no answer", within=WITHIN)
            made.prometheus.outage = ""
            made.prometheus.rule_states = {OF: "pending"}
            assert watch.wait(OF, "pending", since=0, within=WITHIN) is not None
            if pages:
                eventually("its page", lambda: watch.switch.paged(0), within=WITHIN)
        assert not watch._poller.is_alive()
        assert (Expectation(WATCHDOG) in {s.of for s in made.told if s.stage == "paged"}) is pages
        assert Expectation(WATCHDOG) not in {s.of for s in watch.sightings}
        assert all(began <= s.at <= time.monotonic() for s in made.told)


def test_a_source_that_does_not_answer_at_the_start_leaves_nothing_behind() -> None:
    """No thread, and no address that stays taken."""
    made = Made(pages=True)
    made.prometheus.outage = "no answer"
    with pytest.raises(BrokenEnvironmentError, match="no answer"), made.watch:
        pass
    assert not made.watch._poller.is_alive()
    with socket.create_server(made.alertmanager.webhook()):
        pass


def test_a_request_to_an_address_elsewhere_arrives_at_the_loopback() -> None:
    """It is a proxy's; every address of this machine is its own."""
    assert alerts.listening_address("127.0.0.1") == "127.0.0.1"
    assert alerts.listening_address("127.9.9.9") == "127.9.9.9"
    assert alerts.listening_address("192.0.2.1") == "127.0.0.1"
