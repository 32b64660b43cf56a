"""Carry a prober in a pod: `python -m pgdrill.platforms.kubernetes.probe_pod ORDER`.

To its caller it is the prober's own process, workload.probe_loop: configuration and requests on
stdin, answers on stdout, and a file of attempts at the end. Their instants are put back to this
machine's clock; beside the file is a record of the pod. Exit status LOST, with one line on
stderr, where the prober inside is lost.
"""

import contextlib
import hashlib
import json
import os
import select
import signal
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import websocket
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from pgdrill import __version__, attempt_log, records, timeouts
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.kubernetes import jobs, probe_job
from pgdrill.platforms.kubernetes.jobs import Clock, NeverError
from pgdrill.platforms.kubernetes.pod_shell import PodShell, Session
from pgdrill.platforms.kubernetes.probe_job import Order
from pgdrill.records import ProberPod
from pgdrill.workload.pgbench_process import LOST
from pgdrill.workload.probe_loop import END, LOOK, first_line
from pgdrill.workload.prober import pod_file

PYTHON = ("python3", "-c")
ATTEMPTS = f"{jobs.WORK}/attempts.npz"
PROBE = ("python3", "-m", "pgdrill.workload.probe_loop")
CLOCK = "import sys, time\nfor _ in sys.stdin: print(time.monotonic_ns(), flush=True)"
FETCH = """\
import hashlib, sys
data = open(sys.argv[1], "rb").read()
sys.stdout.buffer.write(hashlib.sha256(data).hexdigest().encode() + b"\\n" + data)
"""
# Seconds by which an instant from inside may be wrong. A gap needs no clock but its own; the
# instant of the fault, from which on it is sought, is one of this machine's.
CLOCK_BOUND = 0.1
# Seconds without a request until there is one of our own: some proxies end a silent session.
SILENT = 10.0
ANSWERED = 20.0  # seconds; the prober's loop never blocks, so it is gone, or the way to it


class Relay:
    """One start of a prober in a pod."""

    def __init__(self, order: Order, password: str) -> None:
        self._order, self._password = order, password

    def carry(self, config: dict[str, Any]) -> None:
        """Run it with a configuration until stdin ends; leave its attempts where that says.

        Raises:
            BrokenEnvironmentError: there is no pod, or the prober in it is lost.
        """
        order, file = self._order, Path(config["file"])
        try:
            jobs.create(order.place, probe_job.objects(order, self._password), "--prober-image")
            pod = jobs.running(order.place, order.job, 1)[0]
            shell = PodShell(order.place.access, order.place.namespace, pod.name)
            try:
                before = _read_clock(shell)
                relay(shell.open(PROBE), configured(config, order.target))
                clock = between(before, _read_clock(shell))
                _fetch(shell, file, clock.offset)
            except BrokenEnvironmentError as error:
                # It may have run for a moment, and refused to stay.
                if why := jobs.ended(order.place, order.job):
                    raise NeverError(why) from error
                raise
        except NeverError as error:
            raise BrokenEnvironmentError(
                f"{error}; --prober-image needs one with Python 3.11 and the pgdrill {__version__}"
                " of this machine: docs/kube.md has its Dockerfile"
            ) from None
        finally:
            jobs.remove(order.place, order.job, lambda line: print(line, file=sys.stderr))
        records.write(
            pod_file(file),
            ProberPod(
                pod=pod.name,
                node=pod.node,
                clock_ahead_ms=clock.offset * 1e3,
                clock_bound_ms=clock.bound * 1e3,
            ),
        )


def configured(config: dict[str, Any], target: str) -> bytes:
    """Return the configuration of the same prober in a pod."""
    lanes = [lane | {"conninfo": target} for lane in config["lanes"]]
    return json.dumps(config | {"lanes": lanes, "file": ATTEMPTS}).encode() + b"\n"


