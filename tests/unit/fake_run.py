"""A run directory as a drill would leave it, made up: for tests of the report alone."""

import math
import random
from pathlib import Path

from pgdrill.records import (
    About,
    AlertLife,
    BackupTaken,
    Bench,
    Budget,
    Clock,
    Detection,
    Event,
    Fingerprint,
    Inside,
    LaneResult,
    LedgerCount,
    MachineSecond,
    NearbyWrite,
    Outcome,
    Part,
    PoolerPod,
    ProberPod,
    Rebuild,
    Record,
    Recovery,
    ScalePoint,
    Scaling,
    ScriptResult,
    Seed,
    Seen,
    Service,
    Slice,
    SloComparison,
    Surge,
    TableSeed,
    Trial,
    Verdict,
    WaitLook,
)
from pgdrill.records.runs import VERSION
from pgdrill.rundir import RunDir
from tests.unit.fake_dashboards import snapshots

START = 5000.0
FAULTS = {"primary-kill": "kill-primary", "primary-pause": "pause-primary"}
MEMBERS = ("pg-1", "pg-2", "pg-3")
GAP = Budget(name="write gap", limit=10, unit="s", better="lower", because="loop_wait + ttl")
LOST = Budget(
    name="acknowledged writes lost", limit=0, unit="rows", better="lower", because="synchronous"
)
P99 = Budget(name="p99 latency", limit=200, unit="ms", better="lower", because="the SLO")
PAGED = Budget(
    name="condition to alert", limit=22, unit="s", better="lower", because="15 + 5 + 2 + 5"
)
HOSTILE = '<script>alert("1")</script> <!-- pgdrill:end -->'


def verdict(
    budget: Budget,
    subject: str,
    observed: float | None,
    expected: Outcome = "met",
    about: About | None = None,
) -> Verdict:
    """A judged observation, as pgdrill.judge.verdicts would write it."""
    outcome: Outcome = (
        "invalid" if observed is None else "met" if budget.allows(observed) else "broken"
    )
    return Verdict(
        budget=budget,
        subject=subject,
        observed=observed,
        outcome=outcome,
        test=f"tests/chaos/test_failover.py::test_failover[{subject}]",
        expected=expected,
        about=about or About(),
    )


def lane(gap: float | None, injected: float, phase: float) -> LaneResult:
    """One kind of client, with a gap that starts just before the fault."""
    last = injected - 0.004
    return LaneResult(
        attempts=6000,
        acked=5400,
        refused=540,
        indeterminate=60,
        gap=gap,
        last_ack_before=last,
        first_ack_after=None if gap is None else last + gap,
        p50_ms=4.1 + phase / 100,
        p99_ms=38.0,
        errors={"57P01": 12, "no answer": 60},
    )


def trial(experiment: str, number: int, fresh: float | None, at: float) -> Trial:
    """One verified fault."""
    rng = random.Random(f"{experiment} {number}")
    end = 3.0 if fresh is None else fresh
    return Trial(
        experiment=experiment,
        fault=FAULTS.get(experiment, experiment),
        tuning="tuned",
        number=number,
        seed=42 + number,
        phase=rng.uniform(0, 10),
        target=rng.choice(MEMBERS),
        incarnation=f"pid {rng.randint(1000, 9999)} started 2026-11-23T20:00:0{number}",
        injected_at=at,
        healed_at=at + 1.0,
        verified=True,
        evidence=f"process gone, timeline {number} -> {number + 1}",
        timeline_before=number,
        timeline_after=number + 1,
        lanes={
            "fresh": lane(fresh, at, number),
            "held": lane(None if fresh is None else fresh + rng.uniform(0.1, 0.9), at, number),
            "held@pg-1": lane(None, at, number),  # straight to a standby: no ack, and no harm
        },
        ledger=LedgerCount(
            acked_present=5400 + number,
            acked_lost=0,
            indeterminate_present=7,
            indeterminate_absent=53,
            refused_absent=540,
            refused_present=0,
            duplicate=0,
        ),
        members=dict.fromkeys(MEMBERS, 5407 + number),
        torn=0,
        lost_updates=0,
        displaced=0,
        redundancy=end + rng.uniform(2, 6),
        steady=end + rng.uniform(0.5, 3),
        service=Service(
            limit_ms=200, window=5, shares=(*[0.0] * math.ceil(end), 61.4, *[100.0] * 8)
        ),
        two_writers=0.0,
        parts=(
            Part(name="leader lost", after=end * 0.55),
            Part(name="promoted", after=end * 0.74),
            Part(name="routed", after=end * 0.9),
        ),
        schedule_error_p99_ms=3.2,
        attempts_file=f"raw/{experiment}-{number}.npz",
    )


