"""What the prober itself costs: how late it is at a rate, how much memory its records take."""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from pgdrill.attempt_log import Lane, Outcome
from pgdrill.settings import PACKAGE
from pgdrill.waiting import pause
from pgdrill.workload.attempts import Attempts
from pgdrill.workload.ledger import create_table
from pgdrill.workload.prober import Prober

FRESH_SHARE = 0.04  # 20 of 500 attempts/s connect anew: what the chaos suite's fresh lane does
TABLE = "prober_cost"

# Different attempts, one of a hundred with a reason. VmHWM is the peak of this very program: on
# Linux getrusage would count the parent's memory from before the exec. macOS counts in bytes.
_RECORD = """
import resource
import sys
from pathlib import Path
from pgdrill.workload import probe_loop
from pgdrill.attempt_log import Lane, Outcome
loop = probe_loop.Loop([Lane("held", "held", "", 500)], "t", 2.0)
for n in range(int(sys.argv[1])):
    instants = (n * 2_000_000, n * 2_000_000 + 9, n * 2_000_000 + 99, n * 2_000_000 + n % 9999)
    if n % 100:
        loop.log.add(n, 0, instants, Outcome.ACKED, "", f"10.0.0.{n % 3}:5432", n // 100_000)
    else:
        loop.log.add(n, 0, instants, Outcome.REFUSED, f"connect: reason {n % 7}")
loop.log.save(Path(sys.argv[2]))
if sys.platform == "linux":
    status = Path("/proc/self/status").read_text()
    print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def measure_schedule(
    conninfo: str, rate: float = 500, seconds: float = 20, *, deadline: float = 2.0
) -> float:
    """Probe a healthy database and return the 99th percentile of the schedule error, in ms.

    Raises:
        BrokenEnvironmentError: the database does not take the writes.
        AssertionError: less than 99 % of the rate was offered or acknowledged, so the figure
            would not be one at that rate.
    """
    create_table(conninfo, TABLE)
    lanes = [
        Lane("fresh", "fresh", conninfo, rate * FRESH_SHARE),
        Lane("held", "held", conninfo, rate * (1 - FRESH_SHARE)),
    ]
    with TemporaryDirectory(prefix="pgdrill-") as directory:
        with Prober(lanes, TABLE, Path(directory), deadline=deadline) as prober:
            pause(seconds)
        attempts = prober.result()
    acked = attempts.of(Outcome.ACKED).size
    if acked < 0.99 * rate * seconds:
        raise AssertionError(
            f"{acked} writes acknowledged in {seconds:g} s, {0.99 * rate * seconds:.0f} are 99 %"
            f" of {rate:g}/s: the schedule error at that rate is not known"
        )
    return attempts.schedule_error_p99_ms()


def measure_memory(attempts: int = 1_000_000) -> float:
    """Return the peak memory, in MB, of a prober that records and saves so many attempts.

    Raises:
        AssertionError: they were not all saved, so the figure would be of fewer.
    """
    with TemporaryDirectory(prefix="pgdrill-") as directory:
        file = Path(directory) / "attempts.npz"
        done = subprocess.run(
            [sys.executable, "-c", _RECORD, str(attempts), str(file)],
            cwd=PACKAGE.parent,
            capture_output=True,
            text=True,
            check=False,
            timeout=60 + attempts / 10_000,
        )
        if done.returncode or Attempts.load(file).rows.size != attempts:
            raise AssertionError(f"not all {attempts} attempts were recorded: {done.stderr}")
    return int(done.stdout) / 1024
