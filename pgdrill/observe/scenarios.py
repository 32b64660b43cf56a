"""Alert scenarios in parallel: each begins once no open scenario would disturb it.

A scenario acts (breaks something, until that is healed) and then watches its alert resolve. For
both it names what must not change. Scenarios begin in the given order unless a later one fits in
earlier. Work for the main thread is done where that thread waits for a result. No alert is
expected of two open scenarios at a time, so each has one cause; one of no open scenario
makes all of them invalid.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar, get_args

from pgdrill.observe.alerts import POLL, AlertWatch, Expectation, RunEndedError, Sighting, alert_of
from pgdrill.observe.detection import seen
from pgdrill.records import AlertLife, Seen
from pgdrill.waiting import DeadlineError, eventually

Thing = Literal["roles", "members", "replay", "volume", "archive", "store", "load"]
EVERYTHING: frozenset[Thing] = frozenset(get_args(Thing))
TURN = 900.0  # seconds until a scenario may begin, or has ended: all of them in sequence take 300
ENDED = 30.0  # seconds for open scenarios to heal, once a run ends early

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Measurement:
    """The measurements of a scenario itself."""

    of: Expectation
    scenario: str
    quiet: float  # the instant since which there was no alert
    condition: float
    healed: float  # when the reason was seen to be gone
    # When the healing began: the reason may be gone before that is proven. None: at that instant.
    healing: float | None = None
    waking: tuple[str, ...] = ()  # alerts that paged, where the scenario counts them
    commits: tuple[float, ...] = ()  # seconds that clients' writes took during it, if they count
    note: str = ""  # other effects


@dataclass(frozen=True)
class ScenarioResult:
    """A scenario that is over: its alert's life, other alerts, and the scenarios beside it."""

    course: Measurement
    life: AlertLife
    seen: tuple[Seen, ...]  # its own alerts, and those of no scenario
    ended: float
    strangers: tuple[str, ...]  # alerts that no parallel scenario owns
    beside: tuple[str, ...]  # names of the scenarios that were open at the same time


@dataclass(frozen=True)
class Scenario:
    """A cause of an alert, and its effects on other scenarios."""

    name: str
    alert: str
    play: Callable[["ScenarioContext"], Measurement]
    disturbs: frozenset[Thing]  # while it acts
    needs: frozenset[Thing]  # what must not change from its beginning to its end
    aftermath: frozenset[str] = frozenset()  # other alerts that it may raise
    held_back_by: frozenset[str] = frozenset()  # alerts that inhibit its own
    alone: bool = False  # nothing else acts while it does

    @property
    def alerts(self) -> frozenset[str]:
        """Return every alert that belongs to this scenario while it is open."""
        return self.aftermath | {self.alert}

    def fits(self, other: "Scenario", *, acting: bool) -> bool:
        """Whether this one may begin while another acts, or only watches."""
        return not (
            self.disturbs & other.needs
            or (acting and (self.alone or other.alone or other.disturbs & self.needs))
            or self.alerts & other.alerts
            or self.held_back_by & other.alerts
        )


@dataclass
class _State:
    phase: Literal["waiting", "acting", "watching", "over"] = "waiting"
    began: float = 0.0
    beside: set[str] = field(default_factory=set)
    left: frozenset[str] = frozenset()  # its alerts that are still raised after its end
    result: Future[ScenarioResult] = field(default_factory=Future)


class Job(Generic[T_co]):
    """Work of the main thread for a scenario."""

    def __init__(self, work: Callable[[], T_co]) -> None:
        self._work = work
        self._done: Future[T_co] = Future()

    def run(self) -> None:
        """Do it; an interruption of the main thread is raised again here."""
        try:
            self._done.set_result(self._work())
        except BaseException as error:
            self._done.set_exception(error)
            if not isinstance(error, Exception):
                raise

    @property
    def done(self) -> bool:
        """Whether it has ended, with or without an error."""
        return self._done.done()

    def result(self) -> T_co:
        """Return its result, once it is done, or raise its error."""
        return self._done.result(timeout=0)


