"""Steady-state load: pgbench, open loop, judged by its per-transaction log.

Choices, and why:
  --rate always: a closed loop sends nothing while the server stalls, which hides the stall.
  no --latency-limit: it drops late transactions unsent, which improves the percentiles. Late and
    unsent ones are computed from the log instead (pgbench_log.Window.unsent).
  simple protocol: works through every connection pooler; published figures use it.
  our own scripts, with schema names: poolers refuse a search_path in the connection string.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from psycopg.conninfo import make_conninfo

from pgdrill import records
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.workload import pgbench_log, pgbench_process
from pgdrill.workload.pgbench_process import SCRIPTS
from pgdrill.workload.pgbench_program import Program, described
from pgdrill.workload.pgbench_tables import prepare, scale_for, shop_sizes, tidy

__all__ = ["MIX", "Script", "calibrate", "evaluate", "offered_rate", "prepare", "run", "scale_for"]

APPLICATION = "pgbench"  # application_name of every load's sessions
LOG, WARM_UP_LOG = "pgbench_log", "warm_up_log"
WORKERS = "workers.json"  # beside the logs, where pods carried the load
# Share of a closed loop's throughput that the open loop offers: below saturation, where latency is
# the server's and not a queue's. Usual practice is 60-70 % on a dedicated server. Here clients,
# load balancer, monitoring and all members share the cores: a kind cluster on two cores had a p99
# of 170 ms at 60 %, because of a queue.
OFFERED_SHARE = 0.4
# A run may end this much later than planned before it is killed, in seconds.
MARGIN = 30.0
PROGRESS = re.compile(r"progress: ([\d.]+) s, ([\d.]+) tps, lat (\S+) ms")
ABORTED = re.compile(r"client (\d+) .*aborted")

OnProgress = Callable[[float, float, float], None]


@dataclass(frozen=True)
class Script:
    """A pgbench script of ours and its weight in the mix."""

    name: str
    weight: int

    @property
    def argument(self) -> str:
        """The argument of pgbench for it."""
        return f"--file={SCRIPTS / self.name}.sql@{self.weight}"


# Half classic TPC-B, which waits for a standby in every transaction; half shop, mostly reads.
MIX = (Script("tpcb", 5), Script("shop_browse", 4), Script("shop_cart", 1))


class Plan(records.Record):
    """The parameters of a run, and when it began; with the raw logs they give the Bench."""

    started_at: float  # monotonic seconds
    started_us: int  # Unix time, microseconds
    duration: int
    clients: int
    threads: int
    scale: int
    rate: float
    calibration_tps: float
    latency_limit_ms: float
    scripts: tuple[str, ...]
    exit_status: int
    pgbench: str = ""  # version, place and reason; '' in runs from before it was recorded


def offered_rate(requested: float, calibration_tps: float) -> float:
    """Return the transactions/s to offer: as requested, else a safe share of the calibration."""
    return requested or max(1.0, round(OFFERED_SHARE * calibration_tps, 1))


def calibrate(
    program: Program,
    conninfo: str,
    clients: int,
    seconds: int,
    *,
    scale: int,
    seed: int,
    mix: Sequence[Script] = MIX,
    on_progress: OnProgress = lambda second, tps, latency: None,
) -> float:
    """Return the transactions per second that a short closed loop of the same mix reaches.

    Raises:
        BrokenEnvironmentError: the database or its tables are not there, or it failed meanwhile.
    """
    shape = _shape(program, conninfo, clients, seconds, scale, seed, mix)
    with TemporaryDirectory() as directory:
        done = _load(program, shape, conninfo, Path(directory), seconds, on_progress)
    found = re.search(r"^tps = ([\d.]+)", done.output, re.MULTILINE)
    if done.status != 0 or not found or float(found[1]) == 0:
        raise BrokenEnvironmentError(
            f"calibration failed (pgbench exit status {done.status}): {done.reason()}"
        )
    return float(found[1])


def run(
    program: Program,
    conninfo: str,
    *,
    clients: int,
    duration: int,
    rate: float,
    directory: Path,
    scale: int,
    seed: int,
    calibration_tps: float,
    latency_limit_ms: float = 200,
    warm_up: int | None = None,
    mix: Sequence[Script] = MIX,
    on_progress: OnProgress = lambda second, tps, latency: None,
) -> records.Bench:
    """Offer rate transactions/s for duration seconds, after a warm-up that is not measured.

    The warm-up is a tenth of the duration, 2 to 10 s, unless warm_up is given (0: none); its
    seconds are negative in on_progress.

    Logs stay in directory; `evaluate` computes the same Bench from them. If the server fails during
    the run, there is a Bench, too: with pgbench's exit status and its aborted clients; everything
    that was due afterwards is counted as skipped.

    Raises:
        BrokenEnvironmentError: the database or its tables are not there, or the log is empty or
            incomplete.
    """
    tidy(conninfo)
    warming = min(10, max(2, duration // 10)) if warm_up is None else warm_up
    paced = [f"--rate={rate}", "--log", "--failures-detailed"]
    (directory / WORKERS).unlink(missing_ok=True)
    for old in (*directory.glob(f"{LOG}.*"), *directory.glob(f"{WARM_UP_LOG}.*")):
        old.unlink()  # names hold the process id: those of another run would be counted, too
    directory.mkdir(parents=True, exist_ok=True)
    if warming:
        with TemporaryDirectory() as thrown_away:
            shape = _shape(program, conninfo, clients, warming, scale, seed + 1, mix)
            _load(
                program,
                [*shape, *paced, f"--log-prefix={directory / WARM_UP_LOG}"],
                conninfo,
                Path(thrown_away),
                warming,
                lambda second, tps, latency: on_progress(second - warming - 1, tps, latency),
                logs=directory,
            )
    shape = _shape(program, conninfo, clients, duration, scale, seed, mix)
    logged = [*paced, f"--log-prefix={directory / LOG}"]
    done = _load(
        program, [*shape, *logged], conninfo, directory, duration, on_progress, logs=directory
    )
    plan = Plan(
        started_at=done.began_at,
        started_us=done.began_us,
        duration=duration,
        clients=clients,
        threads=program.threads(clients),
        scale=scale,
        rate=rate,
        calibration_tps=calibration_tps,
        latency_limit_ms=latency_limit_ms,
        scripts=tuple(script.name for script in mix),
        exit_status=done.status,
        pgbench=described(program),
    )
    records.write(directory / "plan.json", plan)
    return evaluate(directory)


def evaluate(directory: Path) -> records.Bench:
    """Compute the Bench from the raw files of a run.

    Raises:
        BrokenEnvironmentError: there are none, or transactions are missing from them.
    """
    plan = _read_plan(directory)
    errors = (directory / "pgbench.err").read_text()
    log = _read_log(directory, plan, errors)
    limit = plan.latency_limit_ms
    window = pgbench_log.Window(
        start_us=int(log.due_us.min()),
        end_us=plan.started_us + plan.duration * 1_000_000,
        rate=plan.rate,
        threads=plan.threads,
    )
    unsent = window.unsent(log, limit)
    _demand_complete(log, unsent.size, window, limit)
    aborted = len(set(ABORTED.findall(errors)))
    parts = [("all", log.latency_us, unsent.size, aborted)] + [
        (name, log.latency_us[log.script == number], 0, 0)
        for number, name in enumerate(plan.scripts)
        if (log.script == number).any()
    ]
    return records.Bench(
        started_at=plan.started_at,
        duration=window.seconds,
        clients=plan.clients,
        scale=plan.scale,
        rate=plan.rate,
        calibration_tps=plan.calibration_tps,
        latency_limit_ms=limit,
        scripts=tuple(
            pgbench_log.script_result(
                name,
                latency,
                seconds=window.seconds,
                limit_ms=limit,
                unsent=not_sent,
                aborted=gone,
            )
            for name, latency, not_sent, gone in parts
        ),
        aborted_clients=aborted,
        exit_status=plan.exit_status,
        pgbench=plan.pgbench,
        workers=_workers(directory),
        slices=pgbench_log.slices(log, unsent, window, limit),
    )


def _workers(directory: Path) -> tuple[records.LoadWorker, ...]:
    """Return each pod of the load with the figures of its own log."""
    found = records.read(directory / WORKERS, records.LoadWorkers)
    workers = []
    for number, one in enumerate(found.workers if found else ()):
        lag_us = pgbench_log.schedule_lag(directory / f"{LOG}.{number}")
        p99 = pgbench_log.percentile(np.sort(lag_us), 0, 990)
        figures = {
            "transactions": lag_us.size,
            "lag_p99_ms": None if p99 is None else p99 / 1e3,
        }
        workers.append(one.model_copy(update=figures))
    return tuple(workers)


def commits(script: str) -> int:
    """Return a server's commits for a script: 1 in a transaction block, else its statements."""
    text = (SCRIPTS / f"{script}.sql").read_text()
    code = "\n".join(line for line in text.splitlines() if not line.startswith(("--", "\\")))
    return 1 if code.startswith("BEGIN;") else code.count(";")


