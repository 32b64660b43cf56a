"""A fault that hits nothing proves nothing, and the ledger finds lost writes."""

from collections.abc import Callable

import pytest

from pgdrill.drills.experiment import control_of
from pgdrill.drills.failover import DrillContext, run_trial
from pgdrill.faults.base import Fault, healing
from pgdrill.faults.catalogue import FAULTS
from pgdrill.judge import failover
from pgdrill.judge.budgets import SCHEDULE_ERROR
from pgdrill.judge.verdicts import Verdicts
from pgdrill.platforms.base import where
from pgdrill.platforms.local.processes import MemberProcesses
from pgdrill.process_environment import processors
from pgdrill.records import Trial
from tests.controls.control import Control
from tests.controls.inventory import breaks
from tests.controls.sabotage import (
    LateProber,
    LossyKill,
    MostlyRefuses,
    NobodyTakesOver,
    NoFault,
    StaysAway,
    Tampering,
)

LOOK = 40.0  # seconds to wait for a failover; the promise is 30


class Trials:
    """Runs a trial with a sabotage in the place of an experiment's fault, and judges it."""

    def __init__(self, context: DrillContext, monkeypatch: pytest.MonkeyPatch) -> None:
        self.platform = context.platform
        self._bench = context
        self._monkeypatch = monkeypatch

    def promised(self, fault: str) -> failover.FaultBudgets:
        """The suite's promises of a fault."""
        return failover.budgets(where(self.platform), FAULTS[fault], processors())

    def run(self, name: str, fault: Fault | None = None) -> Trial:
        """Run an experiment's trial; fault None: with its own fault."""
        if fault:
            self._monkeypatch.setitem(self.platform.faults, fault.name, fault)
        return run_trial(self._bench, control_of(FAULTS[name], fault.name if fault else ""), 1)

    def judge(self, trial: Trial, verdicts: Verdicts, like: str) -> None:
        """Judge it as the chaos suite judges a trial of the fault that it is like."""
        failover.judge([trial], FAULTS[like], where(self.platform), verdicts, processors())


@pytest.fixture
def trials(sabotaged: DrillContext, monkeypatch: pytest.MonkeyPatch) -> Trials:
    """Trials on the healthy cluster."""
    return Trials(sabotaged, monkeypatch)


def test_fault_that_names_no_member_is_invalid(trials: Trials, control: Control) -> None:
    """An experiment whose every activity succeeds is refused when it names no member."""
    gap = trials.promised("standby_kill").gap
    why = "names no member"
    with control.must_be("invalid", "a fault that does nothing", gap, why=why) as verdicts:
        trials.judge(trials.run("standby_kill", NoFault()), verdicts, like="standby_kill")


