"""Which of a user's own alert rules would see a fault: asked of promtool, nothing is broken.

The series that their Prometheus has of the cluster at this moment go on unchanged, except for what
a fault changes in them; then their rules are evaluated as a unit test. What a rule reads besides
(disks, other namespaces) is not there, so an alert may be missed here, and never made up: one that
is raised before the fault is left out.
"""

import math
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.observe.prometheus import Labelled, duration
from pgdrill.observe.rulefiles import defects

BEFORE = 1800.0  # seconds without a fault: the `for` of what is always true is over by then
AFTER = 900.0  # seconds that are looked at after a fault
LOOK = 5.0  # seconds between two looks
LENGTHS = (10, 30, 60, 120, 300)  # seconds that an outage lasts
EVALUATES_WITHIN = 120.0  # seconds; some hundred rules take a few

# What members report of themselves (CloudNativePG's exporter).
STREAMING, RECEIVING = (
    "cnpg_pg_replication_streaming_replicas",
    "cnpg_pg_replication_is_wal_receiver_up",
)
READY = re.compile(r"kube_pod_(container_)?status_ready")
_FIRING = 'count by (alertname) (ALERTS{alertstate="firing"})'
_HELD = "count by (alertname) (ALERTS)"  # pending as well
_FAILED = re.compile(
    r'expr: "(?P<expr>(?:[^"\\]|\\.)*)", time: (?P<time>[0-9hms]+),'
    r"\s*exp:[^\n]*\s*got:(?P<got>.*?)(?=\n\s*expr: |\Z)",
    re.S,
)


@dataclass(frozen=True)
class Outage:
    """A fault of so many seconds: a pod that is gone, and another that becomes primary or ''."""

    name: str
    lost: str
    promoted: str
    lasting: float


@dataclass(frozen=True)
class Seen:
    """The alerts that would fire, each with the seconds from the fault to that."""

    outage: Outage
    alerts: Mapping[str, float]


def outages(primary: str, standbys: Sequence[str]) -> tuple[Outage, ...]:
    """Return the outages that are asked about; of a standby, the first one."""
    first = standbys[0]
    kinds = (("primary lost", primary, first), ("standby lost", first, ""))
    return tuple(Outage(*kind, float(length)) for kind in kinds for length in LENGTHS)


def coverage(
    groups: Sequence[Mapping[str, Any]],
    series: Sequence[Labelled],
    asked: Sequence[Outage],
    step: float,
    promtool: str,
) -> tuple[Seen, ...]:
    """Return what each outage would raise; groups are rules as Prometheus's API lists them.

    Raises:
        BrokenEnvironmentError: promtool does not take the rules, or ends otherwise.
    """
    with TemporaryDirectory(prefix="pgdrill-rules-") as made:
        directory = Path(made)
        (directory / "rules.yaml").write_text(yaml.safe_dump({"groups": list(map(_group, groups))}))
        return tuple(
            Seen(one, _evaluated(directory, shown(series, one, step), step, promtool))
            for one in asked
        )


