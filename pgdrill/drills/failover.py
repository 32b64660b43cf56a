"""One trial: the prober writes, an experiment breaks something, the ledger is reconciled."""

import json
import random
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from pgdrill import timeouts
from pgdrill.attempt_log import Lane
from pgdrill.drills import experiment as experiments
from pgdrill.drills.experiment import Experiment
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.faults.base import NeedsPlacement
from pgdrill.faults.catalogue import Excused, FaultSpec
from pgdrill.judge import alerting, budgets, detection, failover
from pgdrill.observe.alerts import AlertWatch
from pgdrill.observe.detection import AlertObserver
from pgdrill.observe.events import EventLog, FailoverWatch
from pgdrill.platforms.base import (
    Cluster,
    LoadsInside,
    Platform,
    wait_healthy,
    wait_settled,
    where,
)
from pgdrill.progress import Reporter
from pgdrill.records import Detection, Inside, ProberPod, Trial, read
from pgdrill.rundir import RunDir
from pgdrill.settings import Settings
from pgdrill.waiting import DeadlineError, eventually, pause, retry
from pgdrill.workload import ledger
from pgdrill.workload.attempts import Attempts
from pgdrill.workload.prober import Prober, pod_file

T = TypeVar("T")

FRESH_RATE = 20.0  # attempts/s; the resolution of the gap is its inverse, 50 ms
HELD_RATE = 50.0
# Attempts/s directly to each member, on sessions that stay with a standby: measured on two cores,
# with a password to check, they cost less than 4/s on new connections (16 % of a core for a primary
# and a standby instead of 21 %, where 20/s on new ones took 40 %).
DIRECT_RATE = 20.0
DIRECT_SESSIONS = 4
DEADLINE = 2.0  # seconds an attempt may take before its client gives up
STEADY_LOOK = 60.0  # seconds to wait for steady service, once the cluster is redundant again


@dataclass(frozen=True)
class DrillContext:
    """Everything that a trial works with."""

    platform: Platform
    settings: Settings
    run: RunDir
    events: EventLog
    reporter: Reporter

    @property
    def cluster(self) -> Cluster:
        """The database at this moment: one that was lost and made again may have moved."""
        return self.platform.cluster()


def observe_alerts(
    context: DrillContext, spec: FaultSpec, watch: AlertWatch | None
) -> AlertObserver | None:
    """Return the observer of the alerts during a fault; None without monitoring."""
    if watch is None:
        return None
    here = where(context.platform)
    wanted = context.settings.alert.values(spec.name) or spec.alerts[here]
    name = failover.named(spec.name, here)
    if isinstance(wanted, Excused):
        return AlertObserver(watch, name, {}, wanted.reason)
    paths = {alert: watch.path(alert) for alert in wanted}
    fires = {alert: alerting.fires(path) for alert, path in paths.items()}
    return AlertObserver(watch, name, detection.within(here, spec, fires), paths=paths)


def run_trials(
    context: DrillContext,
    experiment: Experiment,
    observer: AlertObserver | None,
    trials: list[Trial],
    found: list[Detection],
) -> None:
    """Run every trial of an experiment that is missing; keep each, and its detection.

    Only the first waits until old alerts are resolved: an alert with a look-back of half a minute
    would make every trial wait for the one before it. Alerts that are still raised are not judged.
    """
    numbers = range(len(trials) + 1, context.settings.trials + 1)
    if observer and numbers:
        wait_settled(
            context.platform.engine, within=timeouts.REDUNDANT_BEFORE
        )  # a member that is replaced raises alerts, too
        observer.settle()
    for number in numbers:
        trials.append(run_trial(context, experiment, number))
        if observer:
            due = detection.due(observer.promised, trials[-1])
            found.append(observer.look(trials[-1], due, detection.UNMOVED))
            context.run.keep(found[-1])


def lanes(cluster: Cluster) -> list[Lane]:
    """Return both kinds of client through the load balancer, and one to each member directly.

    The direct ones detect two members that accept writes at the same time.
    """
    return [
        Lane("fresh", "fresh", cluster.conninfo(), FRESH_RATE),
        Lane("held", "held", cluster.conninfo(), HELD_RATE),
        *(
            Lane(
                f"held@{name}",
                "held",
                cluster.conninfo(at),
                DIRECT_RATE,
                DIRECT_SESSIONS,
                direct=True,
            )
            for name, at in cluster.members.items()
        ),
    ]


