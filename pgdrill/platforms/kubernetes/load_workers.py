"""Follow the pods of one load: `python -m pgdrill.platforms.kubernetes.load_workers ORDER`.

To its caller it is pgbench: progress on stderr, figures on stdout, a log in the directory that
--log-prefix names, and pgbench's exit status; LOST where a part of the load is missing.

All workers begin at one instant, each by its own clock: the offset of every clock from this
machine's is measured before. Logs come through exec sessions, and are compared with the pods'
checksums at the end: a log of the kubelet's would be rotated away.
"""

import hashlib
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Lock

import websocket
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from pgdrill import records, timeouts
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.kubernetes import jobs, load_job
from pgdrill.platforms.kubernetes.jobs import Clock
from pgdrill.platforms.kubernetes.load_arguments import (
    Progress,
    Share,
    log_prefix,
    renumbered,
    split,
    summed,
    workers_for,
)
from pgdrill.platforms.kubernetes.load_job import Order
from pgdrill.platforms.kubernetes.pod_shell import PodShell, Session
from pgdrill.records import LoadWorker, LoadWorkers
from pgdrill.waiting import DeadlineError, pause
from pgdrill.workload.pgbench import WORKERS
from pgdrill.workload.pgbench_process import LOST

LEAD = 2.0  # seconds from the last clock's reading to the common instant
# Seconds that the workers' clocks may differ. Each second of the report, and what was never sent,
# are counted by them; the latency limit of the latter is 0.2 s.
CLOCKS_AGREE = 0.1
# Seconds that a worker may begin after the others.
TOGETHER = 0.5
CUTS = 5  # sessions of one worker that may be cut off
# Bytes of a log that one session carries: the client keeps all that it has received.
SESSION_BYTES = 16 * 2**20
MARGIN = 60.0  # seconds more than pgbench's own time, until its end is not waited for any longer
CLOCK = 'cd /work; while read -r go; do [ -z "$go" ] || echo "$go" >go; date +%s%N; done'
# Follows both outputs from given bytes on; the log's name holds pgbench's process id.
FOLLOW = """\
cd /work
until [ -s pid ]; do sleep 0.1; done
p=$(<pid)
tail -c +{errors} -f --pid=$p err >&2 &
until [ -e log.$p ] || ! kill -0 $p 2>/dev/null; do sleep 0.1; done
if [ -e log.$p ]; then tail -c +{log} -f --pid=$p log.$p; fi
wait
[ -s status ] || sleep 1
"""
END = "set -e; cd /work; p=$(<pid); cat status began; if [ -e log.$p ]; then sha256sum <log.$p; fi"


