"""The life of an alert, watched from outside: pending, firing, at Alertmanager, paged, resolved.

An alert of severity info is logged instead: it goes to another receiver and pages nobody.
"""

import errno
import json
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.observe.alertmanager import Alertmanager
from pgdrill.observe.deadman import WATCHDOG, DeadMansSwitch
from pgdrill.observe.load import PUSHED_EVERY, TRANSACTIONS
from pgdrill.observe.prometheus import AlertRule, Prometheus
from pgdrill.records import AlertLife, AlertPath
from pgdrill.waiting import DeadlineError, eventually, throughout

POLL = 0.25  # seconds: the error of every instant that is not a page
BLIND = 5.0  # seconds without an answer after which the absence of an alert proves nothing

Stage = Literal["pending", "firing", "alertmanager", "paged", "logged", "resolved"]


class RunEndedError(Exception):
    """The run ends, so waits for alerts end, too."""


@dataclass(frozen=True)
class Expectation:
    """One alert of one member ('' where the alert is of the whole cluster)."""

    alert: str
    member: str = ""

    def __str__(self) -> str:
        return f"{self.alert}({self.member})" if self.member else self.alert


@dataclass(frozen=True)
class Sighting:
    """The first moment (monotonic seconds) at which an alert was seen in a stage."""

    at: float
    stage: Stage
    of: Expectation


def alert_of(what: str) -> str:
    """Return the name of the alert in 'Name(member) stage', as AlertWatch writes it."""
    return what.partition(" ")[0].partition("(")[0]


