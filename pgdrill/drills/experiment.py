"""A fault of the catalogue as a chaostoolkit experiment, whose result is checked.

chaostoolkit reports a run as `completed` even if an action failed or hit nothing, and it ignores
Ctrl-C. Here every activity must succeed, the journal is kept, and faults are healed in any case.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaoslib.experiment import ensure_experiment_is_valid, run_experiment
from chaoslib.types import Strategy

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.faults.base import FaultNotRealError, healing
from pgdrill.faults.catalogue import FaultSpec
from pgdrill.platforms.base import Platform

ACTIVITIES = "pgdrill.drills.activities"
# The probe that an experiment waits in before it heals.
_UNTIL = {"moved": "primary_moved", "replaced": "primary_replaced"}


@dataclass(frozen=True)
class Experiment:
    """A valid experiment and the one fault it injects."""

    name: str
    fault: str
    document: Mapping[str, Any]
    control: bool = False  # a set-up that is bad on purpose


@dataclass(frozen=True)
class Journal:
    """The journal that chaostoolkit wrote, checked."""

    target: str
    injected_at: float
    healed_at: float
    evidence: str


def of(spec: FaultSpec) -> Experiment:
    """Return the experiment of a fault, checked.

    Raises:
        chaoslib.exceptions.InvalidExperiment: it is not valid.
    """
    return _checked(Experiment(spec.name, spec.name, render(spec, spec.name)))


def control_of(spec: FaultSpec, fault: str = "") -> Experiment:
    """Return a fault's experiment as that of a control, perhaps with another fault in its place.

    Raises:
        chaoslib.exceptions.InvalidExperiment: it is not valid.
    """
    injected = fault or spec.name
    document = render(spec, injected)
    return _checked(Experiment(f"control_{injected}", injected, document, control=True))


def _checked(experiment: Experiment) -> Experiment:
    ensure_experiment_is_valid(experiment.document)
    return experiment


def render(spec: FaultSpec, fault: str) -> dict[str, Any]:
    """Return an experiment as `chaos run` reads it: inject, verify, wait where it must, heal.

    The bound of the wait for recovery depends on engine and settings, so no experiment contains it.
    """
    method = [
        _activity("action", "inject", {"fault": fault}),
        _activity("probe", "verify_injected", {"fault": fault}),
    ]
    if spec.lasts:
        # Healed here, too: chaostoolkit looks for a steady state before it plays the rollbacks, and
        # there is none while no client can write.
        method[-1]["pauses"] = {"after": spec.lasts}
        method.append(_activity("action", "heal", {"fault": fault}))
    if spec.healed != "at once":
        method.append(_activity("probe", _UNTIL[spec.healed], {"from_fault": fault}))
    writes = _activity("probe", "accepts_writes")
    return {
        "title": spec.title,
        "description": spec.claim,
        "tags": ["postgresql"],
        "steady-state-hypothesis": {
            "title": "The read-write address accepts writes",
            "probes": [writes | {"tolerance": True}],
        },
        "method": method,
        "rollbacks": [_activity("action", "heal", {"fault": fault})],
    }


def _activity(kind: str, func: str, arguments: Mapping[str, str] | None = None) -> dict[str, Any]:
    provider: dict[str, Any] = {"type": "python", "module": ACTIVITIES, "func": func}
    if arguments:
        provider["arguments"] = dict(arguments)
    return {"type": kind, "name": func.replace("_", "-"), "provider": provider}


def run(experiment: Experiment, platform: Platform, journal_file: Path) -> Journal:
    """Run the experiment in this (the main) thread; heal its fault in any case.

    Raises:
        FaultNotRealError: an activity failed, or the fault hit nothing.
        KeyboardInterrupt: Ctrl-C, after the fault was healed.
    """
    if experiment.fault not in platform.faults:
        raise BrokenEnvironmentError(f"{platform.name} has no fault {experiment.fault}")
    with healing(platform.faults[experiment.fault]):
        raw = run_experiment(
            dict(experiment.document),
            settings={"runtime": {"rollbacks": {"strategy": "always"}}},
            strategy=Strategy.DEFAULT,
        )
    journal_file.parent.mkdir(parents=True, exist_ok=True)
    journal_file.write_text(json.dumps(raw, indent=1, default=str) + "\n")
    if raw["status"] in ("interrupted", "aborted"):
        raise KeyboardInterrupt
    return check(raw)


def check(raw: Mapping[str, Any]) -> Journal:
    """Accept a journal only if everything in it succeeded and it names the member hit.

    A steady state that did not come back is accepted: that is an effect of the fault, and verdicts
    on the prober's attempts judge it.

    Raises:
        FaultNotRealError: it is not accepted.
    """
    before = raw.get("steady_states", {}).get("before") or {}
    if not before.get("steady_state_met"):
        raise FaultNotRealError(f"no steady state before the fault: {_message(before)}")
    activities = [*raw["run"], *raw["rollbacks"]]
    for activity in activities:
        if activity["status"] != "succeeded":
            raise FaultNotRealError(f"{activity['activity']['name']} failed: {_message(activity)}")
    if raw["status"] != "completed" or not raw["steady_states"].get("after"):
        raise FaultNotRealError(f"the experiment is {raw['status']}, without a check at its end")
    outputs = {a["activity"]["provider"]["func"]: a["output"] for a in raw["run"]}
    healed = [
        activity["output"]["at"]
        for activity in activities
        if activity["activity"]["provider"]["func"] == "heal"
    ]
    hit = outputs.get("inject") or {}
    if not hit.get("member") or not outputs.get("verify_injected"):
        raise FaultNotRealError(f"the journal names no member that was hit: {outputs}")
    return Journal(
        target=hit["member"],
        injected_at=hit["at"],
        healed_at=healed[0],
        evidence=outputs["verify_injected"],
    )


def _message(part: Mapping[str, Any]) -> str:
    exception = part.get("exception") or []
    text = exception[-1] if isinstance(exception, list) and exception else part
    return " ".join(str(text).split())[:600]
