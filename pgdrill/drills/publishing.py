"""Publishing the figures of a running load to Prometheus, read from its log every two seconds.

A load is a batch job, so its metrics go through a Pushgateway. They equal those of the log. They
serve dashboards and alerts while it runs, and the second computation of the objectives.
A missing gateway never disturbs the load; the result then records that there is no data.
"""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from pgdrill import timeouts
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.observe.load import LATENCY, PUSHED_EVERY, SCRAPED_WITHIN, TRANSACTIONS
from pgdrill.observe.prometheus import NoDataError, Prometheus
from pgdrill.observe.pushgateway import Pushgateway
from pgdrill.records import BOUNDS_MS, Bench
from pgdrill.waiting import DeadlineError, eventually
from pgdrill.workload.pgbench_tail import Tail, Tally

# One group for all runs, which each run replaces: nothing old is left, even after a killed one.
JOB = "pgdrill_load"


@dataclass(frozen=True)
class Publication:
    """The result of publishing a load."""

    run: str  # value of the label `run`
    at: float | None  # Unix time at which Prometheus had the final state; None: it never had
    trouble: str  # why it never had
    pushes: int
    cpu: float  # seconds of CPU that following and pushing took
    seconds: float  # from the first push to the end


class LoadPublisher:
    """Follows the logs of one run for the time of a block, and removes its metrics at the end.

    An older run's logs in the same directory would be counted, too.
    """

    def __init__(self, gateway: Pushgateway, tail: Tail, run: str) -> None:
        self._gateway = gateway
        self._tail = tail
        self._run = run
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="load publisher", daemon=True)
        self._pushes, self._cpu = 0, 0.0
        self._started = time.monotonic()

    def __enter__(self) -> "LoadPublisher":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()
        with suppress(BrokenEnvironmentError):  # an unreachable gateway keeps no state on disk
            self._gateway.delete()

    def settle(self, bench: Bench, prometheus: Prometheus) -> Publication:
        """Push the final state of a load that is over, and wait until Prometheus has it."""
        self._stop()
        at, trouble = None, ""
        try:
            final = self._tail.tally(_unlogged(bench))
            self._gateway.put(exposition(final, self._run))
            self._pushes += 1
            at = _scraped(prometheus, self._run, final)
        except (BrokenEnvironmentError, DeadlineError, ValueError) as error:
            trouble = " ".join(str(error).split())
        seconds = time.monotonic() - self._started
        return Publication(self._run, at, trouble, self._pushes, self._cpu, seconds)

    def _stop(self) -> None:
        self._ended.set()
        self._thread.join(
            3 * timeouts.PUSHGATEWAY_ANSWERS
        )  # a push under way: connect, send, answer

    def _follow(self) -> None:
        """Push at once, so that counters begin at zero, and then every PUSHED_EVERY seconds."""
        while True:
            # The next push replaces a lost one; the final one is checked.
            with suppress(BrokenEnvironmentError, ValueError):
                self._gateway.put(exposition(self._tail.tally(), self._run))
                self._pushes += 1
            self._cpu = time.thread_time()
            if self._ended.wait(PUSHED_EVERY):
                return


def exposition(tally: Tally, run: str) -> str:
    """Return a tally in Prometheus's text format.

    The histogram holds everything that was due: what was never answered is beyond every bucket
    and adds nothing to the sum, so that percentiles mean the same as in a Bench.
    """
    of = f'run="{run}"'
    bounds = zip(BOUNDS_MS, tally.within, strict=True)
    return "\n".join(
        (
            f"# HELP {TRANSACTIONS} Transactions that were due; bad: late, skipped or failed.",
            f"# TYPE {TRANSACTIONS} counter",
            f'{TRANSACTIONS}{{{of},outcome="good"}} {tally.good}',
            f'{TRANSACTIONS}{{{of},outcome="bad"}} {tally.bad}',
            f"# HELP {LATENCY} Time from the scheduled start of a transaction to its answer.",
            f"# TYPE {LATENCY} histogram",
            *(f'{LATENCY}_bucket{{{of},le="{ms / 1e3:g}"}} {count}' for ms, count in bounds),
            f'{LATENCY}_bucket{{{of},le="+Inf"}} {tally.due}',
            f"{LATENCY}_sum{{{of}}} {tally.answering:.6f}",
            f"{LATENCY}_count{{{of}}} {tally.due}\n",
        )
    )


def _unlogged(bench: Bench) -> int:
    """Count what was due and is in no log: never sent, or lost with an aborted client."""
    every, *each = bench.scripts
    return every.skipped + every.failed - sum(one.skipped + one.failed for one in each)


def _scraped(prometheus: Prometheus, run: str, final: Tally) -> float:
    """Wait until Prometheus holds the final state; return the Unix time.

    Raises:
        DeadlineError: it does not.
        BrokenEnvironmentError: it does not answer.
    """
    eventually(
        f"the final state of load {run} in Prometheus",
        lambda: prometheus.values(f'{TRANSACTIONS}{{run="{run}"}}', "outcome"),
        lambda held: held == {"good": final.good, "bad": final.bad},
        within=SCRAPED_WITHIN,
        not_yet=(NoDataError,),
    )
    return time.time()