class AlertWatch:
    """Polls Prometheus and Alertmanager, and is the receiver of Alertmanager's pages.

    As a context manager: watching ends with the block. pages=False leaves the receiver's address
    alone: nothing is ever seen as paged or resolved.
    """

    def __init__(
        self,
        prometheus: Prometheus,
        alertmanager: Alertmanager,
        tell: Callable[[Sighting], object] = lambda _: None,
        *,
        pages: bool = True,
    ) -> None:
        self.prometheus = prometheus
        self.alertmanager = alertmanager
        self.sightings: list[Sighting] = []
        self.switch = DeadMansSwitch()
        self._tell = tell
        self._active: set[tuple[Stage, Expectation]] = set()
        self._held: list[tuple[float, tuple[str, ...]]] = []  # instant and content of each change
        self._last_look = self._watched_since = time.monotonic()
        self._last_error = ""
        self._given_up = False
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._poller = threading.Thread(target=self._poll, name="alert-watch", daemon=True)
        self._pages = pages
        self._open = ExitStack()

    def __enter__(self) -> "AlertWatch":
        self._look()  # before anything starts: an unreachable source leaves nothing behind
        if self._pages:
            self._open.enter_context(_listening(self.alertmanager.webhook(), self._receive))
        self._poller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._open.close()
        self._poller.join()

    def end_waits(self) -> None:
        """End every wait for an alert, in every thread."""
        self._given_up = True

    def settle(self, *, within: float) -> None:
        """Wait until no alert of earlier events is left.

        Raises:
            DeadlineError: with the alerts that stay.
        """
        eventually("no alert", self.active, lambda seen: not seen, within=within, every=POLL)

    def quiet(self, *, lasting: float, besides: Callable[[], Collection[str]] = frozenset) -> float:
        """Wait until no alert is pending, firing or paged for so long; return when that began.

        besides: names of alerts that may be raised, because another scenario is known to do so.

        Raises:
            DeadlineError: one was.
        """
        began = time.monotonic()

        def noise() -> list[str]:
            known = besides()
            # The page of an alert that is gone everywhere may still be on its way.
            raised = self.active() + self._paged(began)
            return [what for what in raised if alert_of(what) not in known]

        throughout("no alert", noise, lambda seen: not seen, lasting=lasting, every=POLL)
        return began

    def wait_quiet(
        self, *, lasting: float, within: float, besides: Callable[[], Collection[str]] = frozenset
    ) -> float:
        """Wait until there was no alert for so many seconds; return when that window began.

        What was watched before the call counts, but the instant returned is that of the call at the
        earliest: alerts before it are of earlier events. One write on an idle primary makes the lag
        alert pending for one sample: the wait goes on.

        Raises:
            DeadlineError: there was no such window in so many seconds.
        """
        called = time.monotonic()
        eventually(
            f"{lasting:g} s without an alert",
            lambda: self._raised_within(lasting, besides()),
            lambda raised: not raised,
            within=within,
            every=POLL,
        )
        return max(called, time.monotonic() - lasting)

    def active(self) -> list[str]:
        """Return what Prometheus and Alertmanager hold at this moment, readable.

        Raises:
            BrokenEnvironmentError: they have not answered for BLIND seconds.
            RunEndedError: the run ends.
        """
        if self._given_up:
            raise RunEndedError
        blind = time.monotonic() - self._last_look
        if blind > BLIND:
            raise BrokenEnvironmentError(f"no view of alerts for {blind:.0f} s: {self._last_error}")
        with self._lock:
            return sorted(f"{of} {stage}" for stage, of in self._active)

    def held(self, at: float) -> tuple[str, ...]:
        """Return the alerts that Prometheus or Alertmanager held at an instant, in any stage."""
        with self._lock:
            return next((names for since, names in reversed(self._held) if since <= at), ())

    def wait(self, of: Expectation, stage: Stage, *, since: float, within: float) -> float | None:
        """Return when the alert reached a stage after since; None when it did not in time.

        An alert that does not reach it is no error here: the verdict judges it.
        """

        def seen() -> float | None:
            self.active()
            return self.when(of, stage, since)

        try:
            return eventually(f"{of} {stage}", seen, within=within, every=POLL)
        except DeadlineError:
            return None

    def raised(self, since: float) -> tuple[Expectation, ...]:
        """Return every alert that entered a stage after since, the first to do so first."""
        with self._lock:
            seen = [s for s in self.sightings if s.at >= since and s.stage != "resolved"]
        return tuple(dict.fromkeys(s.of for s in sorted(seen, key=lambda s: s.at)))

    def when(self, of: Expectation, stage: Stage, since: float) -> float | None:
        """Return the first instant after since at which the alert was seen in a stage."""
        with self._lock:
            seen = [s.at for s in self.sightings if (s.of, s.stage) == (of, stage)]
        return min((at for at in seen if at >= since), default=None)

    def life(
        self,
        of: Expectation,
        *,
        scenario: str,
        quiet_from: float,
        condition: float,
        healed: float | None,
        healing: float | None = None,
    ) -> AlertLife:
        """Assemble the record of one alert; its condition and healing are the scenario's."""
        rule = self.rule(of.alert)
        paged, logged = (self.when(of, stage, quiet_from) for stage in ("paged", "logged"))
        notified = logged if paged is None else paged
        polled = self.when(of, "alertmanager", quiet_from)
        # A page may come before the poll, or end before it: it is as good a proof.
        arrived = min((at for at in (polled, notified) if at is not None), default=None)
        return AlertLife(
            alert=of.alert,
            severity=rule.severity,
            scenario=scenario,
            scrape=self.prometheus.scrape_interval(),
            evaluation=rule.evaluation,
            hold=rule.hold,
            group_wait=self.alertmanager.group_wait,
            quiet_from=quiet_from,
            condition=condition,
            pending=self.when(of, "pending", quiet_from),
            firing=self.when(of, "firing", quiet_from),
            alertmanager=arrived,
            paged=paged,
            logged=logged,
            healed=healed,
            healing=healing,
            # The page that ends an earlier alert may still be on its way when a scenario begins.
            resolved=notified and self.when(of, "resolved", notified),
        )

    def rule(self, alert: str) -> AlertRule:
        """Return a rule as Prometheus has loaded it.

        Raises:
            BrokenEnvironmentError: Prometheus has no such rule.
        """
        rules = self.prometheus.rules()
        if alert not in rules:
            raise BrokenEnvironmentError(
                f"Prometheus at {self.prometheus.url} has no rule {alert}, only {', '.join(rules)}:"
                " `make down up` loads infra/alerts"
            )
        return rules[alert]

    def last_stage(self, alert: str) -> Literal["paged", "logged"]:
        """Return the last stage of an alert: paged, or logged where its severity is info.

        Raises:
            BrokenEnvironmentError: Prometheus has no such rule.
        """
        return "logged" if self.rule(alert).severity == "info" else "paged"

    def path(self, alert: str) -> AlertPath:
        """Return the delay of each step of an alert on its way to a person, as it runs here.

        Raises:
            BrokenEnvironmentError: Prometheus has no such rule.
        """
        rule = self.rule(alert)
        return AlertPath(
            push=PUSHED_EVERY if TRANSACTIONS in rule.query else 0.0,
            scrape=self.prometheus.scrape_interval(),
            evaluation=rule.evaluation,
            hold=rule.hold,
            memory=rule.memory,
            group_wait=self.alertmanager.group_wait,
            group_interval=self.alertmanager.group_interval,
        )

    def _raised_within(self, last: float, known: Collection[str]) -> list[str]:
        """Return what was raised or paged in the last seconds, readable; known alerts apart.

        Not empty either while nobody has watched for so long.
        """
        since = time.monotonic() - last
        raised = {*self.active(), *self._paged(since), *self.held(since)}
        with self._lock:
            raised |= {name for at, names in self._held if at >= since for name in names}
            blind = self._watched_since > since
        found = sorted(what for what in raised if alert_of(what) not in known)
        return found or (["not watched for so long"] if blind else [])

    def _paged(self, since: float) -> list[str]:
        """Return the pages that were sent after since, readable."""
        with self._lock:
            return sorted(
                f"{s.of} paged" for s in self.sightings if s.at >= since and s.stage == "paged"
            )

    def _poll(self) -> None:
        while not self._stop.wait(POLL):
            try:
                self._look()
            except BrokenEnvironmentError as error:
                self._last_error = str(error)
            if self._pages and self.switch.look():
                self._tell(Sighting(time.monotonic(), "paged", Expectation(WATCHDOG)))

    def _look(self) -> None:
        held: set[tuple[Stage, Expectation]] = {
            ("pending" if a.state == "pending" else "firing", Expectation(a.name, a.member))
            for a in self.prometheus.alerts()
        }
        held |= {("alertmanager", Expectation(*a)) for a in self.alertmanager.alerts()}
        now = time.monotonic()
        with self._lock:
            if now - self._last_look > BLIND:
                self._watched_since = now
            self._last_look = now
            new, self._active = held - self._active, held
            names = tuple(sorted({str(of) for _, of in held}))
            if not self._held or self._held[-1][1] != names:
                self._held.append((now, names))
        for stage, of in sorted(new, key=str):
            self._note(stage, of, now)

    def _receive(self, receiver: str, stage: Stage, of: Expectation) -> None:
        """Take a request to a receiver: the pager, the log, or the watchdog's."""
        if receiver == "watchdog":
            self.switch.heartbeat()
        else:
            self._note("logged" if (receiver, stage) == ("log", "paged") else stage, of)

    def _note(self, stage: Stage, of: Expectation, at: float | None = None) -> None:
        sighting = Sighting(time.monotonic() if at is None else at, stage, of)
        with self._lock:
            self.sightings.append(sighting)
        self._tell(sighting)


