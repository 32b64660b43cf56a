"""Detection of a fault: the alerts that came after it, each stage in seconds."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from pgdrill.observe.alerts import POLL, AlertWatch, Expectation, Stage, alert_of
from pgdrill.records import AlertPath, Budget, Detection, Seen, Trial
from pgdrill.waiting import DeadlineError, eventually

OLD_ALERTS_GONE = 90.0  # seconds; PgFailoverHappened looks back 30
# Seconds without them before a fault: a late alert of an earlier fault must not count for this one.
CALM = 5.0
LATER = 10.0  # seconds beyond what is allowed, so that a late alert is measured


def seen(watch: AlertWatch, since: float, zero: float) -> tuple[Seen, ...]:
    """Return every alert that was raised after since, its stages in seconds after zero."""
    rules = watch.prometheus.rules()

    def after(of: Expectation, stage: Stage) -> float | None:
        at = watch.when(of, stage, since)
        return None if at is None else at - zero

    def one(of: Expectation) -> Seen:
        firing, arrived = after(of, "firing"), after(of, "alertmanager")
        if firing is not None and arrived is not None:
            firing = min(firing, arrived)  # each poll reads Prometheus first, then Alertmanager
        return Seen(
            alert=of.alert,
            member=of.member,
            severity=rules[of.alert].severity if of.alert in rules else "",
            pending=after(of, "pending"),
            firing=firing,
            alertmanager=arrived,
        )

    return tuple(map(one, watch.raised(since)))


@dataclass(frozen=True)
class AlertObserver:
    """Records the alerts during the trials of one fault."""

    watch: AlertWatch
    fault: str
    promised: Mapping[str, Budget]  # alerts that must come: seconds after the fault
    excused: str = ""
    paths: Mapping[str, AlertPath] = field(default_factory=dict)  # of those alerts

    def settle(self) -> None:
        """Wait until no alert that must see the fault is left of earlier events.

        Raises:
            DeadlineError: with what stays.
        """
        noisy = time.monotonic()

        def left() -> list[str]:
            nonlocal noisy
            now, names = time.monotonic(), tuple(self.promised)
            raised = [what for what in self.watch.active() if alert_of(what) in names]
            noisy = now if raised else noisy
            return raised or (["too short a calm"] if now - noisy < CALM else [])

        looked_back = [path.memory for path in self.paths.values()]
        if self.promised:
            eventually(
                "no alert of before",
                left,
                lambda names: not names,
                within=OLD_ALERTS_GONE + max(looked_back, default=0.0),
                every=POLL,
            )

    def look(self, trial: Trial, due: Sequence[str], unmoved: str = "") -> Detection:
        """Wait for the alerts that a trial must raise, within their limits; keep all that came.

        due: the promised alerts of this trial; unmoved: the reason where there are none.

        Raises:
            BrokenEnvironmentError: Prometheus or Alertmanager does not answer.
        """
        before = self.watch.held(trial.injected_at)
        for alert in due:
            either = [Expectation(alert), Expectation(alert, trial.target)]
            if not any(name in before for name in map(str, either)):
                left = trial.injected_at + self.promised[alert].limit + LATER - time.monotonic()
                self._wait(either, trial.injected_at, max(0.0, left))
        self.watch.active()  # raises without a view: no alert would prove nothing
        return Detection(
            suite="chaos",
            fault=self.fault,
            trial=trial.number,
            target=trial.target,
            at=trial.injected_at,
            expected=tuple(due),
            excused=self.excused or ("" if due else unmoved),
            before=before,
            paths=dict(self.paths),
            seen=seen(self.watch, trial.injected_at, trial.injected_at),
        )

    def _wait(self, either: list[Expectation], since: float, within: float) -> None:
        with suppress(DeadlineError):  # the verdict reports it
            eventually(
                f"{either[0]} at Alertmanager",
                lambda: [of for of in either if self.watch.when(of, "alertmanager", since)],
                within=within,
                every=POLL,
            )
