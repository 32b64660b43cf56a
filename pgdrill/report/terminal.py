"""The last lines on the terminal: what a run found, without opening the page."""

from collections import Counter
from pathlib import Path
from statistics import median_low

from pgdrill.judge import machine
from pgdrill.judge import scaling as judged
from pgdrill.judge import waits as judged_waits
from pgdrill.judge.alerting import CONDITION
from pgdrill.records import AlertLife, Bench, Rebuild, Recovery, Scaling
from pgdrill.report import waits, watchwords
from pgdrill.report.detection import summary
from pgdrill.report.facts import done_of, drilled_ledger, wrong_controls
from pgdrill.report.material import Group, LaneGaps, Material, read_run
from pgdrill.report.words import count, number, seconds
from pgdrill.rundir import RunDir


def terminal(run: Path) -> list[str]:
    """Return the final summary, a line for each fact; only facts that this run measured.

    Raises:
        BadUsageError: there is no run in this directory.
    """
    m = read_run(run)
    return [
        *_cut_off(m),
        *_outcomes(m),
        *(watchwords.lines(m.watch) if m.watch else []),
        *(_gap(group, lane) for group in m.groups for lane in group.lanes),
        *_ledger(m),
        *_bench(m),
        *map(_scaling, m.scalings),
        *map(_recovery, m.recoveries),
        *map(_rebuild, m.rebuilds),
        *(_alert(life) for life in m.alerts),
        *filter(None, [summary(m.detections)]),
        *(f"damaged record: {complaint}" for complaint in m.complaints),
        f"report: {RunDir(run).report}",
    ]


def _cut_off(m: Material) -> list[str]:
    return [f"cut off after {done_of(m)}: {m.cut_off}"] if m.cut_off else []


def _outcomes(m: Material) -> list[str]:
    found = Counter(verdict.outcome for verdict in m.promises)
    counts = ", ".join(f"{found[outcome]} {outcome}" for outcome in ("met", "broken", "invalid"))
    controls = len(m.controls)
    right = controls - len(wrong_controls(m))
    suffix = f"; controls: {right} of {controls} as they must" if controls else ""
    head = f"verdicts: {counts}{suffix}" if m.verdicts else "verdicts: none, nothing was judged"
    bad = [f"{v.outcome}: {v.line()}" for v in m.promises if v.outcome != "met"]
    bad += [f"failed before it could judge: {test}" for test in m.unjudged]
    return [head, *bad, *(f"control not {v.expected}: {v.line()}" for v in wrong_controls(m))]


def _gap(group: Group, lane: LaneGaps) -> str:
    name = f"write gap {group.experiment} {group.tuning} {lane.lane}".replace("  ", " ")
    control = " (control)" if group.is_control else ""
    if not lane.gaps:
        return f"{name}{control}: no evidence in {count(len(group.trials), 'trial')}"
    values = lane.values
    unknown = f", {lane.unknown} could not say" if lane.unknown else ""
    budget = "" if lane.limit is None else f", budget <= {number(lane.limit)} s"
    return (
        f"{name}{control}: min {seconds(values[0])}, p50 {seconds(median_low(values))},"
        f" max {seconds(values[-1])} ({count(len(values), 'trial')}{unknown}{budget})"
    )


def _ledger(m: Material) -> list[str]:
    if not m.drills:
        return []
    ledger = drilled_ledger(m)
    return [
        f"ledger: acked {ledger.acked:,}, acked-lost {ledger.acked_lost:,},"
        f" phantom {ledger.refused_present:,}, duplicate {ledger.duplicate:,}"
    ]