class Worker:
    """One pod, from its first answer to the last byte of its log; `log` is where that goes."""

    def __init__(
        self,
        shell: PodShell,
        node: str,
        share: Share,
        log: Path | None,
        on_line: Callable[[str], None],
    ) -> None:
        self.shell, self.node, self.share, self.log = shell, node, share, log
        self.clock = Clock(0.0, float("inf"))
        self.began = 0.0  # Unix time, by its own clock
        self.status = -1
        self.output = ""
        self._on_line = on_line
        self._asking: Session | None = None
        self._got = {"out": 0, "err": 0}  # bytes of its log, and of its lines
        self._pending = b""  # a line that has not ended

    def read_clock(self) -> None:
        """Measure the offset of its clock.

        Raises:
            BrokenEnvironmentError: it does not answer.
        """
        self._asking = self.shell.open(CLOCK)
        self.clock = jobs.read_clock(self._asking, time.time)

    def begin_at(self, instant: float) -> None:
        """Let it begin at an instant of this machine's clock.

        Raises:
            BrokenEnvironmentError: it does not answer.
        """
        assert self._asking is not None, "its clock was not read"
        self._asking.ask(f"{int((instant + self.clock.offset) * 1e9)}", within=jobs.ANSWERS)
        self._asking.close()

    def follow(self, within: float) -> None:
        """Hand over its lines and write its log, until pgbench has ended.

        Raises:
            BrokenEnvironmentError: it is gone, or does not end within so many seconds.
        """
        ends, cuts = time.monotonic() + within, 0
        if self.log:
            self.log.write_bytes(b"")
        while True:
            try:
                if self._listen(max(0.1, ends - time.monotonic())):
                    return
            except BrokenEnvironmentError:
                cuts += 1
                if cuts > CUTS or time.monotonic() > ends:
                    raise
                pause(1)

    def _listen(self, within: float) -> bool:
        """Follow it in one session; return whether pgbench has ended, False after SESSION_BYTES.

        Raises:
            BrokenEnvironmentError: the session was cut off, or does not end in so many seconds.
        """
        begun = self._got["out"]
        session = self.shell.open(FOLLOW.format(errors=self._got["err"] + 1, log=begun + 1))
        for name, data in session.output(within=within):
            self._got[name] += len(data)
            if name == "out" and self.log:
                with self.log.open("ab") as file:
                    file.write(data)
            elif name == "err":
                *lines, self._pending = (self._pending + data).split(b"\n")
                for line in lines:
                    self._on_line(line.decode(errors="replace"))
            if self._got["out"] - begun > SESSION_BYTES:
                return False
        if session.status != 0:
            raise BrokenEnvironmentError(f"the session in {self.shell.pod} was cut off")
        return True

    def finish(self) -> None:
        """Read how it ended, and make sure that its log is here whole.

        Raises:
            BrokenEnvironmentError: it is gone, or its log cannot be fetched.
        """
        read = self.shell.read
        found = read(END, within=timeouts.LOAD_FETCHED).decode().split()
        if len(found) < 2:
            raise BrokenEnvironmentError(f"pgbench in {self.shell.pod} did not end by itself")
        self.status, self.began = int(found[0]), int(found[1]) / 1e9
        self.output = read("cat /work/out", within=timeouts.LOAD_FETCHED).decode()
        if self.log and len(found) > 2:
            if _digest(self.log) != found[2]:
                self.log.write_bytes(
                    read("cd /work; cat log.$(<pid)", within=timeouts.LOAD_FETCHED)
                )
            if _digest(self.log) != found[2]:
                raise BrokenEnvironmentError(
                    f"the log in {self.shell.pod} differs from what was fetched of it"
                )
        read("touch /work/fetched", within=jobs.ANSWERS)


def _digest(file: Path) -> str:
    with file.open("rb") as log:
        return hashlib.file_digest(log, "sha256").hexdigest()