def shown(series: Sequence[Labelled], outage: Outage, step: float) -> list[dict[str, str]]:
    """Return the series of an outage in promtool's notation: before it, in it, and after it."""
    pods = {_place(one): one.pod for one in series if one.name == "up" and one.pod}
    reported = {(one.key, one.pod): one.value for one in series if _place(one) in pods}
    places = {outage.lost: outage.promoted, outage.promoted: outage.lost} if outage.promoted else {}

    def during(one: Labelled) -> float | None:
        """Return its value while the outage lasts; None where there is none."""
        if pods.get(_place(one)) == outage.lost:
            return None
        if one.pod == outage.lost and READY.fullmatch(one.name):
            return float(one.labels.get("condition", "true") != "true")
        if one.name == STREAMING and one.value:
            return one.value - 1
        return 0.0 if one.name == RECEIVING and outage.promoted else one.value

    def after(one: Labelled) -> float:
        """Return its value once the pod is back: what members report has changed places."""
        other = places.get(pods.get(_place(one), ""), "")
        return reported.get((one.key, other), one.value)

    lost, rest = int(outage.lasting // step), int(AFTER // step)
    return [
        {
            "series": f"{one.name}{{{_labels(one.labels)}}}",
            "values": " ".join(
                (
                    _run(one.value, int(BEFORE // step) + 1),
                    *([_run(during(one), lost)] if lost else []),
                    _run(after(one), rest),
                )
            ),
        }
        for one in series
    ]


def _place(one: Labelled) -> tuple[str, str]:
    """Return the target that a series was scraped from."""
    return one.labels.get("job", ""), one.labels.get("instance", "")


def _labels(labels: Mapping[str, str]) -> str:
    quoted = {
        name: value.replace("\\", r"\\").replace('"', r"\"") for name, value in labels.items()
    }
    return ",".join(f'{name}="{value}"' for name, value in sorted(quoted.items()))


def _run(value: float | None, times: int) -> str:
    """Return so many samples of one value; a series that ends is marked as such."""
    if value is None:
        return "stale" + (f" _x{times - 1}" if times > 1 else "")
    text = "NaN" if math.isnan(value) else f"{value!r}"
    return f"{text}x{times - 1}"


def _group(group: Mapping[str, Any]) -> dict[str, Any]:
    name = f"{group.get('file', '')} {group['name']}"  # which is unique for a file only
    return {"name": name, "rules": list(map(_rule, group["rules"]))}


def _rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    labels = {"labels": dict(rule["labels"])} if rule.get("labels") else {}
    if rule["type"] == "recording":
        return {"record": rule["name"], "expr": rule["query"], **labels}
    held = {"for": f"{int(1000 * float(rule['duration']))}ms"} if rule.get("duration") else {}
    return {"alert": rule["name"], "expr": rule["query"], **held, **labels}


def _evaluated(
    directory: Path, series: list[dict[str, str]], step: float, promtool: str
) -> dict[str, float]:
    looks = [LOOK * number for number in range(1, int(AFTER // LOOK))]
    asked = [{"expr": _HELD, "eval_time": _time(BEFORE), "exp_samples": []}]
    asked += [{"expr": _FIRING, "eval_time": _time(BEFORE + at), "exp_samples": []} for at in looks]
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": _time(LOOK),
        "tests": [
            {"interval": _time(step), "input_series": series, "promql_expr_test": asked}
        ],
    }  # fmt: skip
    (directory / "test.yaml").write_text(yaml.safe_dump(test))
    try:
        ran = subprocess.run(
            [promtool, "test", "rules", "test.yaml"],
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=EVALUATES_WITHIN,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BrokenEnvironmentError(f"{promtool} did not evaluate the rules: {error}") from None
    said = f"{ran.stdout}\n{ran.stderr}"
    answers = list(_answers(said))
    if ran.returncode not in (0, 1) or (ran.returncode and not answers):
        why = next(iter(defects(said)), "")
        raise BrokenEnvironmentError(f"{promtool} does not take the rules: {why}")
    held = {name for expr, _, names in answers if expr == _HELD for name in names}
    firing = sorted((at, name) for expr, at, names in answers if expr == _FIRING for name in names)
    return {name: at - BEFORE for at, name in reversed(firing) if name not in held}


def _answers(said: str) -> Iterator[tuple[str, float, list[str]]]:
    """Yield each expression that had a result, its instant in seconds, and its alerts."""
    for found in _FAILED.finditer(said):
        names = re.findall(r'alertname="([^"]+)"', found["got"])
        yield found["expr"].replace(r"\"", '"'), duration(found["time"]), names


def _time(seconds: float) -> str:
    return f"{round(1000 * seconds)}ms"


def read(rows: Iterable[Labelled], groups: Sequence[Mapping[str, Any]]) -> list[Labelled]:
    """Return the series that the rules read, by name, but for those that they make."""
    rules = [rule for group in groups for rule in group["rules"]]
    words = set(re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", " ".join(r["query"] for r in rules)))
    made = {rule["name"] for rule in rules if rule["type"] == "recording"} | {"ALERTS"}
    return [one for one in rows if one.name in (words | {"up"}) - made]