def run_trial(context: DrillContext, experiment: Experiment, number: int) -> Trial:
    """Run one trial and keep its record; the cluster has time to recover.

    Raises:
        FaultNotRealError: the fault hit nothing, or was not undone.
        DeadlineError: the cluster was not healthy before, or accepted no writes.
    """
    platform, cluster = context.platform, context.cluster
    seed = context.settings.seed * 1000 + number
    # The fault comes at a random phase of the engine's period, so that trials differ in it.
    phase = random.Random(f"{experiment.name} {seed}").uniform(0, platform.engine.period)
    recover, in_time_ms = failover.patience(where(platform)), budgets.P99.limit
    before = wait_settled(platform.engine, within=timeouts.REDUNDANT_BEFORE)
    fault = platform.faults[experiment.fault]
    if isinstance(fault, NeedsPlacement):
        fault.place()
        before = wait_settled(platform.engine, within=timeouts.REDUNDANT_BEFORE)
    table = f"ledger_{experiment.name}_{number}_{int(time.time())}"
    _from_address(
        "an empty ledger",
        lambda: ledger.create_table(cluster.conninfo(), table, with_parts=True),
    )
    parts = (experiment.name, failover.other_timing(platform.tuning_name), str(number))
    raw = context.run.raw / "-".join(filter(None, parts))
    journal_file = context.run.journals / f"{raw.name}.json"
    how: dict[str, Any] = {"deadline": DEADLINE, "in_time": in_time_ms / 1000, "with_parts": True}
    beside = _prober_inside(context, table.replace("ledger", "inside", 1), raw, how)
    with (
        context.reporter.task(f"{experiment.name} {number}/{context.settings.trials}") as update,
        platform.observers() as observers,
        FailoverWatch(observers, context.events) as watch,
        beside or nullcontext(),
        Prober(lanes(cluster), table, raw, **how) as prober,
    ):
        prober.wait_for_acks(40, within=timeouts.FIRST_ACKS)
        update(1, f"writing; fault in {phase:.2f} s (seed {seed})")
        pause(phase)
        journal = experiments.run(experiment, platform, journal_file)
        context.events.record(
            "fault", f"{experiment.fault} injected", journal.target, journal.injected_at
        )
        context.events.record(
            "fault", f"{experiment.fault} healed", journal.target, journal.healed_at
        )
        update(2, f"{journal.evidence}; waiting for recovery")
        with suppress(DeadlineError):  # a gap that did not end is a broken promise, and measured
            prober.wait_for_acks(40, within=recover)
            if beside:
                beside.wait_for_acks(40, within=recover)
        redundancy = _redundancy(platform, journal.injected_at, recover)
        update(3, "redundant again; waiting for steady service")
        with suppress(DeadlineError):  # measured as well, and broken
            prober.wait_until_steady(failover.STEADY_WINDOW, within=STEADY_LOOK)
    attempts = prober.result()
    ended = time.monotonic()
    after = platform.engine.members()
    old = next(m for m in before if m.name == journal.target)
    fate = _fate(cluster, table, attempts, raw / "suspects.json")
    held = _holdings(cluster, table)
    primary = held.get(platform.engine.primary().name)
    trial = Trial(
        experiment=experiment.name,
        control=experiment.control,
        fault=experiment.fault,
        tuning=platform.tuning_name,
        number=number,
        seed=seed,
        phase=phase,
        target=journal.target,
        incarnation=old.incarnation,
        injected_at=journal.injected_at,
        healed_at=journal.healed_at,
        verified=True,
        evidence=journal.evidence,
        timeline_before=max(m.timeline for m in before),
        timeline_after=max(m.timeline for m in after),
        lanes={
            lane.name: attempts.lane_result(lane.name, around=(journal.injected_at, ended))
            for lane in lanes(cluster)
        },
        **fate,
        members={name: holding.rows for name, holding in held.items()},
        diverged=tuple(name for name, holding in held.items() if holding != primary),
        redundancy=redundancy,
        steady=attempts.steady_after(journal.injected_at, in_time_ms, failover.STEADY_WINDOW),
        service=attempts.service(journal.injected_at, in_time_ms, failover.STEADY_WINDOW),
        two_writers=attempts.two_writers(),
        unseen_overlap=attempts.unseen_overlap(),
        parts=watch.parts(journal.injected_at, journal.target),
        schedule_error_p99_ms=attempts.schedule_error_p99_ms(),
        attempts_file=str(prober.file.relative_to(context.run.path)),
        inside=_seen_inside(context, beside, (journal.injected_at, ended)) if beside else None,
    )
    context.run.keep(trial)
    return trial


