"""Faults that raise an alert: each a whole trial, where this run drills it in any case."""

from dataclasses import dataclass

from pgdrill.drills import experiment as experiments
from pgdrill.drills.failover import DrillContext, observe_alerts, run_trial
from pgdrill.faults.catalogue import FAULTS
from pgdrill.judge import detection
from pgdrill.observe.scenarios import ScenarioContext
from pgdrill.plugin.drill import Made


@dataclass(frozen=True)
class Struck:
    """The member that a fault has hit, and when (monotonic seconds)."""

    member: str
    at: float


@dataclass(frozen=True)
class Strikes:
    """Injects faults, in the main thread, where chaostoolkit has to run.

    drilled: the faults that the chaos suite drills in this run. The first trial of each is made
    here and kept in made: to wait twice for what looks back at a new primary shows nothing more.
    """

    context: DrillContext
    drilled: frozenset[str]
    made: Made

    def strike(self, name: str, turn: ScenarioContext) -> Struck:
        """Inject a fault, follow it to its end, and return the member that it hit.

        Raises:
            FaultNotRealError: it hit nothing, or was not undone.
            DeadlineError: the cluster was not healthy before.
        """
        context, spec = self.context, FAULTS[name]
        experiment = experiments.of(spec)
        if name not in self.drilled:
            journal = experiments.run(
                experiment, context.platform, context.run.journals / f"alerts-{name}.json"
            )
            return Struck(journal.target, journal.injected_at)
        trial = run_trial(context, experiment, 1)
        observer = observe_alerts(context, spec, turn.watch)
        assert observer, "alerts are watched, and no observer records them"
        due = detection.due(observer.promised, trial)
        found = observer.look(trial, due, detection.UNMOVED)
        own = {of.alert for of in turn.raised(trial.injected_at)}
        found = found.model_copy(update={"seen": tuple(s for s in found.seen if s.alert in own)})
        context.run.keep(found)
        self.made[name] = (trial, found)
        return Struck(trial.target, trial.injected_at)
