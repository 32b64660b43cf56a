"""The watch over alerts, against a real Prometheus and a real Alertmanager of this test's own."""

import re
import threading
import time
from collections.abc import Iterator

import pytest
import requests

from pgdrill.drills.alerts import wait_monitoring_ready
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.judge import alerting
from pgdrill.observe import deadman, detection
from pgdrill.observe.alertmanager import Alertmanager
from pgdrill.observe.alerts import AlertWatch
from pgdrill.observe.deadman import WATCHDOG
from pgdrill.observe.detection import seen
from pgdrill.observe.prometheus import (
    AlertRule,
    NoDataError,
    Prometheus,
    duration,
    resource_series,
)
from pgdrill.records import Budget
from pgdrill.settings import ROOT
from pgdrill.waiting import DeadlineError, eventually
from tests.servers import free_port
from tests.unit.monitoring_pair import WITHIN, Monitoring, running

LOOKS = 1.0  # seconds from one look at both to the next one, on a busy machine


@pytest.fixture(scope="module")
def monitoring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitoring]:
    """The pair."""
    with running(tmp_path_factory.mktemp("monitoring")) as pair:
        yield pair


@pytest.fixture
def watch(monitoring: Monitoring) -> Iterator[AlertWatch]:
    """A watch over that pair, which begins when no alert of an earlier test is left."""
    pair = Prometheus(monitoring.prometheus), Alertmanager(monitoring.alertmanager)
    with AlertWatch(*pair) as watch:
        watch.settle(within=WITHIN)
        watch.sightings.clear()
        yield watch


def test_an_alert_is_followed_from_pending_to_the_page_that_ends_it(
    monitoring: Monitoring, watch: AlertWatch
) -> None:
    """Every stage of an alert gets an instant, in order, and the rule's own intervals."""
    quiet = watch.quiet(lasting=0.3)
    began = time.monotonic()
    with monitoring.condition("Brief") as of:
        assert watch.wait(of, "paged", since=quiet, within=WITHIN) is not None
    healed = time.monotonic()
    assert watch.wait(of, "resolved", since=quiet, within=WITHIN) is not None
    life = watch.life(of, scenario="unit", quiet_from=quiet, condition=began, healed=healed)
    assert (life.hold, life.evaluation, life.scrape, life.group_wait) == (0.2, 0.2, 0.25, 0.1)
    assert life.firing is not None
    assert life.alertmanager is not None
    assert life.paged is not None
    assert life.resolved is not None
    assert quiet < began < life.firing
    assert life.paged < healed < life.resolved


def test_information_is_logged_and_pages_nobody(monitoring: Monitoring, watch: AlertWatch) -> None:
    """An alert of severity info goes another way, in its whole life, and is judged by that."""
    quiet = watch.quiet(lasting=0.3)
    with monitoring.condition("Told") as of:
        assert (watch.last_stage("Told"), watch.last_stage("Loud")) == ("logged", "paged")
        assert watch.wait(of, "logged", since=quiet, within=WITHIN) is not None
    assert watch.wait(of, "resolved", since=quiet, within=WITHIN) is not None
    life = watch.life(of, scenario="unit", quiet_from=quiet, condition=quiet, healed=quiet)
    assert life.paged is None
    assert life.logged is not None
    assert life.resolved is not None
    assert life.logged < life.resolved