def relay(session: Session, config: bytes) -> None:
    """Hand requests and answers over until stdin has ended, and then the prober.

    Raises:
        BrokenEnvironmentError: it does not answer, ends by itself, or the session is cut off.
    """
    session.send(config)
    inputs: list[Any] = [0]
    ours = deque[bool]()  # of each request without an answer: whether it is our own
    began = asked = heard = time.monotonic()
    line, errors = b"", b""
    while True:
        was_open = session.is_open
        if was_open and 0 in select.select([*inputs, session], [], [], 1.0)[0]:
            requests = os.read(0, 4096)
            if not requests:
                inputs.clear()
            session.send(requests or END)
            ours.extend([False] * requests.count(LOOK))
            asked = time.monotonic()
        for name, data in session.pieces(within=0.0):
            if name == "err":
                errors = (errors + data)[-4096:]
                continue
            *lines, line = (line + data).split(b"\n")
            for answer in lines:
                heard = time.monotonic()
                if not ours.popleft():
                    with contextlib.suppress(BrokenPipeError):  # the parent is gone: stdin ends
                        os.write(1, answer + b"\n")
        if not was_open:
            break
        now = time.monotonic()
        if now - max(asked, heard) > SILENT and not ours and inputs:
            session.send(LOOK)
            ours.append(True)
            asked = now
        if ours and now - max(asked, heard) > ANSWERED:
            raise BrokenEnvironmentError(f"it gives no answer within {ANSWERED:g} s")
        if now - began > probe_job.LASTS:
            raise BrokenEnvironmentError(f"it does not end within {probe_job.LASTS} s")
    if session.status != 0 or inputs:
        said = errors.decode(errors="replace").strip().splitlines()
        how = "was cut off" if session.status is None else f"ended with status {session.status}"
        raise BrokenEnvironmentError(f"its session {how}{f': {said[-1]}' if said else ''}")


def _read_clock(shell: PodShell) -> Clock:
    asking = shell.open([*PYTHON, CLOCK])
    try:
        return jobs.read_clock(asking, time.monotonic)
    finally:
        asking.close()


def between(before: Clock, after: Clock) -> Clock:
    """Return the offset of a clock for the time between two looks at it.

    Raises:
        BrokenEnvironmentError: it may be wrong by more than CLOCK_BOUND.
    """
    most = max(clock.offset + clock.bound for clock in (before, after))
    least = min(clock.offset - clock.bound for clock in (before, after))
    found = Clock((most + least) / 2, (most - least) / 2)
    if found.bound > CLOCK_BOUND:
        raise BrokenEnvironmentError(
            f"the offset of its clock is not known better than +- {found.bound * 1e3:.0f} ms, and"
            f" may be wrong by {CLOCK_BOUND * 1e3:.0f} ms: is the way to the API server slow, or a"
            " clock not in time?"
        )
    return found


def _fetch(shell: PodShell, file: Path, ahead: float) -> None:
    """Fetch the attempts whole, with their instants on this machine's clock."""
    answer = shell.read([*PYTHON, FETCH, ATTEMPTS], within=timeouts.LOAD_FETCHED)
    digest, _, data = answer.partition(b"\n")
    if hashlib.sha256(data).hexdigest() != digest.decode(errors="replace"):
        raise BrokenEnvironmentError("its attempts differ from what was fetched of them")
    fetched = file.with_suffix(".fetched")
    fetched.write_bytes(data)
    attempt_log.put_back(fetched, ahead)
    fetched.replace(file)


def main() -> int:
    """Carry the prober of an order; return 0, or LOST."""
    websocket.setdefaulttimeout(timeouts.KUBERNETES_ANSWERS)  # else a connection has no bound
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(LOST))  # so that the Job is removed
    order = Order.model_validate_json(sys.argv[1])
    try:
        Relay(order, os.environ.get("PGPASSWORD", "")).carry(json.loads(first_line()))
    except (BrokenEnvironmentError, ApiException, HTTPError, OSError, ValueError) as error:
        text = " ".join(str(error).split())
        print(f"the prober inside is lost: {text}", file=sys.stderr)
        return LOST
    return 0


if __name__ == "__main__":
    sys.exit(main())
