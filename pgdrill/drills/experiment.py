"""Running a chaostoolkit experiment so that its result can be believed.

chaostoolkit calls a run `completed` when an action failed or hit nothing, and swallows Ctrl-C; here
every activity must have succeeded, the journal is kept, and faults are healed whatever happens.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from chaoslib.experiment import ensure_experiment_is_valid, run_experiment
from chaoslib.types import Strategy

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.faults.base import FaultNotRealError, healing
from pgdrill.platforms.base import Platform


@dataclass(frozen=True)
class Experiment:
    """A valid experiment file and the one fault it injects."""

    name: str
    fault: str
    spec: Mapping[str, Any]


@dataclass(frozen=True)
class Journal:
    """What chaostoolkit wrote down, after it was checked."""

    target: str
    injected_at: float
    healed_at: float
    evidence: str


def load(file: Path) -> Experiment:
    """Read and validate an experiment file.

    Raises:
        chaoslib.exceptions.InvalidExperiment: it is none.
        ValueError: it does not inject exactly one fault, or does not heal it in its rollbacks.
    """
    spec = yaml.safe_load(file.read_text())
    ensure_experiment_is_valid(spec)
    injected = [_fault(a) for a in spec["method"] if a["provider"]["func"] == "inject"]
    healed = [_fault(a) for a in spec["rollbacks"] if a["provider"]["func"] == "heal"]
    if len(injected) != 1 or healed != injected:
        raise ValueError(f"{file}: must inject one fault and heal it, has {injected} and {healed}")
    return Experiment(file.stem, injected[0], spec)


def _fault(activity: Mapping[str, Any]) -> str:
    return str(activity["provider"]["arguments"]["fault"])


def run(experiment: Experiment, platform: Platform, journal_file: Path) -> Journal:
    """Run the experiment in this (the main) thread; heal its fault in any case.

    Raises:
        FaultNotRealError: an activity failed, or the fault hit nothing.
        KeyboardInterrupt: Ctrl-C, after the fault was healed.
    """
    if experiment.fault not in platform.faults:
        raise BrokenEnvironmentError(f"{platform.name} knows no fault {experiment.fault}")
    with healing(platform.faults[experiment.fault]):
        raw = run_experiment(
            dict(experiment.spec),
            settings={"runtime": {"rollbacks": {"strategy": "always"}}},
            strategy=Strategy.DEFAULT,
        )
    journal_file.parent.mkdir(parents=True, exist_ok=True)
    journal_file.write_text(json.dumps(raw, indent=1, default=str) + "\n")
    if raw["status"] in ("interrupted", "aborted"):
        raise KeyboardInterrupt
    return check(raw)


def check(raw: Mapping[str, Any]) -> Journal:
    """Believe a journal only when everything in it succeeded and it names the member hit.

    A steady state that did not come back is believed: it is what the fault did, and the verdicts
    on the prober's attempts judge it.

    Raises:
        FaultNotRealError: it does not.
    """
    before = raw.get("steady_states", {}).get("before") or {}
    if not before.get("steady_state_met"):
        raise FaultNotRealError(f"no steady state before the fault: {_story(before)}")
    for activity in [*raw["run"], *raw["rollbacks"]]:
        if activity["status"] != "succeeded":
            raise FaultNotRealError(f"{activity['activity']['name']} failed: {_story(activity)}")
    if raw["status"] != "completed" or not raw["steady_states"].get("after"):
        raise FaultNotRealError(f"the experiment is {raw['status']}, not looked at to its end")
    outputs = {a["activity"]["provider"]["func"]: a["output"] for a in raw["run"]}
    healed = {a["activity"]["provider"]["func"]: a["output"] for a in raw["rollbacks"]}
    hit = outputs.get("inject") or {}
    if not hit.get("member") or not outputs.get("verify_injected"):
        raise FaultNotRealError(f"the journal names no member that was hit: {outputs}")
    return Journal(
        target=hit["member"],
        injected_at=hit["at"],
        healed_at=healed["heal"]["at"],
        evidence=outputs["verify_injected"],
    )


def _story(part: Mapping[str, Any]) -> str:
    exception = part.get("exception") or []
    text = exception[-1] if isinstance(exception, list) and exception else part
    return " ".join(str(text).split())[:600]
