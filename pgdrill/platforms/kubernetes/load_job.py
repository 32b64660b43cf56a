"""pgbench in pods of the database's own image: one Indexed Job for each start.

`load_workers` is the program that follows it.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pgdrill import timeouts
from pgdrill.platforms.kubernetes import jobs
from pgdrill.platforms.kubernetes.jobs import Place
from pgdrill.records import Record
from pgdrill.workload.pgbench_program import Launch, with_its_parent

WORKER = Path(__file__).with_name("worker.sh")


class Order(Record):
    """One start of pgbench, for `load_workers`; it holds no secret."""

    place: Place
    job: str
    arguments: tuple[str, ...]  # of pgbench, without the database
    target: str  # connection string without a password
    files: Mapping[str, str]  # what the target names, by its name in jobs.SECRETS
    reads: str  # the directory of the scripts


@dataclass(frozen=True)
class JobProgram:
    """pgbench in the pods of a new Job for each start."""

    where: Place
    version: str
    say: Callable[[str], object] = field(compare=False)

    @property
    def place(self) -> str:
        """The number of pods, and what they run."""
        pods = "a pod" if self.where.workers == 1 else f"{self.where.workers} pods"
        return (
            f"in {pods} of {self.where.image} in namespace {self.where.namespace}, because"
            " --load=cluster"
        )

    def threads(self, clients: int) -> int:
        """Return one for each pod."""
        return min(self.where.workers, clients)

    def launch(
        self, arguments: Sequence[str], conninfo: str, *, reads: Path, logs: Path | None
    ) -> Launch:
        """Return the program that makes the Job, follows it, and fetches its logs."""
        target, files = jobs.inside(conninfo, self.where)
        order = Order(
            place=self.where,
            job=jobs.new_name("load"),
            arguments=tuple(arguments),
            target=target,
            files=files,
            reads=str(reads.absolute()),
        )
        command = (
            *with_its_parent("TERM"),  # so that it removes the Job
            *(sys.executable, "-m", "pgdrill.platforms.kubernetes.load_workers"),
            order.model_dump_json(),
        )
        environment = os.environ | {"PGPASSWORD": jobs.password(conninfo)}
        return Launch(
            command,
            environment,
            lambda: jobs.remove(self.where, order.job, self.say),
            aside=timeouts.LOAD_PODS_BEGIN + timeouts.LOAD_FETCHED,
        )


def objects(
    order: Order, password: str, arguments: Sequence[Sequence[str]], lasts: int
) -> dict[str, Any]:
    """Return the Job, the ConfigMap and the Secret of a load, without the owner of the last two.

    arguments: those of each worker; lasts: seconds until Kubernetes ends it.
    """
    place, job = order.place, order.job
    scripts = {file.name: file.read_text() for file in Path(order.reads).glob("*.sql")}
    lines = {f"arguments-{n}": "\n".join([*a, order.target]) for n, a in enumerate(arguments)}
    pod = jobs.pod(place, job, "pgbench", ["bash", f"/load/{WORKER.name}"], config=True)
    return {
        "job": jobs.job_object(place, job, pod, len(arguments), lasts),
        "config": {
            "metadata": jobs.metadata(place, job),
            "data": scripts | lines | {WORKER.name: WORKER.read_text()},
        },
        "secret": jobs.secret_object(place, job, order.files, password),
    }