def with_inside(found: Trial, shorter: float) -> Trial:
    """Return a trial whose gaps are shorter by so many seconds for clients beside the database."""
    lanes = {
        name: one.model_copy(update={"gap": None if one.gap is None else one.gap - shorter})
        for name, one in found.lanes.items()
        if "@" not in name
    }
    inside = Inside(
        where=ProberPod(pod="pgdrill-prober-1", node="n1", clock_ahead_ms=3.0, clock_bound_ms=1.4),
        lanes=lanes,
        ledger=found.ledger,
        torn=0,
        lost_updates=0,
        displaced=0,
        two_writers=0.0,
        schedule_error_p99_ms=2.0,
        attempts_file="raw/inside.npz",
    )
    return found.model_copy(update={"inside": inside})


def trials() -> list[Trial]:
    """Nine kills and three pauses of the primary."""
    rng = random.Random(7)
    kills = [trial("primary-kill", n, rng.uniform(1.6, 3.1), START + 60 * n) for n in range(1, 10)]
    stops = [
        trial("primary-pause", n, rng.uniform(4.2, 6.4), START + 600 + 60 * n) for n in (1, 2, 3)
    ]
    return kills + stops


def verdicts(of: list[Trial]) -> list[Verdict]:
    """All promises kept, and three controls that came out as they must."""
    made = [
        verdict(
            GAP,
            f"{t.experiment} trial {t.number} {name}",
            seen.gap,
            about=About(fault=t.experiment, timing=t.tuning, lane=name),
        )
        for t in of
        for name, seen in t.lanes.items()
        if "@" not in name
    ]
    return [
        verdict(P99, "steady load", 41.7),
        *made,
        verdict(LOST, "primary-kill", 0),
        verdict(LOST, "primary-pause", 0),
        verdict(PAGED, "PostgresDown", 14.2, about=About(alert="PostgresDown")),
        verdict(LOST, "control: a row removed from the ledger", 1, "broken"),
        verdict(P99, "control: slow disk", 912.4, "broken"),
        verdict(GAP, "control: fault that hits nothing", None, "invalid"),
    ]


PGBENCH = "pgbench 16.2 in a container of <pg>, because /usr/bin/pgbench is 13.4"


def bench() -> Bench:
    """Five minutes of load with a quiet wave in its latency and one hiccup."""
    rng = random.Random(3)
    slices = []
    for second in range(300):
        hiccup = 14 if second == 200 else 1
        p50 = 6 + 2 * math.sin(second / 30) + rng.uniform(0, 1)
        slices.append(
            Slice(
                second=second,
                transactions=int(rng.gauss(420, 20)),
                bad=3 if hiccup > 1 else 0,
                p50_ms=p50,
                p99_ms=(p50 * 3 + rng.uniform(0, 20)) * hiccup,
            )
        )

    def script(name: str, transactions: int) -> ScriptResult:
        return ScriptResult(
            script=name,
            transactions=transactions,
            tps=transactions / 300,
            mean_ms=7.9,
            p50_ms=6.2,
            p95_ms=19.4,
            p99_ms=41.7,
            p999_ms=188.2,
            late=3,
            skipped=0,
            failed=0,
        )

    return Bench(
        started_at=START + 20,
        duration=300,
        clients=16,
        scale=20,
        rate=420,
        calibration_tps=912,
        latency_limit_ms=200,
        scripts=(script("all", 126000), script("checkout.sql", 76000), script("browse.sql", 50000)),
        aborted_clients=0,
        exit_status=0,
        slices=tuple(slices),
        pgbench=PGBENCH,
    )


def machine() -> list[MachineSecond]:
    """A machine that does half its work in the second of the hiccup and the nine after it."""
    return [
        MachineSecond(
            at=START + 20.5 + second,
            busy=64,
            stolen=0,
            work_ms=10 if 200 <= second < 210 else 5,
            cpu_pressure=90 if second == 200 else 40,
            io_pressure=4,
            memory_pressure=0,
            run_queue=3 if second == 200 else 0.8,
        )
        for second in range(-30, 300)
    ]


def waits() -> list[WaitLook]:
    """Looks before and during the load: four a second, one in the hiccup, none in second 100."""
    usual = {"CPU": 3, "IPC:SyncRep": 1, "IO:WALSync": 1}
    looks = []
    for quarter in range(-40, 4 * 300):
        second = quarter // 4
        look = WaitLook(at=START + 20.1 + quarter / 4, sessions=usual)
        if second == 100:
            look = look.model_copy(update={"sessions": {}, "trouble": "connection <lost>"})
        elif second == 200:
            look = look.model_copy(update={"sessions": {"CPU": 12, "LWLock:WALWrite": 4}})
        if second != 200 or quarter % 4 == 0:
            looks.append(look)
    return looks