def committed(directory: Path, since: float) -> int:
    """Return the commits acknowledged after an instant (Unix time), the warm-up included.

    Raises:
        BrokenEnvironmentError: there was no run.
    """
    plan = _read_plan(directory)
    files = (*directory.glob(f"{LOG}.*"), *directory.glob(f"{WARM_UP_LOG}.*"))
    log = pgbench_log.read(files)
    acknowledged = log.answered & (log.done_us > since * 1e6)
    return sum(
        commits(name) * int((acknowledged & (log.script == number)).sum())
        for number, name in enumerate(plan.scripts)
    )


def _read_plan(directory: Path) -> Plan:
    plan = records.read(directory / "plan.json", Plan)
    if plan is None:
        raise BrokenEnvironmentError(f"{directory} holds no pgbench run")
    return plan


def _read_log(directory: Path, plan: Plan, errors: str) -> pgbench_log.Log:
    files = sorted(directory.glob(f"{LOG}.*"))
    try:
        log = pgbench_log.read(files) if files else None
    except ValueError as error:
        raise BrokenEnvironmentError(str(error)) from None
    if log is None or not log.answered.any():
        reason = pgbench_process.main_error(errors)
        raise BrokenEnvironmentError(
            f"pgbench completed no transaction (exit status {plan.exit_status}): {reason}"
        )
    printed = re.search(
        r"^number of transactions actually processed: (\d+)",
        (directory / "pgbench.out").read_text(),
        re.MULTILINE,
    )
    answered = int(log.answered.sum())
    if printed and int(printed[1]) != answered:
        raise BrokenEnvironmentError(
            f"the log in {directory} holds {answered} transactions, pgbench counted {printed[1]}:"
            " is the disk full?"
        )
    return log


