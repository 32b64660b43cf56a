"""A surge of clients that connect anew for each transaction: a load for a pooler.

A connection costs a pooler some thirty times what a transaction on it does, and only a new
connection can go to a new pod: clients that kept theirs would leave new pods idle.
"""

import re
import time
from pathlib import Path

from pgdrill.records import Surge
from pgdrill.workload import pgbench_process
from pgdrill.workload.pgbench import ABORTED, MARGIN, PROGRESS, OnProgress, Script
from pgdrill.workload.pgbench_program import Program, described

READ = Script("point_read", 1)
PROCESSED = re.compile(r"^number of transactions actually processed: (\d+)", re.MULTILINE)


def run(
    program: Program,
    conninfo: str,
    *,
    clients: int,
    rate: float,
    seconds: int,
    scale: int,
    seed: int,
    directory: Path,
    on_progress: OnProgress = lambda second, tps, latency: None,
) -> Surge:
    """Read single rows of pgbench's tables of that scale, at most rate a second.

    The output of pgbench stays in directory. A load that could not start, or broke off, gives a
    Surge, too: with its exit status, its aborted clients and what it did until then.
    """
    arguments = [
        "--connect",
        f"--client={clients}",
        f"--jobs={clients}",  # a thread connects for one client at a time
        f"--rate={rate:g}",
        f"--time={seconds}",
        f"--scale={scale}",
        f"--random-seed={seed}",
        "--no-vacuum",
        "--progress=1",
        READ.argument,
    ]

    def on_line(line: str) -> None:
        if (found := PROGRESS.match(line)) and "NaN" not in found[3]:
            on_progress(float(found[1]), float(found[2]), float(found[3]))

    done = pgbench_process.run(
        program,
        arguments,
        conninfo,
        directory=directory,
        within=seconds + MARGIN,
        on_line=on_line,
    )
    counted = PROCESSED.search(done.output)
    return Surge(
        started_at=done.began_at,
        ended_at=time.monotonic(),
        clients=clients,
        rate=rate,
        transactions=int(counted[1]) if counted else 0,
        aborted_clients=len(set(ABORTED.findall(done.errors))),
        exit_status=done.status,
        pgbench=described(program),
    )