def test_a_watchdog_that_is_silent_pages(
    watch: AlertWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watchdog is not listed as an alert; when it stops coming, the pager pages."""
    monkeypatch.setattr(deadman, "PAGES_AFTER", 2.0)
    eventually("the watchdog", lambda: watch.switch.heartbeats, lambda n: n > 2, within=WITHIN)
    began = watch.quiet(lasting=3)
    assert watch.switch.paged(began) is None
    with watch.alertmanager.silenced(WATCHDOG):
        silent = time.monotonic()
        eventually("its page", lambda: watch.switch.paged(silent), within=WITHIN)
        assert watch.raised(silent) == ()
    heartbeats = watch.switch.heartbeats
    eventually("the watchdog", lambda: watch.switch.heartbeats > heartbeats, within=WITHIN)
    again = time.monotonic()
    watch.quiet(lasting=3)
    assert watch.switch.paged(again) is None


def test_what_the_pager_promises_is_what_it_does() -> None:
    """The promise is made of the intervals of Alertmanager's route and of the switch."""
    route = (ROOT / "infra/local/templates/alertmanager.yml.j2").read_text()
    (every,) = re.findall(r"/watchdog\n.*\n.*\n +group_interval: (\S+)", route)
    assert duration(every) == deadman.HEARTBEAT_EVERY
    terms = {term.name: term.seconds for term in alerting.UNHEARD.terms}
    assert list(terms.values())[:2] == [deadman.HEARTBEAT_EVERY, deadman.PAGES_AFTER]


def test_a_silenced_alert_pages_nobody(monitoring: Monitoring, watch: AlertWatch) -> None:
    """An alert that fires but is muted never reaches the stages that a person would notice."""
    with watch.alertmanager.silenced("Muted"), monitoring.condition("Muted") as of:
        assert watch.wait(of, "firing", since=0, within=WITHIN) is not None
        assert watch.wait(of, "paged", since=0, within=1) is None
        assert watch.when(of, "alertmanager", since=0) is None


def test_an_alert_breaks_the_quiet(monitoring: Monitoring, watch: AlertWatch) -> None:
    """A window with an alert in it is not quiet, and the error names the alert."""
    with monitoring.condition("Loud") as of:
        watch.wait(of, "firing", since=0, within=WITHIN)
        with pytest.raises(DeadlineError, match="Loud"):
            watch.quiet(lasting=1)


def test_quiet_is_waited_for_before_a_fault(monitoring: Monitoring, watch: AlertWatch) -> None:
    """A passing alert does not stop a scenario: its window begins after it; a lasting one does."""
    with monitoring.condition("Loud") as of:
        watch.wait(of, "firing", since=0, within=WITHIN)
        with pytest.raises(DeadlineError, match="Loud"):
            watch.wait_quiet(lasting=0.3, within=1)
        over = time.monotonic()
    assert watch.wait_quiet(lasting=0.3, within=WITHIN) > over


def test_quiet_that_was_watched_already_is_not_waited_for_again(
    monitoring: Monitoring, watch: AlertWatch
) -> None:
    """Seconds without an alert before the call count; an alert in them does not."""
    lasting = 2.0
    began = time.monotonic()
    watch.wait_quiet(lasting=lasting, within=WITHIN)
    assert time.monotonic() - began > lasting - 1, "nobody watched before"
    called = time.monotonic()
    assert watch.wait_quiet(lasting=lasting, within=WITHIN) >= called
    assert time.monotonic() - called < 1
    with monitoring.condition("Loud") as of:
        watch.wait(of, "firing", since=0, within=WITHIN)
    with pytest.raises(DeadlineError, match="Loud"):
        watch.wait_quiet(lasting=WITHIN, within=1)


def test_a_late_page_breaks_the_quiet(watch: AlertWatch) -> None:
    """A page of an alert that is no longer held counts against the window it comes in."""
    host, port = watch.alertmanager.webhook()
    page = {"alerts": [{"labels": {"alertname": "Late"}, "status": "firing"}]}
    late = threading.Timer(0.5, requests.post, (f"http://{host}:{port}/pager",), {"json": page})
    late.start()
    with pytest.raises(DeadlineError, match="Late paged"):
        watch.quiet(lasting=WITHIN)
    late.join()
    watch.quiet(lasting=0.3)


def test_budgets_are_the_sum_of_the_intervals_that_run(watch: AlertWatch) -> None:
    """The bound and its arithmetic come from the rule and the configuration in force."""
    fires, resolves = alerting.fires(watch.path("Bound")), alerting.resolves(watch.path("Bound"))
    assert fires.limit == pytest.approx(0.25 + 0.2 + 0.2 + 0.1 + 5)
    assert fires.because.startswith("scrape 0.25 + evaluation 0.2 + for 0.2 + group_wait 0.1 + ")
    assert resolves.limit == pytest.approx(0.25 + 0.2 + 30 + 0.2 + 5)
    pushed = alerting.resolves(watch.path("Pushed"))
    assert pushed.limit == pytest.approx(2 + 0.25 + 0.2 + 15 + 0.2 + 5)
    assert pushed.because.startswith("push 2 + scrape 0.25 + ")
    with pytest.raises(BrokenEnvironmentError, match="no rule Unknown"):
        watch.path("Unknown")


def test_two_watches_cannot_share_the_pager(watch: AlertWatch) -> None:
    """A webhook address that is taken is an error that names it, not a page that is missed."""
    host, port = watch.alertmanager.webhook()
    with (
        pytest.raises(BrokenEnvironmentError, match=f"{host}:{port}"),
        AlertWatch(watch.prometheus, watch.alertmanager),
    ):
        pass


def test_numbers_come_by_label_and_never_from_nothing(monitoring: Monitoring) -> None:
    """A query returns values by label, or raises that it found no data."""
    client = Prometheus(monitoring.prometheus)
    eventually("a scrape", lambda: _has_data(client, "up == 1"), within=WITHIN)
    assert client.values("up", "job") == {"alive": 1.0, "dead": 0.0}
    with pytest.raises(NoDataError, match="nothing_at_all"):
        client.values("nothing_at_all")
    with pytest.raises(ValueError, match="2 series for 1"):
        client.values("up", "no_such_label")
    with pytest.raises(ValueError, match="refuses"):
        client.values("up{")


def _has_data(client: Prometheus, query: str) -> bool:
    try:
        return bool(client.values(query, "job"))
    except NoDataError:
        return False


def test_series_lie_on_the_clock_of_the_run(monitoring: Monitoring) -> None:
    """Points of a series carry monotonic instants inside the window asked for."""
    client = Prometheus(monitoring.prometheus)
    eventually("a scrape", lambda: _has_data(client, "up == 1"), within=WITHIN)
    now = time.monotonic()
    alive = {"alive": ('up{job="alive"}', "scrapes")}
    (series,) = resource_series(client, alive, now - 5, now)
    assert (series.metric, series.unit) == ("alive", "scrapes")
    assert all(now - 6 <= at <= now + 1 for at, _ in series.points)
    with pytest.raises(NoDataError):
        resource_series(client, {"nothing": ("nothing_at_all", "s")}, now - 5, now)
    (named,) = client.series("", "", 'up{job="alive"}', now - 5, now, legend="job {{job}}{{none}}")
    assert named.member == "job alive"
    with pytest.raises(NoDataError):
        client.series("no number", "", 'up{job="alive"} * NaN', now - 5, now)


def test_a_dead_target_is_named(monitoring: Monitoring) -> None:
    """Of two targets, the one that does not answer is reported, with its error."""
    client = Prometheus(monitoring.prometheus)
    down = eventually(
        "both targets scraped", client.down_targets, lambda d: len(d) == 1, within=WITHIN
    )
    ((target, why),) = down.items()
    assert target.startswith("dead 127.0.0.1:")
    assert "refused" in why


def test_a_dead_target_refuses_the_run(monitoring: Monitoring) -> None:
    """A suite that needs monitoring ends as the environment's fault, and names the target."""
    with pytest.raises(
        BrokenEnvironmentError, match=r"target dead 127\.0\.0\.1:\d+ is down \(.*refused"
    ):
        wait_monitoring_ready(Prometheus(monitoring.prometheus), within=1)


def test_a_watch_without_pages_leaves_the_pager_alone(
    monitoring: Monitoring, watch: AlertWatch
) -> None:
    """A second watch that receives no pages sees the alert, from what it held to what came."""
    with (
        AlertWatch(watch.prometheus, watch.alertmanager, pages=False) as second,
        monitoring.condition("Loud") as of,
    ):
        since = time.monotonic()
        # Alertmanager is asked after Prometheus, so it may be ahead by one look.
        assert second.wait(of, "alertmanager", since=since, within=WITHIN) is not None
        assert second.wait(of, "firing", since=since, within=WITHIN) is not None
        assert second.held(time.monotonic()) == ("Loud",)
        assert second.held(since - 60) == ()
        assert second.raised(since) == (of,)
        assert second.when(of, "paged", since) is None
        (came,) = seen(second, since, since)
        assert (came.alert, came.severity, came.member) == ("Loud", "warning", "")
        assert came.firing is not None
        assert came.alertmanager is not None
        assert 0 < came.firing <= came.alertmanager + LOOKS


def test_a_fault_waits_for_the_calm_after_an_old_alert(
    monitoring: Monitoring, watch: AlertWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An alert that has just ended, or that stays, delays the next fault; no other does."""
    monkeypatch.setattr(detection, "CALM", 1.0)
    bound = Budget(name="fault to alert", limit=1, unit="s", better="lower", because="unit")
    with monitoring.condition("Loud") as of:
        assert watch.wait(of, "firing", since=0, within=WITHIN) is not None
        detection.AlertObserver(watch, "fault", {"Brief": bound}).settle()
        monkeypatch.setattr(detection, "OLD_ALERTS_GONE", 0.5)
        with pytest.raises(DeadlineError, match="Loud firing"):
            detection.AlertObserver(watch, "fault", {"Loud": bound}).settle()
    monkeypatch.setattr(detection, "OLD_ALERTS_GONE", WITHIN)
    detection.AlertObserver(watch, "fault", {"Loud": bound}).settle()
    now = time.monotonic()
    assert watch.held(now) == watch.held(now - 0.5) == ()


@pytest.mark.parametrize(
    ("query", "memory"),
    [
        ("up == 0", 0),
        ("changes(up[30s]) > 0 or sum(up[1m30s]) > 1", 90),
        ("rate(bad[1m]) > 1 and rate(bad[15s]) > 1", 15),
        ("rate(bad[1m]) > 1 and rate(bad[15s]) > 1 or up[20s] == 0", 20),
    ],
)
def test_what_an_alert_remembers(query: str, memory: float) -> None:
    """An alert stays true for its longest window; with `and`, until the first window is over."""
    assert AlertRule("A", "info", query, 0, 1, "ok").memory == memory


def test_an_unreachable_source_is_the_environments_fault() -> None:
    """Neither client retries; both name the address that does not answer."""
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(BrokenEnvironmentError, match=url):
        Prometheus(url).values("up")
    with pytest.raises(BrokenEnvironmentError, match=url):
        Prometheus(url).alerts()
    with pytest.raises(BrokenEnvironmentError, match=url):
        Alertmanager(url)


@pytest.mark.parametrize(
    ("text", "seconds"), [("2s", 2.0), ("1500ms", 1.5), ("1m30s", 90.0), ("1h", 3600.0)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    """A Prometheus duration becomes seconds."""
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "s", "2 s", "-1s", "1y!"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Anything else is an error, never a guess."""
    with pytest.raises(ValueError, match="no duration"):
        duration(text)