def _prober_inside(
    context: DrillContext, table: str, raw: Path, how: dict[str, Any]
) -> Prober | None:
    """Return a prober that runs beside the database, on an empty ledger; None: none was asked for.

    It has the lanes of this machine's clients, and their rates.
    """
    if not context.settings.prober_image:
        return None
    platform, cluster = context.platform, context.cluster
    assert isinstance(platform, LoadsInside), "the choice of a platform refuses others"
    _from_address(
        "an empty ledger",
        lambda: ledger.create_table(cluster.conninfo(), table, with_parts=True),
    )
    image = context.settings.prober_image
    context.reporter.line(f"starting the prober inside, in a pod of {image}")
    launch = platform.prober_inside(image)
    clients = [lane for lane in lanes(cluster) if not lane.direct]
    return Prober(clients, table, raw, **how, launch=launch)


def _seen_inside(context: DrillContext, prober: Prober, around: tuple[float, float]) -> Inside:
    """Return what the prober inside saw, and the fate of its writes."""
    attempts = prober.result()
    where_it_ran = read(pod_file(prober.file), ProberPod)
    assert where_it_ran, "the program that carries it writes this before it ends well"
    return Inside(
        where=where_it_ran,
        lanes={lane: attempts.lane_result(lane, around=around) for lane in attempts.lanes},
        **_fate(
            context.cluster,
            prober.file.stem,
            attempts,
            prober.file.with_name("suspects-inside.json"),
        ),
        two_writers=attempts.two_writers(),
        schedule_error_p99_ms=attempts.schedule_error_p99_ms(),
        attempts_file=str(prober.file.relative_to(context.run.path)),
    )


def _fate(cluster: Cluster, table: str, attempts: Attempts, suspects: Path) -> dict[str, Any]:
    """Return the fields of a record about the fate of every write; keep the suspects."""
    address = cluster.conninfo()
    ids = _from_address("the ledger read", lambda: ledger.read_ids(address, table))
    keep_suspects(suspects, attempts, ids)
    return {
        "ledger": ledger.reconcile(attempts, ids),
        "torn": _from_address("its parts read", lambda: ledger.torn(address, table)),
        "lost_updates": _from_address(
            "its counters read", lambda: ledger.lost_updates(address, table)
        ),
        "displaced": _from_address(
            "its lists read", lambda: ledger.displaced(address, table, attempts)
        ),
    }


def _from_address(what: str, call: Callable[[], T]) -> T:
    """Retry a call: the address may fail to answer once, even long after a fault.

    On `kind` a node keeps the entry of an unanswered SYN for 5 s (by default 120). It routes a new
    connection from the same port to the same place, where no server is: "no route to host". That
    hit a few of the prober's connections and, with 120 s, one read of a ledger in 60 trials.

    Raises:
        BrokenEnvironmentError: it did not answer within timeouts.ADDRESS_ANSWERS seconds.
    """
    return retry(what, call, within=timeouts.ADDRESS_ANSWERS)


def keep_suspects(file: Path, attempts: Attempts, ids: ledger.Ids) -> None:
    """Write each write that broke its promise into a file, with its server and instants."""
    broken = {"lost": ledger.lost(attempts, ids), "phantom": ledger.phantoms(attempts, ids)}
    if any(broken.values()):
        named = {kind: [asdict(one) for one in found] for kind, found in broken.items()}
        file.write_text(json.dumps(named, indent=1) + "\n")


def _redundancy(platform: Platform, injected_at: float, within: float) -> float | None:
    """Return the seconds from the fault to full redundancy; None when it was not seen."""
    try:
        wait_healthy(platform.engine, within=within)
    except DeadlineError:
        return None
    return time.monotonic() - injected_at


def _holdings(cluster: Cluster, table: str) -> dict[str, ledger.Holding]:
    """Return what each member holds of the ledger, once all agree or the time is up.

    Empty if the members have no addresses of their own.
    """
    if not cluster.members:
        return {}

    def read() -> dict[str, ledger.Holding]:
        return {
            name: ledger.rows_on(cluster.conninfo(at), table)
            for name, at in cluster.members.items()
        }

    try:
        return eventually(
            "the same rows on every member",
            read,
            lambda held: len(set(held.values())) == 1,
            within=timeouts.LEDGER_REPLAYED,
            # A member may restart once more: it was healthy, and its address is new.
            not_yet=(BrokenEnvironmentError,),
        )
    except DeadlineError:
        return {name: _holding(cluster.conninfo(at), table) for name, at in cluster.members.items()}


def _holding(conninfo: str, table: str) -> ledger.Holding:
    """Return what a member holds in the end; if it does not answer, a value that differs."""
    try:
        return ledger.rows_on(conninfo, table, within=timeouts.LEDGER_REPLAYED)
    except BrokenEnvironmentError:
        return ledger.Holding(0, "not read")