class ScenarioContext:
    """The means of a scenario while it runs."""

    def __init__(self, scenario_runner: "ScenarioRunner", scenario: Scenario) -> None:
        self.watch = scenario_runner.watch
        self._runner = scenario_runner
        self._scenario = scenario
        self._job: Job[object] | None = None

    @property
    def alerts(self) -> frozenset[str]:
        """Every alert of this scenario."""
        return self._scenario.alerts

    def in_main_thread(self, work: Callable[[], T_co]) -> Callable[[], T_co]:
        """Let the main thread run work; return a function that waits for its result.

        The scenario continues meanwhile, until check_running() finds that the work has failed.
        """
        job = Job(work)
        self._job = job
        self._runner.jobs.put(job)

        def ended() -> bool:
            self.check_running()
            return job.done

        def result() -> T_co:
            what = f"the main thread's part of {self._scenario.name}"
            eventually(what, ended, bool, within=TURN, every=POLL)
            return job.result()

        return result

    def raised(self, since: float) -> tuple[Expectation, ...]:
        """Return every alert that came after since and belongs to no parallel scenario."""
        return self._runner.raised(self._scenario, since)

    def quiet(self, *, lasting: float, within: float) -> float:
        """Wait for a window without any alert but those of parallel scenarios; return its start."""
        return self.watch.wait_quiet(
            lasting=lasting, within=within, besides=lambda: self._runner.owned(self._scenario)
        )

    def check_running(self) -> None:
        """Raise an error when there is a reason to stop.

        Raises:
            RunEndedError: the run ends.
            Exception: the error of the main thread's work.
        """
        self._runner.check_running()
        if self._job and self._job.done:
            self._job.result()

    def fault_healed(self) -> None:
        """Note that all is healed and redundant: from here on the scenario only watches."""
        self._runner.fault_healed(self._scenario)