def slos() -> list[SloComparison]:
    """Two objectives that agree with Prometheus, as exactly as they must."""
    same = Budget(name="difference of totals", limit=0, unit="", better="lower", because="final")
    near = Budget(
        name="difference of 99th percentiles", limit=10, unit="ms", better="lower", because="bucket"
    )
    return [
        SloComparison(
            quantity="transactions due", unit="", client=126_000, prometheus=126_000, budget=same
        ),
        SloComparison(
            quantity="p99 latency", unit="ms", client=41.7, prometheus=44.25, budget=near
        ),
    ]


def alerts() -> list[AlertLife]:
    """One alert that pages, and one whose rule is slow."""
    at = START + 900

    def life(alert: str, scenario: str, hold: float, delay: float) -> AlertLife:
        return AlertLife(
            alert=alert,
            severity="critical",
            scenario=scenario,
            scrape=2,
            evaluation=5,
            hold=hold,
            group_wait=5,
            quiet_from=at - 30,
            condition=at,
            pending=at + 3.1 + delay,
            firing=at + 3.1 + hold + delay,
            alertmanager=at + 4.0 + hold + delay,
            paged=at + 9.2 + hold + delay,
            healed=at + 30 + hold,
            resolved=at + 41 + hold,
        )

    return [
        life("PostgresDown", "primary killed and kept down", 5, 0),
        life("PostgresReplicationLag", "replica paused under load", 15, 1.5),
        life("PostgresDiskAlmostFull", "volume filled to 95 %", 60, 0),
    ]


POOLERS = ("pooler-a", "pooler-b", "pooler-c")


def scale_point(at: float, desired: int, carried: dict[str, int]) -> ScalePoint:
    """A look at so many pods as have carried something, all of them ready."""
    pods = {
        name: PoolerPod(ready=True, cpu=0.05, transactions=count) for name, count in carried.items()
    }
    busy = 0 <= at - SURGE_AT <= SURGE
    return ScalePoint(
        at=at,
        desired=desired,
        current=len(pods),
        utilisation=110.0 if busy else 4.0,
        pods=pods,
    )


SURGE_AT, SURGE = START + 700, 120.0


def scaling() -> Scaling:
    """A load of 200/s that a second pod joins after 24 s, a third after 36 s; small 80 s after."""
    carried = dict.fromkeys(POOLERS[:1], 1000)
    points = []
    for second in range(-10, 220, 2):
        ready = 1 + (second >= 24) + (second >= 36) if second < SURGE + 80 else 1
        carried = {name: carried.get(name, 0) for name in POOLERS[:ready]}
        if 0 < second <= SURGE:
            for name in carried:
                carried[name] += 400 // ready
        points.append(scale_point(SURGE_AT + second, 3 if ready > 1 else 1, dict(carried)))
    return Scaling(
        least=1,
        most=3,
        target=60,
        window=60,
        surge=Surge(
            started_at=SURGE_AT,
            ended_at=SURGE_AT + SURGE,
            clients=8,
            rate=200,
            transactions=24_000,
            aborted_clients=0,
            exit_status=0,
            pgbench=PGBENCH,
        ),
        points=tuple(points),
        lanes={name: lane(1.2, SURGE_AT, 5) for name in ("fresh", "held")},
        ledger=LedgerCount(
            acked_present=4_870,
            acked_lost=0,
            indeterminate_present=2,
            indeterminate_absent=1,
            refused_absent=4,
            refused_present=0,
            duplicate=0,
        ),
        attempts_file="raw/ledger_scaling_1/ledger_scaling_1.npz",
    )


def recovery(number: int, **changes: object) -> Recovery:
    """A restore to just before a destruction, in which all came back."""
    began = START + 1000 + 100 * number
    steps = {"prepared": 8.0, "base copy": 11.5, "replay": 13.1, "promotion": 14.5}
    steps |= {"first write": 14.9 + number, "redundancy": 22.2 + number}
    made = Recovery(
        scenario="oops",
        number=number,
        kind=("time", "lsn", "name")[number % 3],
        target="2026-11-23 20:20:00.123456+00:00",
        backup=BackupTaken(
            label="20261123-201900F",
            began=began - 40,
            seconds=4.1,
            size=156_200_000,
            stored=41_000_000,
            p99_ms=31.0,
            load_p99_ms=44.0,
        ),
        point=began - 20,
        destroyed_at=began - 12,
        destruction="DROP TABLE shop.orders CASCADE",
        began=began,
        steps=tuple(Part(name=name, after=after) for name, after in steps.items()),
        wanted=2100,
        absent=0,
        late=1400,
        surplus=0,
        refused=0,
        duplicate=0,
        uncertain=4,
        differing=(),
        checked={"references": 19, "sequences": 2, "indexes": 30, "tables": 19, "roles": 5},
        complaints=(),
        diverged=(),
        attempts_file=f"raw/recovery-oops-{number}/ledger.npz",
        neighbours=tuple(
            NearbyWrite(began=at, ended=at + 0.02, outcome="acked", there=at + 0.02 <= 0)
            for at in (number / 50 for number in range(-48, 48))
        ),
    )
    return made.model_copy(update=changes)


