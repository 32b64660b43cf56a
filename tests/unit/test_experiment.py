"""Believing chaostoolkit only when its journal proves that something was hit and undone."""

import copy
from pathlib import Path
from typing import Any

import pytest

from pgdrill.drills import experiment
from pgdrill.faults import base
from pgdrill.faults.base import FaultNotRealError, healing
from pgdrill.judge import failover
from pgdrill.provision.components import OPERATORS
from pgdrill.settings import ROOT

FILES = sorted((ROOT / "tests/chaos/experiments").glob("*.yaml"))


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


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_experiment_is_valid(file: Path) -> None:
    """Each experiment file is valid chaostoolkit, injects one fault and heals it."""
    assert experiment.load(file).fault == file.stem


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_experiment_has_a_patience_of_its_own(file: Path) -> None:
    """How long to look for recovery is the engine's and its settings', which no file knows."""
    assert "within" not in file.read_text()


@pytest.mark.parametrize("operator", sorted(OPERATORS))
@pytest.mark.parametrize("timing", ["tuned", "default"])
def test_patience_outlasts_every_promise(timing: str, operator: str) -> None:
    """A fault that costs all that it may is looked at to its end, and beyond."""
    edition = f"cnpg {operator}"
    longest = failover.longest_gap(edition, timing)
    assert failover.patience(edition, timing) >= max(1.5 * longest, failover.RECOVER)


def test_there_are_experiments() -> None:
    """The directory is not empty: the test above has something to judge."""
    assert len(FILES) >= 4


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


def test_an_unhealed_experiment_is_refused(tmp_path: Path) -> None:
    """A file whose rollbacks do not heal its fault is refused before anything breaks."""
    text = FILES[0].read_text().replace("func: heal", "func: verify_injected")
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match="must inject one fault and heal it"):
        experiment.load(file)


class Stubborn:
    """A fault whose healing takes so long that somebody interrupts it."""

    name = "stubborn"

    def __init__(self, *, interrupted: bool) -> None:
        self.healed = 0
        self._interrupted = interrupted

    def inject(self) -> str:
        """Hit somebody."""
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
