"""The monitoring of a user's own cluster: who of *theirs* would be paged."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from pgdrill.errors import BadUsageError, BrokenEnvironmentError
from pgdrill.faults.catalogue import FAULTS
from pgdrill.observe.access import Access
from pgdrill.observe.alertmanager import Alertmanager
from pgdrill.observe.prometheus import AlertRule, Prometheus
from pgdrill.settings import BY_KEY, Settings, read_file

FILES = ("monitoring_token", "monitoring_cert", "monitoring_ca")


@dataclass(frozen=True)
class Monitoring:
    """A Prometheus and an Alertmanager of the user's, and the alerts that must see each fault."""

    prometheus: Prometheus
    alertmanager: Alertmanager
    named: Mapping[str, tuple[str, ...]]

    def demand(self) -> Mapping[str, AlertRule]:
        """Return the rules by name; every alert that is named is one of them, and works.

        Raises:
            BrokenEnvironmentError: Prometheus does not answer, or with each alert that is not.
        """
        rules = self.prometheus.rules()
        wrong = list(self._complaints(rules))
        if wrong:
            raise BrokenEnvironmentError(
                f"[alerts] names what Prometheus at {self.prometheus.url} cannot tell:"
                f" {'; '.join(wrong)}"
            )
        return rules

    def _complaints(self, rules: Mapping[str, AlertRule]) -> Iterator[str]:
        for alert in sorted({alert for named in self.named.values() for alert in named}):
            if alert not in rules:
                close = get_close_matches(alert, rules, n=1)
                meant = f", but {close[0]}" if close else f" among its {len(rules)}"
                yield f"there is no rule {alert}{meant}"
            elif rules[alert].health == "err":
                yield f"rule {alert} fails when it is evaluated"


def monitoring_of(settings: Settings) -> Monitoring | None:
    """Return the monitoring that the settings name; None where they name none.

    Raises:
        BadUsageError: half of it is named, a file cannot be read, or [alerts] names no fault.
        BrokenEnvironmentError: Alertmanager does not answer.
    """
    named = named_alerts(settings)
    urls = (settings.prometheus_url, settings.alertmanager_url)
    if not all(urls):
        if any(urls) or named:
            given = "[alerts]" if not any(urls) else "one of the two"
            raise BadUsageError(
                f"{given} without --prometheus-url and --alertmanager-url: an alert has to fire in"
                " the first and arrive at the second, or nobody is paged"
            )
        return None
    token, certificate, ca = (_readable(settings, key) for key in FILES)
    access = Access(
        token,
        certificate,
        ca,
        labels=dict(settings.monitoring_labels.pairs) or _default_labels(settings),
        remedy="check its address, --monitoring-token, --monitoring-cert and --monitoring-ca",
    )
    return Monitoring(Prometheus(urls[0], access), Alertmanager(urls[1], access), named)


def named_alerts(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Return the alerts that the user names, by fault.

    Raises:
        BadUsageError: there is no such fault.
    """
    faults = dict.fromkeys(fault for fault, _ in settings.alert.pairs)
    for fault in faults:
        if fault not in FAULTS:
            close = get_close_matches(fault, FAULTS, n=1)
            meant = f" (did you mean {close[0]}?)" if close else ""
            raise BadUsageError(
                f"[alerts] names {fault}, which is no fault{meant}: `pgdrill experiment` lists them"
            )
    return {fault: settings.alert.values(fault) for fault in faults}


def _default_labels(settings: Settings) -> dict[str, str]:
    return {"namespace": settings.namespace} if settings.namespace else {}


def _readable(settings: Settings, key: str) -> str:
    file = str(getattr(settings, key))
    if not file:
        return ""
    read_file(file, BY_KEY[key].name)
    return str(Path(file).expanduser())
