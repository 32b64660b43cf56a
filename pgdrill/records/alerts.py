"""The life of an alert, and which alerts saw a fault."""

from typing import Literal

from pydantic import Field

from pgdrill.records.base import Record


class AlertPath(Record):
    """The delay of each step of an alert on its way to a person, seconds; as it runs here."""

    push: float  # until its metrics are at a gateway; 0 where they are scraped at their source
    scrape: float
    evaluation: float
    hold: float  # the rule's `for`
    memory: float  # how far back its expression looks: it stays true that long after the fact
    group_wait: float
    group_interval: float


class AlertLife(Record, file="alerts.jsonl"):
    """One alert's life, each stage an instant on the run's clock (None: never seen)."""

    alert: str
    severity: str
    scenario: str
    scrape: float
    evaluation: float
    hold: float  # the rule's `for`
    group_wait: float
    quiet_from: float
    condition: float | None
    pending: float | None
    firing: float | None
    alertmanager: float | None
    paged: float | None
    logged: float | None = None  # severity info goes to the log and pages nobody
    healed: float | None  # when its reason was seen to be gone
    healing: float | None = None  # when the healing began; None: at that instant, or an older run
    resolved: float | None
    member: str = ""  # the member that the alert is about; '' for the cluster
    path: AlertPath | None = None  # None: the run is older than this and the two below
    ended: float = 0.0  # when the watch over it did
    doubt: str = ""  # why none of it is evidence, where that is so


class Seen(Record):
    """One alert after a fault: seconds from it to each stage (None: never reached)."""

    alert: str
    member: str  # '' where the alert is of the whole cluster
    severity: str
    pending: float | None
    firing: float | None
    alertmanager: float | None


class Detection(Record, file="detections.jsonl"):
    """The alerts of one fault: every alert that came after it, expected or not."""

    suite: Literal["chaos", "alerts"]
    fault: str  # its name in the chaos suite, the scenario's words in the alerts suite
    trial: int
    target: str
    at: float  # what the seconds count from: the injection, or (alerts) the condition
    expected: tuple[str, ...]
    excused: str  # why no alert need see it; '' where one must
    before: tuple[str, ...]  # raised when the fault came: not evidence either way
    seen: tuple[Seen, ...]
    paths: dict[str, AlertPath] = Field(
        default_factory=dict
    )  # of the alerts that must see the fault; none in older runs

    def arrived(self, alert: str) -> float | None:
        """Seconds until an alert about this target reached Alertmanager; None: never."""
        about = [s for s in self.seen if s.alert == alert and s.member in ("", self.target)]
        return min((s.alertmanager for s in about if s.alertmanager is not None), default=None)

    def was_raised(self, alert: str) -> bool:
        """Whether that alert, about this target or the cluster, was raised when the fault came."""
        return not {alert, f"{alert}({self.target})"}.isdisjoint(self.before)
