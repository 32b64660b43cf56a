"""The steady load: calibrated, carried by pgbench, published and watched while it runs."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from psycopg.conninfo import make_conninfo

from pgdrill.drills.earlier import earlier_load
from pgdrill.drills.publishing import JOB, LoadPublisher, Publication
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.judge import budgets, slos
from pgdrill.observe.load import commits, published, wait_scraped
from pgdrill.observe.machine import MachineWatch
from pgdrill.observe.prometheus import NoDataError, Prometheus
from pgdrill.observe.pushgateway import Pushgateway
from pgdrill.observe.waits import WaitWatch
from pgdrill.platforms import session
from pgdrill.platforms.base import Cluster, Platform
from pgdrill.platforms.checkpoints import write_out
from pgdrill.progress import Reporter
from pgdrill.records import Bench, SloComparison
from pgdrill.rundir import RunDir
from pgdrill.settings import Settings
from pgdrill.workload import pgbench
from pgdrill.workload.pgbench_program import Program
from pgdrill.workload.pgbench_tail import Tail

CALIBRATION = 8  # seconds; enough for the order of magnitude, and it warms the caches
WAITS_WITHIN = 1.0  # seconds for one look at the sessions, which takes 1 ms


def bench_cluster(
    program: Program,
    cluster: Cluster,
    settings: Settings,
    directory: Path,
    reporter: Reporter,
    before_load: Callable[[], None] = lambda: None,
) -> Bench:
    """Prepare, calibrate and run the same pgbench through the read-write address.

    before_load is called after the preparations, before the warm-up. Raw logs go to directory. A
    run during which the server failed gives a Bench, too.

    Raises:
        BrokenEnvironmentError: the database does not answer, holds no shop, answered nothing, or a
            member does not checkpoint.
    """
    conninfo, clients = cluster.conninfo(), settings.clients
    scale = pgbench.scale_for(clients)
    with reporter.task(f"pgbench tables, scale {scale}") as update:
        pgbench.prepare(program, conninfo, scale, lambda line: update(0, line))
    with reporter.task(f"calibration, {clients} clients, closed loop", CALIBRATION) as update:
        reached = pgbench.calibrate(
            program,
            conninfo,
            clients,
            CALIBRATION,
            scale=scale,
            seed=settings.seed,
            on_progress=lambda second, tps, ms: update(second, _note(tps, ms)),
        )
    # The kernel would write the dirty pages of the calibration some seconds into the run: that once
    # caused 76 late transactions in one second, four times what a run of 30 s is allowed.
    write_out(cluster, reporter)
    before_load()
    rate = pgbench.offered_rate(settings.rate, reached)
    reporter.line(f"calibration reached {reached:.0f}/s; offering {rate:g}/s")
    with reporter.task(f"pgbench, {clients} clients, {rate:g}/s", settings.duration) as update:
        return pgbench.run(
            program,
            conninfo,
            clients=clients,
            duration=settings.duration,
            rate=rate,
            directory=directory,
            scale=scale,
            seed=settings.seed,
            calibration_tps=reached,
            latency_limit_ms=budgets.P99.limit,
            on_progress=lambda second, tps, ms: update(
                max(0.0, second), ("warm-up: " if second < 0 else "") + _note(tps, ms)
            ),
        )


def _note(tps: float, milliseconds: float) -> str:
    return f"{tps:.0f} transactions/s, {milliseconds:.1f} ms"


class Load:
    """pgbench through the read-write address; runs when it is first needed, and once only."""

    def __init__(
        self,
        program: Program,
        platform: Platform,
        cluster: Cluster,
        settings: Settings,
        run: RunDir,
        reporter: Reporter,
    ) -> None:
        self.directory = run.raw / "pgbench"
        self.publication: Publication | None = None  # None: not over, or there is no gateway
        self.began: float | None = None  # Unix time of the scrape before the first client
        self.ended = 0.0  # Unix time after the last client had left
        self.trouble = "there was no load"  # why began is None
        self._platform = platform
        self._cluster = cluster
        self._reporter = reporter
        self._what = (program, cluster, settings, self.directory, reporter)
        self._run = settings.run_id
        self._records = run
        self._bench: Bench | None = None
        self._error: Exception | None = None

    @property
    def measured(self) -> bool:
        """Whether it ran already."""
        return self._bench is not None or self._error is not None

    def measure(self) -> Bench:
        """Run it once; return (or raise) its result. The record is in the run directory.

        Raises:
            BrokenEnvironmentError: there was no load.
        """
        if not self.measured:
            try:
                waits = watch_waits(self._cluster)
                with MachineWatch() as machine:
                    self._bench = self._measure(waits)
                for second in machine.seen:
                    self._records.keep(second)
                for look in waits.seen:
                    self._records.keep(look)
                self._records.keep(self._bench)
                if earlier := earlier_load(self._records):
                    self._records.keep(earlier)
            except Exception as error:
                self._error = error
        if self._bench is None:
            assert self._error is not None
            raise self._error
        return self._bench

    def _measure(self, waits: WaitWatch) -> Bench:
        if not self._platform.pushgateway_url:
            return self._carry(waits, lambda: None)
        prometheus = Prometheus(self._platform.prometheus_url)
        gateway = Pushgateway(self._platform.pushgateway_url, JOB)
        tail = Tail(self.directory, budgets.P99.limit)
        with LoadPublisher(gateway, tail, self._run) as live:
            bench = self._carry(waits, lambda: self._begin(prometheus))
            self.ended = time.time()
            self.publication = live.settle(bench, prometheus)
        return bench

    def _carry(self, waits: WaitWatch, before: Callable[[], None]) -> Bench:
        """Run the load; watch its sessions from just before it to its end."""
        with ExitStack() as watching:

            def before_load() -> None:
                before()
                watching.enter_context(waits)

            return bench_cluster(*self._what, before_load)

    def _begin(self, prometheus: Prometheus) -> None:
        """Wait for a scrape of every member before the load; a missing one does not stop it."""
        now = time.time()
        try:
            with self._reporter.task("a scrape of every member"):
                wait_scraped(prometheus, self._cluster.database, now)
        except (NoDataError, BrokenEnvironmentError) as error:
            self.trouble = f"before the load: {error}"
        else:
            self.began = now


def watch_waits(cluster: Cluster) -> WaitWatch:
    """Return the watch of the load's sessions on the primary, whichever member that is.

    It uses another database, so that it adds no commits to the count in the load's database.
    """
    conninfo = make_conninfo(
        cluster.conninfo(database="postgres", timeout=2), target_session_attrs="primary"
    )
    return WaitWatch(lambda: session.connect(conninfo, WAITS_WITHIN), pgbench.APPLICATION)


def objectives_twice(
    bench: Bench, publication: Publication, prometheus: Prometheus
) -> tuple[SloComparison, ...]:
    """Compare the objectives with those that Prometheus has of the publication."""
    if publication.at is None:
        return slos.compare_objectives(bench, None, publication.trouble)
    try:
        held = published(prometheus, publication.run, publication.at)
    except NoDataError as error:
        return slos.compare_objectives(bench, None, str(error))
    return slos.compare_objectives(bench, held)


def commits_twice(load: Load, bench: Bench, database: str, prometheus: Prometheus) -> SloComparison:
    """Compare the commits that clients counted with the commits that the primary counted."""
    counted, note, since = None, load.trouble, load.began or 0.0
    if load.began is not None:
        try:
            counted = commits(prometheus, database, load.began, load.ended)
            since = counted.since
        except NoDataError as error:
            note = str(error)
    acknowledged = pgbench.committed(load.directory, since)
    return slos.compare_commits(bench.clients, acknowledged, counted, note)
