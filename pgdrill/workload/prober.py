"""The open-loop prober: it writes during a fault, and records the outcome of every write.

Attempts are due at fixed times whatever happens to earlier ones, each with a deadline of its own
counted from its due time. They run in a process of their own (probe_loop), apart from the signals,
the threads and the pauses of the process that judges them.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from pgdrill.attempt_log import Lane
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.settings import PACKAGE
from pgdrill.waiting import DeadlineError, eventually
from pgdrill.workload.attempts import Attempts
from pgdrill.workload.pgbench_process import LOST
from pgdrill.workload.pgbench_program import Launch
from pgdrill.workload.server_identity import IDENTITY_ALWAYS

LAUNCH_WITHIN = 20.0  # seconds; an interpreter and its imports take 0.5 s on an idle core
ANSWER_WITHIN = 10.0  # seconds; its loop never blocks: only a lack of CPU delays an answer
SAVE_WITHIN = 10.0  # seconds; a million attempts take 2
LEAVE_WITHIN = 5.0  # seconds after each signal


@dataclass(frozen=True)
class LaneState:
    """The state of one lane so far; acked_at is the instant of its latest ack, 0: none.

    late: acks that were not in time. overdue: open attempts that can no longer be in time.
    """

    acks: int
    refused: int
    indeterminate: int
    late: int
    overdue: int
    acked_at: float
    server: str
    timeline: int
    error: str


class Prober:
    """Runs lanes of attempts against a ledger's table while the block lasts.

        with Prober(lanes, table, directory) as prober:
            ...
        attempts = prober.result()

    The block begins once each lane but direct ones has had a write acknowledged. deadline is
    in seconds from when an attempt is due; an answer after in_time seconds is late (None: the
    deadline). identity: keys of IDENTITY_SQL that each write returns. with_parts: each attempt also
    adds two rows to a second table, and one to a counter. launch: what stands for the process on
    this machine, for one that runs elsewhere.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        table: str,
        directory: Path,
        *,
        deadline: float = 2.0,
        start_within: float = 10.0,
        identity: Collection[str] = IDENTITY_ALWAYS,
        in_time: float | None = None,
        with_parts: bool = False,
        launch: Launch | None = None,
    ) -> None:
        if len({lane.name for lane in lanes}) != len(lanes) or not lanes:
            raise ValueError("a prober needs lanes, each with a name of its own")
        self.file = directory / f"{table}.npz"
        self._errors = directory / f"{table}.prober.err"
        self._deadline = deadline
        self._start_within = start_within
        self._awaited = [lane.name for lane in lanes if not lane.direct]
        self._config = {
            "lanes": [asdict(lane) for lane in lanes],
            "table": table,
            "deadline": deadline,
            "identity": list(identity),
            "in_time": in_time,
            "with_parts": with_parts,
            "file": str(self.file.absolute()),
        }
        self._starts = launch or _here()
        self._process: subprocess.Popen[bytes] | None = None
        self._request_lock = threading.Lock()

    def __enter__(self) -> "Prober":
        """Start, and wait for the first acknowledged write of each lane.

        Raises:
            BrokenEnvironmentError: a lane got none within start_within seconds.
            ValueError: there is a file of an earlier prober for this table.
        """
        if self.file.exists():
            raise ValueError(f"{self.file} exists: each prober needs a table of its own")
        self._launch()
        try:
            self._query(LAUNCH_WITHIN + self._starts.aside)
            try:
                self.wait_for_acks(1, self._start_within)
            except DeadlineError:
                raise self._no_ack_error() from None
        except BaseException:
            self._stop(gently=False)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop(gently=kind is None)

    def alive(self) -> bool:
        """Whether the prober's process runs."""
        return self._process is not None and self._process.poll() is None

    def acks(self) -> dict[str, int]:
        """Acknowledged writes so far, by lane.

        Raises:
            BrokenEnvironmentError: the prober died.
        """
        return {lane: seen.acks for lane, seen in self.look().items()}

    def look(self) -> dict[str, LaneState]:
        """Return the state of each lane.

        Raises:
            BrokenEnvironmentError: the prober died.
        """
        return {
            lane: LaneState(**seen)
            for lane, seen in self._query(ANSWER_WITHIN + self._starts.aside).items()
        }

    def wait_for_acks(self, n: int, within: float) -> None:
        """Wait until each lane but direct ones has had n more acks than at the time of the call.

        Raises:
            DeadlineError: not within so many seconds.
            BrokenEnvironmentError: the prober died.
        """
        before = self.acks()

        def missing() -> list[str]:
            now = self.acks()
            return [lane for lane in self._awaited if now[lane] < before[lane] + n]

        eventually(
            f"{n} acknowledged writes in each lane",
            missing,
            lambda lanes: not lanes,
            within=within,
            every=0.5 if self._starts.aside else 0.05,  # elsewhere, each look is a way there
        )

    def wait_until_steady(self, window: float, within: float) -> None:
        """Wait until 99 % of the attempts of a whole window have been answered in time.

        It observes a second more than the window and allows no more failures in that time, so that
        the judgement of the attempts afterwards (Attempts.steady_after) certainly finds a window.

        Raises:
            DeadlineError: not within so many seconds.
            BrokenEnvironmentError: the prober died.
        """
        longer = window + 1
        looks = deque[tuple[float, int, int]]()  # instant, answered attempts, those in time

        def steady() -> str:
            seen = self.look()
            lanes = [seen[lane] for lane in self._awaited]
            answered = sum(s.acks + s.refused + s.indeterminate for s in lanes)
            looks.append((time.monotonic(), answered, sum(s.acks - s.late for s in lanes)))
            while len(looks) > 1 and looks[1][0] <= looks[-1][0] - longer:
                looks.popleft()
            (since, before, good), (now, after, good_now) = looks[0], looks[-1]
            if now - since < longer:
                return "watching"
            bad = after - before - (good_now - good) + sum(s.overdue for s in lanes)
            few = after > before and bad * 100 * longer <= (after - before) * window
            return "" if few else "attempts fail or are late"

        eventually(
            f"99 % of attempts in time for {window:g} s",
            steady,
            lambda complaint: not complaint,
            within=within,
            every=0.25,
        )

    def result(self) -> Attempts:
        """Return every attempt, once the block is over.

        Raises:
            BrokenEnvironmentError: the prober died, so its attempts are not known.
            RuntimeError: it still runs.
        """
        if self._process is None or self._process.returncode is None:
            raise RuntimeError("the prober's block is not over yet")
        if self._process.returncode != 0 or not self.file.exists():
            raise self._exit_error()
        return Attempts.load(self.file)

    def _launch(self) -> None:
        self._errors.parent.mkdir(parents=True, exist_ok=True)
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                self._starts.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=self._starts.environment,
                start_new_session=True,  # Ctrl-C at the terminal does not reach it: we stop it
                bufsize=0,
            )
        self._send(json.dumps(self._config).encode() + b"\n")

    def _send(self, message: bytes) -> None:
        """Write to the prober; if it has died, the next request of its state raises."""
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(message)

    def _query(self, within: float) -> dict[str, Any]:
        """Request the lanes' state; it is never older than the request."""
        if self._process is None or self._process.stdin is None or self._process.stdin.closed:
            raise RuntimeError("the prober has no state outside of its block")
        assert self._process.stdout is not None
        with self._request_lock:
            self._send(b"?")
            answer = b""
            until = time.monotonic() + within
            while not answer.endswith(b"\n"):
                left = max(0.0, until - time.monotonic())
                if not select.select([self._process.stdout], [], [], left)[0]:
                    raise BrokenEnvironmentError(
                        f"the prober did not answer within {within:g} s: is the machine overloaded?"
                    )
                got = os.read(self._process.stdout.fileno(), 65536)
                if not got:
                    raise self._exit_error()
                answer += got
        state: dict[str, Any] = json.loads(answer)
        return state

    def _no_ack_error(self) -> BrokenEnvironmentError:
        """Return the error for lanes without an ack, with the latest error of each."""
        silent = {
            lane: seen.error or "no answer"
            for lane, seen in self.look().items()
            if lane in self._awaited and not seen.acks
        }
        reasons = "; ".join(f"lane {lane}: {why}" for lane, why in silent.items())
        return BrokenEnvironmentError(
            f"no write was acknowledged within {self._start_within:g} s ({reasons or 'too late'}):"
            " bring the cluster up or mend it, then run this again"
        )

    def _exit_error(self) -> BrokenEnvironmentError:
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(LEAVE_WITHIN)
        lines = self._errors.read_text(errors="replace").strip().splitlines()
        if lines and self._process.returncode == LOST:
            return BrokenEnvironmentError(lines[-1])
        return BrokenEnvironmentError(
            f"the prober died (exit status {self._process.returncode}):"
            f" {lines[-1] if lines else 'it printed nothing'}; its attempts are not known, see"
            f" {self._errors}"
        )

    def _stop(self, *, gently: bool) -> None:
        """End the process in bounded time; gently: the open attempts may run to their deadlines."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if gently:
                process.stdin.close()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(self._deadline + SAVE_WITHIN + self._starts.aside)
        finally:
            for end in (process.terminate, process.kill):
                if process.poll() is None:
                    end()
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(LEAVE_WITHIN)
            if process.returncode == -signal.SIGKILL and self._starts.end:
                self._starts.end()
            process.stdin.close()
            process.stdout.close()


def pod_file(attempts: Path) -> Path:
    """Return where the program that carries a prober in a pod describes that pod."""
    return attempts.with_suffix(".pod.json")


def _here() -> Launch:
    """Return how a prober starts on this machine."""
    command = (sys.executable, "-m", "pgdrill.workload.probe_loop")
    return Launch(command, with_package() | {"LC_ALL": "C"})


def with_package() -> dict[str, str]:
    """Return this process's environment, in which another Python finds this package."""
    path = os.pathsep.join(filter(None, (str(PACKAGE.parent), os.environ.get("PYTHONPATH"))))
    return os.environ | {"PYTHONPATH": path}
