"""A small typed client of Prometheus: numbers, series on the run's clock, targets, rules."""

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import requests
import yaml
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.util import Retry

from pgdrill import timeouts
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.observe.access import OURS, Access, reason
from pgdrill.records import Series

# Jobs that no alert reads (tests/unit/test_rules.py): they may be scraped slowly.
UNALERTED = {"kubelet", "prometheus", "alertmanager"}
DEFAULT_SCRAPE = 60.0  # seconds: Prometheus's own scrape_interval
MOST_POINTS = 10_000  # of a series; Prometheus refuses more than 11,000


class NoDataError(AssertionError):
    """A query found no series: missing data never passes."""


@dataclass(frozen=True)
class AlertRule:
    """An alert rule as Prometheus runs it; durations in seconds."""

    name: str
    severity: str
    query: str
    hold: float
    evaluation: float
    health: str  # ok, unknown (never evaluated), err

    @property
    def memory(self) -> float:
        """Seconds that the expression looks back: it stays true for that long after the fact.

        Of conditions joined by `and`, the shortest memory ends it (`or` binds weaker; no
        rule here puts one inside the other).
        """
        return max(
            min(_looks_back(part) for part in re.split(r"\band\b", either))
            for either in re.split(r"\bor\b", self.query)
        )


def _looks_back(expression: str) -> float:
    """Return the longest window of an expression in seconds, 0 where it has none."""
    return max(map(duration, re.findall(r"\[(\w+)\]", expression)), default=0.0)


@dataclass(frozen=True)
class ActiveAlert:
    """An alert that is pending or firing at one moment."""

    name: str
    member: str  # '' where the alert is of the whole cluster
    state: str

    def __str__(self) -> str:
        return f"{self.name}({self.member}) is {self.state}"