def _bench(m: Material) -> list[str]:
    if not m.bench:
        return []
    lines = [
        f"load: {number(all_.tps)} tx/s of {number(m.bench.rate)} offered,"
        f" mean {number(all_.mean_ms)} ms, p50 {number(all_.p50_ms)}, p95 {number(all_.p95_ms)},"
        f" p99 {number(all_.p99_ms)}, p99.9 {number(all_.p999_ms)} ms,"
        f" {all_.late + all_.skipped + all_.failed:,} bad of {all_.transactions:,}"
        + (f"; {m.bench.pgbench}" if m.bench.pgbench else "")
        for all_ in m.bench.scripts[:1]
    ]
    told = [f"SLO {v.outcome}: {v.line()}" for v in m.objectives]
    return lines + told + _waits(m, m.bench) + _machine(m, m.bench) + _twice(m)


def _waits(m: Material, bench: Bench) -> list[str]:
    seen = judged_waits.waits(bench, m.waits)
    told = waits.sentences(seen, judged_waits.strains(bench, m.machine))
    gap = f" Nobody could look in {count(seen.unseen, 'second')}." if seen and seen.unseen else ""
    return [f"waits: {' '.join(told)}{gap}"] if told else []


def _machine(m: Material, bench: Bench) -> list[str]:
    pace = machine.pace(bench, m.machine)
    if pace is None:
        return []
    parts = [
        f"pace of the machine, in % of its best: {number(pace.during)} under the load,"
        f" {number(pace.slowest)} in the slowest {machine.SPELL} s",
        *([f"{number(pace.before)} before the load"] if pace.before is not None else []),
        *([f"{number(pace.late)} where transactions came late"] if pace.late is not None else []),
    ]
    return [f"{', '.join(parts)}; CPUs {number(pace.busy)} % in use"]


def _twice(m: Material) -> list[str]:
    told = [
        f"{s.quantity} {number(s.client, 6)} and {number(s.prometheus, 6)} {s.unit}".rstrip()
        + f" ({s.outcome})"
        for s in m.slos
    ]
    return [f"computed twice, client and Prometheus: {', '.join(told)}"] if told else []


def _scaling(s: Scaling) -> str:
    grown, shrunk = judged.grown_after(s), judged.shrunk_after(s)
    up = "never grew" if grown is None else f"second pod after {seconds(grown)}"
    down = "not seen to shrink" if shrunk is None else f"small {seconds(shrunk)} after it"
    share = judged.fair_share(judged.carried(s))
    shared = "unknown" if share is None else f"{number(share)} % of a fair share"
    return (
        f"pooler: {s.least} -> {judged.most_ready(s)} pods under {number(s.surge.rate)}"
        f" connections/s, {up}, {down}; idlest pod: {shared}; acked {s.ledger.acked:,},"
        f" acked-lost {s.ledger.acked_lost:,}"
    )


def _recovery(r: Recovery) -> str:
    first, redundant = r.step("first write"), r.step("redundancy")
    return (
        f"restore {r.scenario} {r.number} to {r.kind} {r.target}: first write after"
        f" {seconds(first)}, redundant after {seconds(redundant)}; {r.absent:,} of {r.wanted:,}"
        f" rows absent, {r.surplus:,} of {r.late:,} too many; backup {seconds(r.backup.seconds)}"
    )


def _rebuild(r: Rebuild) -> str:
    p99 = "unknown" if r.p99_ms is None else f"{number(r.p99_ms)} ms"
    return (
        f"rebuild {r.number}: {r.member} from {r.method or 'unknown'}, streams again after"
        f" {seconds(r.seconds)}; p99 of the clients meanwhile {p99}"
    )


def _alert(life: AlertLife) -> str:
    told = life.logged if life.paged is None else life.paged
    at = life.alertmanager if told is None else told
    if at is None or life.condition is None:
        return f"alert {life.alert} ({CONDITION}): never arrived"
    verb = "at Alertmanager" if told is None else "logged" if life.paged is None else "paged"
    resolved = "resolved" if life.resolved is not None else "not seen to resolve"
    return (
        f"alert {life.alert}: {verb} {seconds(at - life.condition)} after its condition, {resolved}"
    )
