"""A worker of a load, followed to its end: its script and the follower's run here, in bash."""

import contextlib
import os
import selectors
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, cast

import pytest

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.kubernetes.load_arguments import Share
from pgdrill.platforms.kubernetes.load_job import WORKER
from pgdrill.platforms.kubernetes.load_workers import Worker
from pgdrill.platforms.kubernetes.pod_shell import PodShell

pytestmark = pytest.mark.unit

# Writes as pgbench does: progress on stderr, a log named after its process id, figures at the end.
PGBENCH = """\
#!/bin/bash
for n in $(seq 1 40); do
  echo "0 $n 100 0 1700000000 $n 5" >>"{work}/log.$$"
  [ $((n % 10)) != 0 ] || echo "progress: $n.0 s, 10.0 tps, lat 1.000 ms" >&2
  sleep 0.02
done
echo "number of transactions actually processed: 40"
exit {status}
"""


class HereSession:
    """A script of this machine's bash in place of one in a pod."""

    def __init__(self, script: str, cut_after: float) -> None:
        self._process = subprocess.Popen(
            ["bash", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        )
        self._cut_at = time.monotonic() + cut_after

    @property
    def status(self) -> int | None:
        """The exit status; None where it was cut off."""
        status = self._process.poll()
        return status if status is None or status >= 0 else None

    def output(self, *, within: float) -> Iterator[tuple[Literal["out", "err"], bytes]]:
        """Yield both outputs until the script ends, or is cut off."""
        assert self._process.stdout
        assert self._process.stderr
        streams = {self._process.stdout.fileno(): "out", self._process.stderr.fileno(): "err"}
        ends = time.monotonic() + within
        with selectors.DefaultSelector() as selector:
            for stream in streams:
                selector.register(stream, selectors.EVENT_READ)
            while selector.get_map() and time.monotonic() < ends:
                if time.monotonic() > self._cut_at:
                    break
                for key, _ in selector.select(0.05):
                    data = os.read(key.fd, 65536)
                    if not data:
                        selector.unregister(key.fd)
                    else:
                        yield cast("Any", (streams[key.fd], data))
        self.close()

    def ask(self, line: str, *, within: float) -> str:
        """Send a line, and read one."""
        assert within
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().decode().strip()

    def close(self) -> None:
        """End it, with what it has started."""
        if self._process.stdin:
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.5 if time.monotonic() < self._cut_at else 0)
        if self._process.poll() is None:
            os.killpg(self._process.pid, 9)
        self._process.wait(5)
        for stream in (self._process.stdout, self._process.stderr):
            if stream:
                stream.close()


class HereShell:
    """Runs a pod's scripts in a directory of this machine; the first sessions may be cut off."""

    def __init__(self, work: Path, cuts: tuple[float, ...] = ()) -> None:
        self.pod = "here"
        self._work, self._cuts = work, list(cuts)

    def open(self, script: str) -> HereSession:
        """Start a script."""
        following = "tail" in script and self._cuts
        after = self._cuts.pop(0) if following else 60.0
        return HereSession(script.replace("/work", str(self._work)), after)

    def read(self, script: str, *, within: float) -> bytes:
        """Return what a script prints."""
        session = self.open(script)
        found = b"".join(data for name, data in session.output(within=within) if name == "out")
        if session.status != 0:
            raise BrokenEnvironmentError(f"{script}: {session.status}")
        return found


class Pod:
    """What a pod would have: its directories, its pgbench and the running script."""

    def __init__(self, root: Path, status: int) -> None:
        self.work, load, programs = root / "work", root / "load", root / "kept/16/bin"
        for directory in (self.work, load, programs):
            directory.mkdir(parents=True)
        (load / "arguments-0").write_text("--client=1\nhost=pg-rw\n")
        pgbench = programs / "pgbench"
        pgbench.write_text(PGBENCH.format(work=self.work, status=status))
        pgbench.chmod(0o755)
        text = WORKER.read_text()
        for inside, here in (
            ("/work", self.work),
            ("/load", load),
            ("/usr/lib/postgresql", root / "kept"),
        ):
            text = text.replace(inside, str(here))
        script = root / "worker.sh"
        script.write_text(text)
        self.process = subprocess.Popen(
            ["bash", script], env=os.environ | {"JOB_COMPLETION_INDEX": "0"}, process_group=0
        )

    def end(self) -> None:
        """End what still runs of it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.process.wait(5)


def _followed(
    root: Path, *, status: int = 0, cuts: tuple[float, ...] = ()
) -> tuple[Worker, list[str], Pod]:
    """Carry a load in a pod of this machine; return its worker, its lines, and the pod."""
    pod, lines = Pod(root, status), list[str]()
    shell = cast("PodShell", HereShell(pod.work, cuts))
    worker = Worker(shell, "node", Share((), 1, 0), root / "pgbench_log.0", lines.append)
    try:
        worker.read_clock()
        worker.begin_at(time.time() + 0.3)
        worker.follow(30)
    except BaseException:
        pod.end()
        raise
    return worker, lines, pod


@pytest.mark.parametrize("cuts", [(), (0.4,), (0.2, 0.5)], ids=["whole", "cut", "cut-twice"])
def test_every_line_comes_once(tmp_path: Path, cuts: tuple[float, ...]) -> None:
    """The log and the progress, also over a session that is cut off; the pod may end then."""
    worker, lines, pod = _followed(tmp_path, status=1, cuts=cuts)
    try:
        worker.finish()
        pod.process.wait(5)
    finally:
        pod.end()
    assert worker.log
    numbers = [line.split()[1] for line in worker.log.read_text().splitlines()]
    assert numbers == [str(n) for n in range(1, 41)]
    assert [line.split()[1] for line in lines] == ["10.0", "20.0", "30.0", "40.0"]
    assert worker.status == 1
    assert worker.output == "number of transactions actually processed: 40\n"


def test_it_begins_at_the_instant_and_not_before(tmp_path: Path) -> None:
    """By its own clock, which is this machine's here: no offset but the error of measuring it."""
    asked = time.time() + 0.3
    worker, _, pod = _followed(tmp_path)
    try:
        worker.finish()
    finally:
        pod.end()
    assert abs(worker.clock.offset) <= worker.clock.bound < 0.5
    assert asked - 0.01 - worker.clock.bound < worker.began < asked + 10


def test_a_log_that_differs_is_fetched_again(tmp_path: Path) -> None:
    """Compared by its checksum: what was damaged on the way is replaced, or refused."""
    worker, _, pod = _followed(tmp_path)
    assert worker.log
    try:
        worker.log.write_text("damaged\n")
        worker.finish()
        assert len(worker.log.read_text().splitlines()) == 40
    finally:
        pod.end()


def test_a_worker_that_is_lost_is_an_error(tmp_path: Path) -> None:
    """Its pgbench left no exit status: a part of the load is missing."""
    worker, _, pod = _followed(tmp_path)
    pod.end()
    (pod.work / "status").unlink()
    with pytest.raises(BrokenEnvironmentError):
        worker.finish()