class ScenarioRunner:
    """Runs scenarios for the time of a block, as many in parallel as fit."""

    def __init__(
        self,
        watch: AlertWatch,
        scenarios: Sequence[Scenario],
        tell: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.watch = watch
        self._scenarios = tuple(scenarios)
        self._tell = tell
        self._states = {one.name: _State() for one in scenarios}
        self._lock = threading.RLock()
        self._given_up = False
        self.jobs: queue.SimpleQueue[Job[object]] = queue.SimpleQueue()  # for the main thread
        self._threads = [
            threading.Thread(target=self._run, args=(one,), name=one.name, daemon=True)
            for one in scenarios
        ]

    def __enter__(self) -> "ScenarioRunner":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let open scenarios heal; no other begins, and none continues to watch."""
        if not any(thread.is_alive() for thread in self._threads):
            return
        self._given_up = True
        self.watch.end_waits()
        try:
            eventually(
                "scenarios to heal what they broke",
                lambda: [t.name for t in self._threads if t.is_alive()],
                lambda names: not names,
                within=ENDED,
                every=0.05,
            )
        except DeadlineError as error:  # the platform heals every fault once more
            self._tell(str(error))

    def result_of(self, name: str) -> ScenarioResult:
        """Return a scenario's result, or raise its error; run the main thread's work until then.

        Raises:
            DeadlineError: it has not ended in time.
        """
        result = self._states[name].result

        def ended() -> bool | str:
            if not self.jobs.empty():
                self.jobs.get().run()
            return result.done() or self._open()

        eventually(
            f"scenario {name} to end",
            ended,
            lambda done: done is True,
            within=TURN,
            every=POLL,
        )
        return result.result()

    def owned(self, scenario: Scenario) -> frozenset[str]:
        """Return the alerts of other scenarios: open ones, or alerts left by ended ones.

        Without those of the scenario that calls: its own alert must not be there before its fault.
        """
        with self._lock:
            active = self._active()
            owned: set[str] = set()
            for other in self._scenarios:
                state = self._states[other.name]
                state.left &= active  # an alert that returns after it was gone is a new one
                if other.name != scenario.name:
                    is_open = state.phase in ("acting", "watching")
                    owned |= other.alerts if is_open else state.left
        return frozenset(owned) - {scenario.alert}

    def raised(self, scenario: Scenario, since: float) -> tuple[Expectation, ...]:
        """Return every alert that came after since and belongs to no other open scenario."""
        with self._lock:
            sightings = tuple(self.watch.sightings)
            beside = [o for o in self._scenarios if o.name in self._states[scenario.name].beside]
            came = sorted((s for s in sightings if s.at >= since), key=lambda s: s.at)
            own = (s.of for s in came if s.stage != "resolved" and not self._owner(s, beside))
            return tuple(dict.fromkeys(own))

    def check_running(self) -> None:
        """Raise an error when the run has ended.

        Raises:
            RunEndedError: it does not.
        """
        if self._given_up:
            raise RunEndedError

    def fault_healed(self, scenario: Scenario) -> None:
        """Note that a scenario no longer disturbs others."""
        with self._lock:
            self._states[scenario.name].phase = "watching"

    def _open(self) -> str:
        with self._lock:
            phases = {name: state.phase for name, state in self._states.items()}
        return ", ".join(
            f"{name} {phase}" for name, phase in phases.items() if phase in ("acting", "watching")
        )

    def _active(self) -> frozenset[str]:
        return frozenset(alert_of(what) for what in self.watch.active())

    def _run(self, scenario: Scenario) -> None:
        state = self._states[scenario.name]
        try:
            eventually(
                f"the turn of {scenario.name}",
                lambda: self._in_the_way(scenario),
                lambda names: not names,
                within=TURN,
                every=POLL,
                silent=True,  # the wait for a result prints what is open
            )
            self._tell(f"scenario {scenario.name} begins beside {self._open_but(scenario)}")
            played = self._close(scenario, scenario.play(ScenarioContext(self, scenario)))
        except BaseException as error:
            self._end(scenario)
            state.result.set_exception(error)
        else:
            self._end(scenario)
            state.result.set_result(played)

    def _in_the_way(self, scenario: Scenario) -> list[str]:
        """Return what keeps a scenario waiting; none once it has begun.

        Raises:
            RunEndedError: no other scenario begins.
        """
        with self._lock:
            self.check_running()
            raised = self._active() & (scenario.held_back_by | {scenario.alert})
            names = [f"alert {alert}" for alert in sorted(raised)]
            before = True
            for other in self._scenarios:
                phase = self._states[other.name].phase
                if other.name == scenario.name:
                    before = False
                elif phase == "over" or (phase == "waiting" and not before):
                    continue
                elif not scenario.fits(other, acting=phase != "watching"):
                    names.append(f"{other.name} ({phase})")
            if not names:
                self._begin(scenario)
            return names

    def _begin(self, scenario: Scenario) -> None:
        state = self._states[scenario.name]
        state.phase, state.began = "acting", time.monotonic()
        active = self._active()
        for name, other in self._states.items():
            other.left &= active
            if name != scenario.name and (other.phase in ("acting", "watching") or other.left):
                state.beside.add(name)
                other.beside.add(scenario.name)

    def _open_but(self, scenario: Scenario) -> str:
        return ", ".join(sorted(self._states[scenario.name].beside)) or "nothing else"

    def _end(self, scenario: Scenario) -> None:
        with self._lock:
            state = self._states[scenario.name]
            state.phase = "over"
            # An error of the look at the alerts was raised where it belongs.
            held = {alert_of(of) for of in self.watch.held(time.monotonic())}
            state.left = frozenset(held & scenario.alerts)

    def _close(self, scenario: Scenario, course: Measurement) -> ScenarioResult:
        """Make the record of a scenario while its alerts are known."""
        with self._lock:
            ended = time.monotonic()
            beside = frozenset(self._states[scenario.name].beside)
            sightings = tuple(self.watch.sightings)
        others = [one for one in self._scenarios if one.name in beside]
        came = seen(self.watch, course.quiet, course.condition)
        nobodys = {
            str(one.of)
            for one in sightings
            if course.quiet <= one.at <= ended
            and one.stage != "resolved"
            and one.of.alert not in scenario.alerts
            and not self._owner(one, others)
        }
        own = [one for one in came if one.alert in scenario.alerts or _named(one) in nobodys]
        return ScenarioResult(
            course=course,
            life=self.watch.life(
                course.of,
                scenario=course.scenario,
                quiet_from=course.quiet,
                condition=course.condition,
                healed=course.healed,
                healing=course.healing,
            ),
            seen=tuple(own),
            ended=ended,
            strangers=tuple(sorted(nobodys)) if beside else (),
            beside=tuple(sorted(beside)),
        )

    def _owner(self, sighting: Sighting, others: Sequence[Scenario]) -> Scenario | None:
        """Return the parallel scenario that had begun when an alert of its own was seen."""
        alert, at = sighting.of.alert, sighting.at
        own = (o for o in others if alert in o.alerts and self._states[o.name].began <= at)
        return next(own, None)


def _named(one: Seen) -> str:
    return str(Expectation(one.alert, one.member))
