"""A Prometheus and an Alertmanager of the user's: who of theirs would be paged."""

import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import requests

from pgdrill.drills.failover import DrillContext, observe_alerts
from pgdrill.errors import BadUsageError, BrokenEnvironmentError
from pgdrill.faults.catalogue import FAULTS, KUBE
from pgdrill.observe.access import OURS, Access
from pgdrill.observe.alerts import AlertWatch
from pgdrill.observe.existing import monitoring_of
from pgdrill.observe.prometheus import DEFAULT_SCRAPE, Prometheus
from pgdrill.platforms.existing.needs import of_monitoring
from pgdrill.platforms.existing.platform import ExistingPlatform
from pgdrill.platforms.select import choose
from pgdrill.settings import Settings, resolve
from tests.servers import free_port, self_signed, serving
from tests.unit.fake_run import trial
from tests.unit.monitoring_pair import WITHIN, Monitoring, running

pytestmark = pytest.mark.unit

TOKEN = "s3cret-of-theirs"


@dataclass
class Door:
    """What stands before the pair: https, a client certificate, and a token, all demanded."""

    pair: Monitoring
    urls: tuple[str, str]
    files: Path
    token: str = TOKEN

    def asked(self, **words: str) -> Settings:
        """The settings of a command that names everything, but for what is changed or ''."""
        named = {
            "platform": "kube",
            "prometheus_url": self.urls[0],
            "alertmanager_url": self.urls[1],
            "monitoring_token": str(self.files / "token"),
            "monitoring_cert": str(self.files / "pem"),
            "monitoring_ca": str(self.files / "authority"),
            "monitoring_labels": "name=Brief",
            "alert": "primary_kill=Brief",
        }
        given = {key: value for key, value in (named | words).items() if value}
        return resolve(given, {}, Path("/nowhere"))


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """The pair behind it."""
    at = tmp_path_factory.mktemp("door")
    authority, key = self_signed(at)
    (at / "pem").write_text(authority.read_text() + key.read_text())
    (at / "token").write_text(f"{TOKEN}\n")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority, key)
    tls.load_verify_locations(authority)
    tls.verify_mode = ssl.CERT_REQUIRED
    with running(at) as pair:
        found = Door(pair, ("", ""), at)
        with (
            serving(_forwards(pair.prometheus, found), tls) as prometheus,
            serving(_forwards(pair.alertmanager, found), tls) as alertmanager,
        ):
            found.urls = (prometheus, alertmanager)
            yield found


def _forwards(url: str, door: Door) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Authorization") == f"Bearer {door.token}":
                answer = requests.get(url + self.path, timeout=5)
                self.send_response(answer.status_code)
                self.end_headers()
                self.wfile.write(answer.content)
            else:
                self.send_error(401)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    return Handler


def test_credentials_are_sent_and_a_renewed_token_is_read(door: Door) -> None:
    """Each of the three that is missing is refused in one line, with the options that give it."""
    theirs = monitoring_of(door.asked())
    assert theirs
    theirs.demand()
    for missing, why in (
        ("monitoring_token", "401 Unauthorized"),
        ("monitoring_cert", "Error"),
        ("monitoring_ca", "SSLError"),
    ):
        with pytest.raises(BrokenEnvironmentError, match=why) as refused:
            monitoring_of(door.asked(**{missing: ""}))
        said = str(refused.value)
        assert "\n" not in said
        assert "--monitoring-token" in said
        assert TOKEN not in said
    door.token = "renewed"
    try:
        with pytest.raises(BrokenEnvironmentError, match="401 Unauthorized"):
            theirs.prometheus.alerts()
        (door.files / "token").write_text("renewed\n")
        theirs.prometheus.alerts()
    finally:
        door.token = TOKEN
        (door.files / "token").write_text(f"{TOKEN}\n")


def test_an_alert_of_something_else_is_not_seen(door: Door) -> None:
    """Of two alerts that fire, only the one with the database's labels counts."""
    theirs = monitoring_of(door.asked())
    assert theirs
    watch = AlertWatch(theirs.prometheus, theirs.alertmanager, pages=False)
    with watch, door.pair.condition("Loud"), door.pair.condition("Brief") as of:
        assert watch.wait(of, "alertmanager", since=0, within=WITHIN) is not None
        all_of_them = Prometheus(door.pair.prometheus)
        assert {one.name for one in all_of_them.alerts()} == {"Brief", "Loud"}
        assert watch.raised(0) == (of,)


def test_an_alert_without_the_label_is_of_the_database_too() -> None:
    """A rule that counts may have dropped it; a target has to carry it."""
    access = Access(labels={"namespace": "orders"})
    assert access.concerns({"alertname": "Few"})
    assert access.concerns({"namespace": "orders"})
    assert not access.concerns({"namespace": "billing"})
    assert not access.names({"job": "node"})
    assert access.names({"namespace": "orders", "job": "pg"})
    assert OURS.concerns({"namespace": "billing"})


def test_the_limit_follows_their_own_intervals(door: Door) -> None:
    """Their rule's, and the scrapes of targets with the database's labels; by default a minute."""
    alive = Access(labels={"job": "alive"})
    assert Prometheus(door.pair.prometheus, alive).scrape_interval() == 0.25
    none = Access(labels={"job": "none"})
    assert Prometheus(door.pair.prometheus, none).scrape_interval() == DEFAULT_SCRAPE