@contextmanager
def _listening(
    address: tuple[str, int], receive: Callable[[str, Stage, Expectation], None]
) -> Iterator[None]:
    """Receive pages for the time of the block."""
    server = _pager(address, receive)
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def listening_address(host: str) -> str:
    """Return where to listen for requests to host: there, if it is an address of this machine.

    If not, it is a proxy of a container engine in a virtual machine, which leads to this machine's
    loopback address.
    """
    with socket.socket() as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                return "127.0.0.1"
    return host


def _pager(
    address: tuple[str, int], receive: Callable[[str, Stage, Expectation], None]
) -> ThreadingHTTPServer:
    """Listen for Alertmanager's webhook.

    Raises:
        BrokenEnvironmentError: the address is taken or not of this machine.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            page = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            for alert in page["alerts"]:
                labels = alert["labels"]
                of = Expectation(labels["alertname"], labels.get("member", ""))
                stage: Stage = "paged" if alert["status"] == "firing" else "resolved"
                receive(self.path.strip("/"), stage, of)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing: pages are sightings, not lines on a terminal."""

    host, port = address
    try:
        return ThreadingHTTPServer((listening_address(host), port), Handler)
    except OSError as error:
        raise BrokenEnvironmentError(
            f"cannot receive pages at {host}:{port} ({error.strerror}):"
            " does another alerts suite run?"
        ) from None