def test_kill_that_misses_is_invalid(
    require_capability: Callable[[str], None],
    trials: Trials,
    control: Control,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The platform's own kill is refused when the processes that it should have hit live on."""
    require_capability("processes")
    monkeypatch.setattr(MemberProcesses, "kill", lambda self: [])
    gap = trials.promised("primary_kill").gap
    why = "is still "
    with control.must_be("invalid", "a kill that misses", gap, why=why) as verdicts:
        trials.judge(trials.run("primary_kill"), verdicts, like="primary_kill")


@breaks(
    "standby_kill.write-gap",
    "acknowledged-writes-lost",
    "appends-out-of-place",
    "duplicate-rows",
    "refused-writes-present",
    "transactions-that-are-there-in-part",
    "trials-without-a-failover",
    "updates-lost-or-made-up",
)
def test_tampered_ledger_is_broken(trials: Trials, control: Control) -> None:
    """A row that vanished, doubled or was refused is found, and a wait of all writers is a gap."""
    gap = trials.promised("standby_kill").gap
    promised = (
        gap,
        failover.LOST,
        failover.DUPLICATE,
        failover.PHANTOM,
        failover.TORN,
        failover.LOST_UPDATES,
        failover.DISPLACED,
    )
    with control.must_be("broken", "rows and writers tampered with", *promised) as verdicts:
        trial = trials.run("standby_kill", Tampering(trials.platform))
        trials.judge(trial, verdicts, like="standby_kill")
    assert (trial.ledger.acked_lost, trial.ledger.duplicate) == (1, 1), trial.ledger
    assert trial.torn == 4  # one whose row vanished, three whose rows were made up
    # Those and the row that doubled, each in a counter of its own, and ten updates that are gone.
    assert trial.lost_updates == 5 + 10
    assert trial.displaced == 1
    unmoved = failover.NO_FAILOVER
    with control.must_be("broken", "a primary's kill that misses it", unmoved) as verdicts:
        trials.judge(trial, verdicts, like="primary_kill")


@breaks("standby_kill.steady-service")
def test_service_that_refuses_most_is_broken(trials: Trials, control: Control) -> None:
    """One write of four ends every gap in time, and is no service."""
    promised = trials.promised("standby_kill")
    refuses = MostlyRefuses(trials.platform, lasts=promised.steady.limit + 3)
    with control.must_be(
        "broken", "three of four writes refused", promised.steady, why="% in time"
    ) as verdicts:
        trial = trials.run("standby_kill", refuses)
        trials.judge(trial, verdicts, like="standby_kill")
    gaps = [trial.lanes[lane].gap for lane in failover.CLIENT_LANES]
    assert all(gap is not None and promised.gap.allows(gap) for gap in gaps), gaps


@breaks("prober-schedule-error-p99")
def test_prober_that_stands_still_is_broken(trials: Trials, control: Control) -> None:
    """Attempts that begin late are the prober's own fault, and no measurement of the cluster."""
    with control.must_be("broken", "a prober that stands still", SCHEDULE_ERROR) as verdicts:
        trial = trials.run("standby_kill", LateProber(trials.platform))
        trials.judge(trial, verdicts, like="standby_kill")


@breaks("time-to-full-redundancy", "members-that-differ")
def test_standby_that_stays_away_is_broken(
    trials: Trials, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member that does not come back is no redundancy, and holds none of the rows."""
    promised = trials.promised("standby_kill").redundancy
    monkeypatch.setattr(failover, "patience", lambda *_: promised.limit + 5)
    both = (promised, failover.DIVERGED)
    with (
        control.must_be("broken", "a standby that stays away", *both) as verdicts,
        healing(trials.platform.faults["standby_away"]),
    ):
        trial = trials.run("standby_kill", StaysAway(trials.platform))
        trials.judge(trial, verdicts, like="standby_kill")
    assert trial.diverged == (trial.target,)


@breaks("acknowledged-writes-lost", "trials-with-a-needless-failover")
def test_asynchronous_replication_loses_writes(
    require_capability: Callable[[str], None], trials: Trials, control: Control
) -> None:
    """Without synchronous replication a killed primary takes acknowledged writes along."""
    require_capability("processes")
    with control.must_be("broken", "asynchronous replication", failover.LOST) as verdicts:
        # Healed only after the failover, as a primary that hangs is.
        trial = trials.run("primary_freeze", LossyKill(trials.platform))
        trials.judge(trial, verdicts, like="primary_kill")
    assert trial.timeline_after > trial.timeline_before, "no failover happened"
    needless = failover.NEEDLESS_FAILOVER
    with control.must_be("broken", "a standby's kill that hits the primary", needless) as verdicts:
        trials.judge(trial, verdicts, like="standby_kill")


@breaks("primary_away.write-gap")
def test_primary_that_nobody_replaces_is_broken(
    require_capability: Callable[[str], None],
    trials: Trials,
    control: Control,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A failover that never comes is a write gap above its promise, not an invalid fault."""
    require_capability("processes")
    monkeypatch.setattr(failover, "patience", lambda *_: LOOK)
    gap = trials.promised("primary_away").gap
    with control.must_be("broken", "a primary that nobody replaces", gap) as verdicts:
        trial = trials.run("primary_away", NobodyTakesOver(trials.platform))
        trials.judge(trial, verdicts, like="primary_away")
    assert (trial.lanes["fresh"].gap or 0) >= LOOK, "a standby took over"