@pytest.mark.parametrize("fires", [True, False])
def test_a_drill_waits_for_their_alert(door: Door, fires: bool) -> None:
    """What [alerts] names must come after the fault; where it does not, the fault was not seen."""
    settings = door.asked(monitoring_labels="job=alive")
    theirs = monitoring_of(settings)
    assert theirs
    engine = SimpleNamespace(name="cnpg", edition=KUBE.edition)
    platform = SimpleNamespace(name="kube", engine=engine, tuning_name=KUBE.timing)
    context = cast(DrillContext, SimpleNamespace(platform=platform, settings=settings))
    with AlertWatch(theirs.prometheus, theirs.alertmanager, pages=False) as watch:
        watch.settle(within=WITHIN)
        observer = observe_alerts(context, FAULTS["primary_kill"], watch)
        assert observer
        assert observer.paths["Brief"].hold == 0.2
        assert observer.promised["Brief"].limit < 10
        hit = trial("primary_kill", 1, 1.0, time.monotonic())
        if fires:
            with door.pair.condition("Brief"):
                found = observer.look(hit, ["Brief"])
            assert [one.alert for one in found.seen] == ["Brief"]
            arrived = found.arrived("Brief")
            assert arrived is not None
            assert 0 < arrived < WITHIN
        else:
            promised = {"Brief": observer.promised["Brief"].model_copy(update={"limit": -9.0})}
            patient = type(observer)(watch, observer.fault, promised)
            assert patient.look(hit, ["Brief"]).arrived("Brief") is None
        unnamed = observe_alerts(context, FAULTS["switchover"], watch)
        assert unnamed
        assert (unnamed.promised, unnamed.excused) == (
            {},
            "[alerts] of pgdrill.toml names none for it",
        )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"alert": "primary_kill=Breif"}, "there is no rule Breif, but Brief"),
        ({"alert": "primary_kill=Elsewhere"}, "there is no rule Elsewhere among its"),
        ({"alert": "primary_kil=Brief"}, r"no fault \(did you mean primary_kill\?\)"),
        ({"alertmanager_url": ""}, "one of the two without --prometheus-url and"),
        ({"prometheus_url": "", "alertmanager_url": ""}, r"\[alerts\] without --prometheus-url"),
        ({"monitoring_token": "/nowhere/token"}, "--monitoring-token=/nowhere/token: cannot be"),
    ],
)
def test_what_cannot_be_watched_is_refused(door: Door, words: dict[str, str], said: str) -> None:
    """A name that is nobody's, half of the two, a file that is not there: one line."""

    def demand() -> None:
        theirs = monitoring_of(door.asked(**words))
        assert theirs
        theirs.demand()

    with pytest.raises((BadUsageError, BrokenEnvironmentError), match=said) as refused:
        demand()
    assert "\n" not in str(refused.value)
    rows = list(of_monitoring(_platform(door.asked(**words))))
    assert [row.there for row in rows] == [False]
    assert not rows[0].optional


def _platform(settings: Settings) -> ExistingPlatform:
    faults: dict[str, Any] = {"primary_kill": None, "switchover": None}
    return cast(ExistingPlatform, SimpleNamespace(settings=settings, faults=faults))


def test_preflight_shows_which_fault_no_alert_is_named_for(door: Door) -> None:
    """With nothing given it is not judged, and said; nothing is missing in either case."""
    rows = list(of_monitoring(_platform(door.asked())))
    assert [(row.there, row.optional) for row in rows] == [
        (True, False),
        (True, False),
        (False, True),
    ]
    assert rows[1].answer == "Brief"
    assert "names none" in rows[2].answer
    nothing = resolve({"platform": "kube"}, {}, Path("/nowhere"))
    (row,) = of_monitoring(_platform(nothing))
    assert (row.there, row.optional) == (False, True)
    assert monitoring_of(nothing) is None


@pytest.mark.parametrize("platform", ["local", "kind"])
def test_a_platform_with_its_own_monitoring_takes_no_other(platform: str) -> None:
    """These options would be ignored there."""
    url = f"http://127.0.0.1:{free_port()}"
    for key in ("prometheus_url", "alertmanager_url"):
        with pytest.raises(BadUsageError, match="is for an existing cluster"):
            choose(resolve({"platform": platform, key: url}, {}, Path("/nowhere")))


def test_the_alerts_of_the_file_are_read(tmp_path: Path) -> None:
    """One name or a list; a pair that is none is refused."""
    file = tmp_path / "pgdrill.toml"
    file.write_text('[alerts]\nprimary_kill = "Down"\nswitchover = ["Moved", "Few"]\n')
    settings = resolve({}, {}, file)
    assert settings.alert.values("switchover") == ("Moved", "Few")
    assert settings.alert.values("primary_kill") == ("Down",)
    assert settings.alert.values("standby_kill") == ()
    with pytest.raises(BadUsageError, match="must be faults with the name of an alert"):
        resolve({"alert": "Down"}, {}, file)
