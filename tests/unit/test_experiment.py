"""Believing chaostoolkit only when its journal proves that something was hit and undone."""

import copy
from typing import Any

import pytest

from pgdrill.drills import experiment
from pgdrill.faults import base
from pgdrill.faults.base import FaultNotRealError, healing
from pgdrill.faults.catalogue import EVERYWHERE, FAULTS, FaultSpec, Where
from pgdrill.judge import failover

SPECS = pytest.mark.parametrize("spec", FAULTS.values(), ids=FAULTS)


def _activity(func: str, output: object, status: str = "succeeded") -> dict[str, Any]:
    return {
        "activity": {"name": func, "provider": {"func": func}},
        "status": status,
        "output": output,
    }


JOURNAL: dict[str, Any] = {
    "status": "completed",
    "deviated": False,
    "steady_states": {"before": {"steady_state_met": True}, "after": {"steady_state_met": True}},
    "run": [
        _activity("inject", {"member": "pg1", "at": 1.0}),
        _activity("verify_injected", "pg1: 5@1 is gone"),
    ],
    "rollbacks": [_activity("heal", {"at": 2.0, "evidence": "runs"})],
}


@SPECS
def test_every_experiment_is_valid(spec: FaultSpec) -> None:
    """Each fault's experiment is valid chaostoolkit, injects that fault alone and heals it."""
    found = experiment.of(spec)
    assert (found.name, found.fault) == (spec.name, spec.name)
    calls = [
        (activity["provider"]["func"], *activity["provider"]["arguments"].values())
        for activity in [*found.document["method"], *found.document["rollbacks"]]
    ]
    waits = {"moved": ["primary_moved"], "replaced": ["primary_replaced"]}.get(spec.healed, [])
    early = ["heal"] if spec.lasts else []
    assert calls == [
        (func, spec.name) for func in ("inject", "verify_injected", *early, *waits, "heal")
    ]


@SPECS
def test_every_fault_says_what_it_claims(spec: FaultSpec) -> None:
    """A claim is a sentence, and no two faults make the same one."""
    claims = [spec.claim, *(one.claim for one in spec.compared.values())]
    assert all(claim.endswith(".") and claim[0].isupper() for claim in claims)
    everything = [one.claim for one in FAULTS.values()]
    assert len(set(everything)) == len(everything)


@pytest.mark.parametrize("where", EVERYWHERE, ids="-".join)
def test_patience_outlasts_every_promise(where: Where) -> None:
    """A fault that costs all that it may is looked at to its end, and beyond."""
    longest = failover.longest_gap(where)
    assert failover.patience(where) >= max(1.5 * longest, failover.RECOVER)


@SPECS
def test_what_is_promised_is_seen_or_excused(spec: FaultSpec) -> None:
    """Each place that promises a write gap decides who must see the fault, and the reverse."""
    assert spec.cost.keys() == spec.alerts.keys()
    assert all(spec.gap(where).limit > 0 for where in spec.cost)


def test_a_good_journal_is_believed() -> None:
    """A journal in which all succeeded yields who was hit, when, and the evidence."""
    journal = experiment.check(JOURNAL)
    assert (journal.target, journal.injected_at, journal.healed_at) == ("pg1", 1.0, 2.0)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param(("run", 0, "output"), {"member": "", "at": 1.0}, id="hit-nobody"),
        pytest.param(("run", 0, "output"), None, id="no-output"),
        pytest.param(("run", 0, "status"), "failed", id="action-failed"),
        pytest.param(("run", 1, "output"), "", id="no-evidence"),
        pytest.param(("run", 1, "status"), "failed", id="evidence-failed"),
        pytest.param(("rollbacks", 0, "status"), "failed", id="not-healed"),
        pytest.param(("steady_states", "after"), None, id="not-looked-at-after"),
        pytest.param(("status",), "failed", id="failed"),
        pytest.param(("steady_states", "before"), None, id="never-steady"),
    ],
)
def test_any_gap_in_the_evidence_is_invalid(path: tuple[str | int, ...], value: object) -> None:
    """One failed activity, one missing name, one missing piece of evidence: nothing counts."""
    journal = copy.deepcopy(JOURNAL)
    place: Any = journal
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(FaultNotRealError):
        experiment.check(journal)


def test_a_fault_that_ended_all_writing_is_real() -> None:
    """An outage that outlasts the experiment is for the verdicts to judge, not to be refused."""
    journal = copy.deepcopy(JOURNAL)
    journal["deviated"] = True
    journal["steady_states"]["after"]["steady_state_met"] = False
    assert experiment.check(journal).target == "pg1"


def test_a_control_puts_another_fault_in_the_place_of_the_first() -> None:
    """The rest of the experiment, what it waits for above all, stays as it is."""
    found = experiment.control_of(FAULTS["primary_freeze"], "lossy_kill")
    assert (found.name, found.fault, found.control) == ("control_lossy_kill", "lossy_kill", True)
    assert "primary_freeze" not in str(found.document)
    assert [a["name"] for a in found.document["method"]][-1] == "primary-replaced"


class Stubborn:
    """A fault whose long healing is interrupted."""

    name = "stubborn"

    def __init__(self, *, interrupted: bool) -> None:
        self.healed = 0
        self._interrupted = interrupted

    def inject(self) -> str:
        """Hit a member."""
        return "pg1"

    def verify_injected(self) -> str:
        """Say so."""
        return "pg1 was hit"

    def heal(self) -> None:
        """Undo it, or be interrupted."""
        if self._interrupted:
            raise KeyboardInterrupt
        self.healed += 1

    def verify_healed(self) -> str:
        """Say so."""
        return "pg1 is well"


def test_a_fault_is_healed_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C heals first; a second one, while it heals, is obeyed, and what is left is named."""
    monkeypatch.setattr(base, "left", {})
    fault = Stubborn(interrupted=False)
    with pytest.raises(KeyboardInterrupt), healing(fault):
        raise KeyboardInterrupt
    assert fault.healed == 1
    assert base.left == {}
    with pytest.raises(KeyboardInterrupt), healing(Stubborn(interrupted=True)):
        raise KeyboardInterrupt
    assert "make up" in base.left["stubborn"]
    with healing(Stubborn(interrupted=False)):
        pass
    assert base.left == {}, "healed after all"