def seen(alert: str, severity: str, firing: float | None, member: str = "") -> Seen:
    """An alert that came after a fault; firing None: its condition went before its `for`."""
    return Seen(
        alert=alert,
        member=member,
        severity=severity,
        pending=0.5 if firing is None else firing - 0.4,
        firing=firing,
        alertmanager=None if firing is None else firing + 0.3,
    )


def detection(fault: str, number: int, *came: Seen, excused: str = "") -> Detection:
    """A trial of which monitoring made this; PgFailover must see every fault without excuse."""
    return Detection(
        suite="chaos",
        fault=fault,
        trial=number,
        target="pg-1",
        at=START + 60 * number,
        expected=() if excused else ("PgFailover",),
        excused=excused,
        before=(),
        seen=came,
    )


def detections() -> list[Detection]:
    """Two faults that were seen, one that need not be, and the scenario of an alert."""
    kills = [
        detection("kill-primary", n, seen("PgFailover", "info", 2 + n / 10)) for n in range(1, 10)
    ]
    pauses = [
        detection(
            "pause-primary",
            n,
            seen("PgDown", "critical", 8.5 + n),
            seen("PgLag", "warning", None, "pg-2"),
            seen("PgFailover", "info", 22.0 + n),
        )
        for n in (1, 2, 3)
    ]
    standby = detection("kill-standby", 1, excused="restarted at once")
    scenario = detection("pg-2 paused", 1, seen("PgLag", "warning", 6.1, "pg-2"))
    of_alerts = {"suite": "alerts", "expected": ("PgLag",), "target": "pg-2"}
    return [*kills, *pauses, standby, scenario.model_copy(update=of_alerts)]


def rebuild() -> Rebuild:
    """A standby that came back from the archive."""
    return Rebuild(
        number=1,
        member="pg-3",
        method="pgbackrest",
        began=START + 600,
        seconds=8.9,
        p99_ms=41.0,
        attempts_file="raw/rebuild-1/attempts.npz",
    )


def events(of: list[Trial]) -> list[Event]:
    """The records of every source."""
    made = [Event(at=START + 1, source="test", what="seed", subject="1,000,000 rows")]
    for t in of:
        made += [
            Event(at=t.injected_at, source="fault", what=t.fault, subject=t.target),
            Event(at=t.injected_at + 2, source="cluster", what="promoted", subject="pg-2"),
        ]
    made += [
        Event(at=life.firing, source="alert", what="firing", subject=life.alert)
        for life in alerts()
        if life.firing
    ]
    return made


def fingerprint() -> Fingerprint:
    """A laptop."""
    return Fingerprint(
        command='pytest -m "perf or chaos or alerts" --platform=local --profile=laptop --seed=42',
        platform="local",
        why_platform="no container engine answers: docker and podman are not installed",
        engine="patroni",
        settings={
            "profile": "laptop",
            "timing": "tuned",
            "rows": "1000000",
            "seed": "42",
            "clients": "16",
        },
        versions={"PostgreSQL": "15.14", "Patroni": "3.0.2", "etcd": "3.4.23", "HAProxy": "2.6.12"},
        machine={"CPU": "2 x AMD EPYC 7B13", "memory": "24 GiB", "kernel": "6.1.0-18-amd64"},
        tuning={"patroni ttl": "6 s (default 30)", "synchronous_mode": "true (default false)"},
    )


def write_run(path: Path, without: tuple[str, ...] = ()) -> RunDir:
    """Write a whole made-up run, except the record files of these names, without their endings."""
    path.mkdir(parents=True)
    run = RunDir(path)
    run.keep(Clock(monotonic=START, wall="2026-11-23T20:00:00+00:00", version=VERSION))
    seed = Seed(
        rows=1_000_000,
        seed=42,
        seconds=9.4,
        reused=False,
        tables=tuple(
            TableSeed(table=name, rows=rows, checksum=f"{rows * 7919:032x}")
            for name, rows in (("customer", 100_000), ("orders", 300_000), ("item", 600_000))
        ),
        agreeing_members=MEMBERS,
    )
    records: list[Record] = [
        *(fingerprint(), seed, bench()),
        *trials(),
        *verdicts(trials()),
        *events(trials()),
        *alerts(),
        scaling(),
        *snapshots(START, MEMBERS),
        *machine(),
        *waits(),
        *slos(),
        *detections(),
        *(recovery(1), recovery(2)),
        rebuild(),
    ]
    for record in records:
        if Path(record.FILE).stem not in without:
            run.keep(record)
    return run