def _demand_complete(
    log: pgbench_log.Log, unsent: int, window: pgbench_log.Window, limit_ms: float
) -> None:
    """Compare the transactions in the log with rate x time; chance explains a small difference."""
    expected = window.rate * window.seconds
    accounted = log.latency_us.size + unsent
    tail = max(window.rate * limit_ms / 1e3, pgbench_log.LONGEST_GAP * window.threads)
    if abs(accounted - expected) > 5 * expected**0.5 + 0.01 * expected + tail:
        raise BrokenEnvironmentError(
            f"the log accounts for {accounted} transactions where {expected:.0f} were due"
            f" ({window.rate:g}/s for {window.seconds:.1f} s): logs are missing"
        )


def _shape(
    program: Program,
    conninfo: str,
    clients: int,
    seconds: int,
    scale: int,
    seed: int,
    mix: Sequence[Script],
) -> list[str]:
    """Arguments that every load shares."""
    needs_shop = any(script.name.startswith("shop") for script in mix)
    sizes = shop_sizes(conninfo) if needs_shop else {}
    return [
        f"--client={clients}",
        f"--jobs={program.threads(clients)}",
        f"--time={seconds}",
        f"--scale={scale}",
        f"--random-seed={seed}",
        "--no-vacuum",
        "--progress=1",
        *(f"--define={name}={size}" for name, size in sizes.items()),
        *(script.argument for script in mix),
    ]


def _load(
    program: Program,
    arguments: Sequence[str],
    conninfo: str,
    directory: Path,
    seconds: float,
    on_progress: OnProgress,
    *,
    logs: Path | None = None,
) -> pgbench_process.Finished:
    def on_line(line: str) -> None:
        if found := PROGRESS.match(line):
            with suppress(ValueError):  # a second without transactions has no latency
                on_progress(float(found[1]), float(found[2]), float(found[3]))

    done = pgbench_process.run(
        program,
        arguments,
        make_conninfo(conninfo, application_name=APPLICATION),
        directory=directory,
        within=seconds + MARGIN,
        logs=logs,
        on_line=on_line,
    )
    if done.status == pgbench_process.LOST:
        raise BrokenEnvironmentError(done.reason())
    return done
