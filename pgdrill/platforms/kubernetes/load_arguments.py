"""One load on several workers: each one's part of pgbench's arguments, and their sum."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pgdrill.workload.pgbench import PROGRESS

SCRIPTS = PurePosixPath("/load")  # where a worker has the scripts
LOG = PurePosixPath("/work/log")  # the prefix of a worker's transaction log
# Apart by more than a worker's own threads take of the random numbers that follow the seed.
SEEDS_APART = 1_000_003
CLIENT = re.compile(r"\bclient (\d+)\b")
_SUMS = (
    "number of transactions actually processed: ",
    "number of failed transactions: ",
    "tps = ",
)


@dataclass(frozen=True)
class Share:
    """The part of one worker."""

    arguments: tuple[str, ...]
    clients: int
    first_client: int  # the number that its client 0 has among all


def log_prefix(arguments: Sequence[str]) -> str:
    """Return the prefix of the logs that these arguments ask for; '' for none."""
    return next((_value(a) for a in arguments if a.startswith("--log-prefix=")), "")


def workers_for(arguments: Sequence[str], wanted: int) -> int:
    """Return how many workers carry this: one where it is no load, as the making of the tables."""
    clients = [int(_value(a)) for a in arguments if a.startswith("--client=")]
    return min(wanted, clients[0]) if clients else 1


def split(arguments: Sequence[str], workers: int) -> tuple[Share, ...]:
    """Return each worker's arguments: clients and rate are divided, the seeds differ.

    One thread is enough for each: a second worker is where more is needed.
    """
    given = {a.partition("=")[0]: _value(a) for a in arguments}
    clients = int(given.get("--client", 0))
    shares, first = [], 0
    for number in range(workers):
        of = clients // workers + (number < clients % workers)
        own = {"--client": str(of), "--jobs": "1", "--log-prefix": str(LOG)}
        if "--rate" in given:
            own["--rate"] = f"{float(given['--rate']) * of / clients:g}"
        if "--random-seed" in given:
            own["--random-seed"] = str(int(given["--random-seed"]) + number * SEEDS_APART)
        shares.append(Share(tuple(_replaced(a, own) for a in arguments), of, first))
        first += of
    return tuple(shares)


def _value(argument: str) -> str:
    return argument.partition("=")[2]


def _replaced(argument: str, own: dict[str, str]) -> str:
    name, _, value = argument.partition("=")
    if name == "--file":
        return f"{name}={SCRIPTS / PurePosixPath(value).name}"
    return f"{name}={own[name]}" if name in own else argument


def summed(outputs: Sequence[str]) -> str:
    """Return the figures that all workers' outputs have, summed up, and then each output."""
    lines = []
    for begin in _SUMS:
        found = [
            float(hit[1])
            for text in outputs
            if (hit := re.search(rf"^{re.escape(begin)}([\d.]+)", text, re.MULTILINE))
        ]
        if outputs and len(found) == len(outputs):
            lines.append(f"{begin}{sum(found):.15g}")
    for number, text in enumerate(outputs):
        lines += [f"-- worker {number}", text.rstrip("\n")]
    return "\n".join(lines) + "\n"


def renumbered(line: str, first_client: int) -> str:
    """Return a line of a worker with the number that the client has among all clients."""
    return CLIENT.sub(lambda hit: f"client {int(hit[1]) + first_client}", line)


@dataclass
class Progress:
    """The lines of progress of all workers, made one for each second."""

    workers: int
    _seen: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def line(self, text: str) -> str | None:
        """Take a worker's line; return the sum once every worker has reported that second.

        The latency is the mean of the workers', by their transactions.
        """
        hit = PROGRESS.match(text)
        if not hit:
            return None
        tps = float(hit[2])
        latency = float(hit[3]) if tps else 0.0  # a second without transactions has none
        second = f"{float(hit[1]):.0f}.0"
        seen = self._seen.setdefault(second, [])
        seen.append((tps, latency))
        if len(seen) < self.workers:
            return None
        total = sum(tps for tps, _ in seen)
        mean = sum(tps * latency for tps, latency in seen) / total if total else float("nan")
        return f"progress: {second} s, {total:.1f} tps, lat {mean:.3f} ms"