class Load:
    """One start of pgbench on all workers."""

    def __init__(self, order: Order, password: str) -> None:
        self._order, self._password = order, password
        arguments = order.arguments
        self._shares = split(arguments, workers_for(arguments, order.place.workers))
        seconds = next((a.partition("=")[2] for a in arguments if a.startswith("--time=")), "")
        # What is no load, the making of the tables, is bounded by the caller.
        self._lasts = float(seconds or 600)
        self._prefix = log_prefix(arguments)
        self._progress = Progress(len(self._shares))
        self._lock = Lock()

    def carry(self) -> int:
        """Run it; return the highest exit status of a pgbench.

        Raises:
            BrokenEnvironmentError: a part of the load is missing.
            DeadlineError: its pods do not begin.
        """
        order = self._order
        lasts = self._lasts + timeouts.LOAD_PODS_BEGIN + timeouts.LOAD_FETCHED + 2 * MARGIN
        try:
            arguments = [share.arguments for share in self._shares]
            made = load_job.objects(order, self._password, arguments, int(lasts))
            jobs.create(order.place, made, "--load=cluster")
            return self._conduct(self._found())
        finally:
            jobs.remove(order.place, order.job, lambda line: print(line, file=sys.stderr))

    def abandon(self, *_: object) -> None:
        """End at once, without waiting for those who follow a worker: handles a signal."""
        jobs.remove(self._order.place, self._order.job, lambda line: print(line, file=sys.stderr))
        os._exit(LOST)

    def _conduct(self, workers: list[Worker]) -> int:
        with ThreadPoolExecutor(len(workers)) as pool:
            list(pool.map(Worker.read_clock, workers))
            _demand_one_time([one.clock for one in workers])
            instant = time.time() + LEAD
            list(pool.map(lambda one: one.begin_at(instant), workers))
            if time.time() > instant:
                raise BrokenEnvironmentError(
                    f"the workers were not reached within {LEAD:g} s: no common instant to begin"
                )
            ahead = workers[0].clock.offset  # logs are written with the workers' clocks
            print(f"pgbench begins at {instant + ahead:.6f}", file=sys.stderr, flush=True)
            within = self._lasts + MARGIN
            list(pool.map(lambda one: one.follow(within), workers))
            list(pool.map(Worker.finish, workers))
        late = [one.began - one.clock.offset - instant for one in workers]
        if max(late) - min(late) > TOGETHER:
            raise BrokenEnvironmentError(
                f"the workers began {max(late) - min(late):.2f} s apart, which may be {TOGETHER:g}"
                " s: no load at one time"
            )
        if self._prefix:
            facts = [
                LoadWorker(
                    pod=one.shell.pod,
                    node=one.node,
                    clients=one.share.clients,
                    clock_ahead_ms=one.clock.offset * 1e3,
                    clock_bound_ms=one.clock.bound * 1e3,
                    late_ms=after * 1e3,
                )
                for one, after in zip(workers, late, strict=True)
            ]
            file = Path(self._prefix).parent / WORKERS
            records.write(file, LoadWorkers(workers=tuple(facts)))
        print(summed([one.output for one in workers]), end="", flush=True)
        return max(one.status for one in workers)

    def _found(self) -> list[Worker]:
        """Wait until every pod runs; return the workers in the order of their numbers."""
        place = self._order.place
        pods = jobs.running(place, self._order.job, len(self._shares))
        return [
            Worker(
                PodShell(place.access, place.namespace, pod.name),
                pod.node,
                share,
                Path(f"{self._prefix}.{number}") if self._prefix else None,
                partial(self._hear, first_client=share.first_client),
            )
            for number, (pod, share) in enumerate(zip(pods, self._shares, strict=True))
        ]

    def _hear(self, line: str, first_client: int) -> None:
        """Print a worker's line, and the sum of progress where all have reported a second."""
        with self._lock:
            if not line.startswith("progress: "):
                print(renumbered(line, first_client), file=sys.stderr, flush=True)
            elif summary := self._progress.line(line):
                print(summary, file=sys.stderr, flush=True)


def _demand_one_time(clocks: list[Clock]) -> None:
    """Refuse workers whose clocks may differ by more than CLOCKS_AGREE.

    Raises:
        BrokenEnvironmentError: with the difference.
    """
    latest = max(clock.offset + clock.bound for clock in clocks)
    earliest = min(clock.offset - clock.bound for clock in clocks)
    if latest - earliest > CLOCKS_AGREE:
        seen = ", ".join(f"{c.offset * 1e3:+.0f} +- {c.bound * 1e3:.0f} ms" for c in clocks)
        raise BrokenEnvironmentError(
            f"the workers' clocks may differ by {(latest - earliest) * 1e3:.0f} ms, which may be"
            f" {CLOCKS_AGREE * 1e3:.0f} ms: from this machine's clock {seen}; keep the nodes in"
            " time, by NTP"
        )


def main() -> int:
    """Carry the load of an order; return pgbench's exit status, or LOST."""
    websocket.setdefaulttimeout(timeouts.KUBERNETES_ANSWERS)  # else a connection has no bound
    load = Load(Order.model_validate_json(sys.argv[1]), os.environ.get("PGPASSWORD", ""))
    signal.signal(signal.SIGTERM, load.abandon)
    try:
        return load.carry()
    except (BrokenEnvironmentError, DeadlineError, ApiException, HTTPError, OSError) as error:
        print(f"error: the load in the cluster: {' '.join(str(error).split())}", file=sys.stderr)
        return LOST


if __name__ == "__main__":
    sys.exit(main())