@dataclass(frozen=True)
class Samples:
    """One series as it was scraped: labels, and (Unix time of the scrape, value)."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Labelled:
    """One series at one moment."""

    name: str
    labels: Mapping[str, str]  # without its name
    value: float

    @property
    def pod(self) -> str:
        """The pod that it is of, '' where it is of none."""
        return self.labels.get("pod", "")

    @property
    def key(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """What is the same for the same series of another pod."""
        same = (one for one in self.labels.items() if one[0] not in ("pod", "instance"))
        return self.name, tuple(sorted(same))


class Prometheus:
    """Reads one Prometheus; no retries, so that an outage is seen as one."""

    def __init__(self, url: str, access: Access = OURS) -> None:
        self.url = url.rstrip("/")
        self._access = access
        self._session = access.session()
        self._client = PrometheusConnect(
            self.url,
            session=self._session,
            retry=Retry(0),
            timeout=timeouts.PROMETHEUS_ANSWERS,
        )

    def values(
        self, query: str, label: str = "member", at: float | None = None
    ) -> dict[str, float]:
        """Evaluate a query: value by label ('' for a series without that label).

        at is Unix time; None means now.

        Raises:
            NoDataError: the query finds nothing.
            ValueError: two series have the same label value.
        """
        instant = None if at is None else {"time": f"{at:.3f}"}
        rows = self._ask(self._client.custom_query, query, instant)
        if not rows:
            raise NoDataError(f"no data for {query}")
        found = {row["metric"].get(label, ""): float(row["value"][1]) for row in rows}
        if len(found) != len(rows):
            raise ValueError(f"{query} gives {len(rows)} series for {len(found)} of '{label}'")
        return found

    def series(
        self,
        metric: str,
        unit: str,
        query: str,
        start: float,
        end: float,
        legend: str = "{{member}}",
    ) -> list[Series]:
        """Evaluate a query over [start, end] of the monotonic clock, one point a scrape.

        In the legend, which names each series, {{label}} is replaced by the label's value.
        Queries use whole seconds, so the points may begin and end half a second off.
        A point that is no number (the percentile of no transactions) is left out.

        Raises:
            NoDataError: the query finds nothing.
        """
        wall = time.time() - time.monotonic()
        step = max(self.scrape_interval(), (end - start) / MOST_POINTS)
        rows = self._ask(
            self._client.custom_query_range,
            query,
            datetime.fromtimestamp(start + wall, UTC),
            datetime.fromtimestamp(end + wall, UTC),
            f"{step:g}",
        )
        found = [
            Series(
                metric=metric,
                unit=unit,
                member=_named(legend, row["metric"]),
                points=tuple(
                    (round(at - wall, 3), float(value))
                    for at, value in row["values"]
                    if math.isfinite(float(value))
                ),
            )
            for row in rows
        ]
        if not any(one.points for one in found):
            raise NoDataError(f"no data from {end - start:.0f} s of {query}")
        return [one for one in found if one.points]

    def samples(self, selector: str, start: float, end: float) -> list[Samples]:
        """Return the raw samples in [start, end] of Unix time.

        Raises:
            NoDataError: nothing was.
        """
        window = max(1, round(1000 * (end - start)))  # ms; an empty one is a syntax error
        query, instant = f"{selector}[{window}ms]", {"time": f"{end:.3f}"}
        rows = self._ask(self._client.custom_query, query, instant)
        if not rows:
            raise NoDataError(f"no data from {end - start:.0f} s of {selector}")
        return [
            Samples(row["metric"], tuple((float(at), float(value)) for at, value in row["values"]))
            for row in rows
        ]

    def everything(self) -> list[Labelled]:
        """Return every series of the database at this moment, by the labels that it has.

        Raises:
            NoDataError: there is none.
        """
        wanted = ",".join(f'{name}="{value}"' for name, value in self._access.labels.items())
        rows = self._ask(self._client.custom_query, f"{{{wanted}}}")
        if not rows:
            raise NoDataError(f"no series at {self.url} has {wanted}")
        return [
            Labelled(
                row["metric"]["__name__"],
                {name: value for name, value in row["metric"].items() if name != "__name__"},
                float(row["value"][1]),
            )
            for row in rows
            if "__name__" in row["metric"]
        ]

    def groups(self) -> list[dict[str, Any]]:
        """Return every group of rules, recording ones too, as the API lists them."""
        return list(self._get("/api/v1/rules")["groups"])

    def down_targets(self) -> dict[str, str]:
        """Return the targets that do not answer: 'job address' -> last error."""
        targets = self._ask(self._client.get_targets, "active")["activeTargets"]
        if not targets:
            raise NoDataError(f"{self.url} scrapes nothing")
        return {
            f"{t['labels']['job']} {t['labels']['instance']}": t["lastError"] or t["health"]
            for t in targets
            if t["health"] != "up"
        }

    def rules(self) -> dict[str, AlertRule]:
        """Return alert rules by name, as they are loaded and evaluated at this moment.

        Of several with one name, as others have them for each severity, the first to fire.
        """
        found = [
            AlertRule(
                name=rule["name"],
                severity=rule["labels"].get("severity", ""),
                query=rule["query"],
                hold=float(rule["duration"]),
                evaluation=float(group["interval"]),
                health=rule["health"],
            )
            for group in self._get("/api/v1/rules?type=alert")["groups"]
            for rule in group["rules"]
        ]
        soonest: dict[str, AlertRule] = {}
        for rule in found:
            other = soonest.get(rule.name, rule)
            soonest[rule.name] = min(rule, other, key=lambda one: one.hold + one.evaluation)
        return soonest

    def alerts(self) -> list[ActiveAlert]:
        """Return every alert that is pending or firing, except the watchdog."""
        return [
            ActiveAlert(a["labels"]["alertname"], a["labels"].get("member", ""), a["state"])
            for a in self._get("/api/v1/alerts")["alerts"]
            if self._access.concerns(a["labels"])
        ]

    def scrape_interval(self) -> float:
        """Seconds between scrapes, from the loaded configuration.

        Of the jobs that alerts read, the slowest counts. In a Prometheus of others, whose
        configuration may not be shown, it is the slowest of the targets with the database's labels.
        """
        if self._access is not OURS:
            return self._slowest_target()
        config = yaml.safe_load(self._get("/api/v1/status/config")["yaml"])
        default = config["global"]["scrape_interval"]
        jobs = config.get("scrape_configs", [])
        return max(
            duration(job.get("scrape_interval", default))
            for job in jobs
            if not UNALERTED & set(job["job_name"].split("/"))
        )

    def _slowest_target(self) -> float:
        targets = self._get("/api/v1/targets?state=active")["activeTargets"]
        intervals = [t.get("scrapeInterval") for t in targets if self._access.names(t["labels"])]
        return max(map(duration, filter(None, intervals)), default=DEFAULT_SCRAPE)

    def _get(self, path: str) -> Any:  # noqa: ANN401  # JSON
        def ask() -> Any:  # noqa: ANN401  # JSON
            # The library supports neither rules nor alerts nor the configuration. A variable of
            # the environment would replace an authority that is not given for each request.
            answer = self._session.get(
                self.url + path,
                timeout=timeouts.PROMETHEUS_ANSWERS,
                verify=self._session.verify,
            )
            answer.raise_for_status()
            return answer.json()["data"]

        return self._ask(ask)

    def _ask(self, call: Any, *arguments: object) -> Any:  # noqa: ANN401  # untyped library
        try:
            return call(*arguments)
        except requests.RequestException as error:
            raise BrokenEnvironmentError(
                f"Prometheus at {self.url} does not answer ({reason(error)}): {self._access.remedy}"
            ) from error
        except PrometheusApiClientException as error:
            raise ValueError(f"Prometheus refuses {arguments[0]}: {error}") from None


def duration(text: str) -> float:
    """Seconds of a Prometheus duration such as 1m30s or 1500ms.

    Raises:
        ValueError: it is not a duration.
    """
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    units |= {"w": 7 * units["d"], "y": 365 * units["d"]}
    parts = re.findall(r"(\d+)(ms|[smhdwy])", text)
    if "".join(n + unit for n, unit in parts) != text or not parts:
        raise ValueError(f"'{text}' is no duration")
    return sum(float(n) * units[unit] for n, unit in parts)


def resource_series(
    client: Prometheus, metrics: Mapping[str, tuple[str, str]], start: float, end: float
) -> list[Series]:
    """Return metrics over [start, end] of the monotonic clock; each has a query and a unit.

    Raises:
        NoDataError: a metric has no data.
    """
    found: list[Series] = []
    for name, (query, unit) in metrics.items():
        found += client.series(name, unit, query, start, end)
    return found


def _named(legend: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda label: labels.get(label[1], ""), legend)
