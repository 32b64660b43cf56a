"""A prober in a pod of an image that has pgdrill: one Job for each start.

`probe_pod` is the program that carries it.
"""

import hashlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

from pgdrill import __version__, timeouts
from pgdrill.platforms.kubernetes import jobs
from pgdrill.platforms.kubernetes.jobs import Place
from pgdrill.records import Record
from pgdrill.settings import PACKAGE
from pgdrill.workload.pgbench_program import Launch
from pgdrill.workload.prober import with_package

LASTS = 3600  # seconds until Kubernetes ends it: the longest trial waits for some 15 minutes
# The files of the prober's process. The image must have the same: a release is no measure of what
# was changed since.
FILES = (
    "__init__.py",
    "attempt_log.py",
    *(f"workload/{name}.py" for name in ("host_names", "probe_lanes", "probe_loop")),
    *(f"workload/{name}.py" for name in ("probe_session", "server_identity")),
)
# The pod's own program: it refuses another version, and stays. Arguments: version, digest, files.
STAY = """\
import hashlib, pathlib, signal, sys
try:
    import pgdrill, pgdrill.workload.probe_loop
    root = pathlib.Path(pgdrill.__file__).parent
    texts = [(root / file).read_bytes() for file in sys.argv[3:]]
except Exception as error:
    sys.exit(f"it has no prober of pgdrill: {error}")
if hashlib.sha256(b"".join(texts)).hexdigest() != sys.argv[2]:
    there, here = pgdrill.__version__, sys.argv[1]
    sys.exit(f"its prober differs from this machine's: pgdrill {there} there, {here} here")
signal.pause()
"""


class Order(Record):
    """One start of a prober, for `probe_pod`; it holds no secret."""

    place: Place
    job: str
    target: str  # connection string without a password
    files: Mapping[str, str]  # what the target names, by its name in jobs.SECRETS


def launch(place: Place, conninfo: str, say: Callable[[str], object]) -> Launch:
    """Return the program that makes the Job, and is the prober to its caller.

    Raises:
        BrokenEnvironmentError: the database does not answer.
    """
    target, files = jobs.inside(conninfo, place)
    order = Order(place=place, job=jobs.new_name("prober"), target=target, files=files)
    # Its end of stdin ends it, also where its parent was killed: then it still removes the Job.
    command = (sys.executable, "-m", "pgdrill.platforms.kubernetes.probe_pod")
    return Launch(
        (*command, order.model_dump_json()),
        with_package() | {"PGPASSWORD": jobs.password(conninfo)},
        lambda: jobs.remove(place, order.job, say),
        aside=timeouts.LOAD_PODS_BEGIN + timeouts.LOAD_FETCHED,
    )


def objects(order: Order, password: str) -> dict[str, Any]:
    """Return the Job and the Secret of a prober, without the owner of the second."""
    place, job = order.place, order.job
    command = ["python3", "-c", STAY, __version__, digest(), *FILES]
    pod = jobs.pod(place, job, "prober", command, config=False)
    # A node that is lost takes its pods along.
    members = {"labelSelector": {"matchLabels": {"cnpg.io/cluster": place.cluster}}}
    apart = {"weight": 100, "podAffinityTerm": members | {"topologyKey": "kubernetes.io/hostname"}}
    pod["affinity"] = {
        "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [apart]}
    }
    return {
        "job": jobs.job_object(place, job, pod, 1, LASTS),
        "secret": jobs.secret_object(place, job, order.files, password),
    }


def digest() -> str:
    """Return the digest of this machine's prober."""
    texts = [(PACKAGE / file).read_bytes() for file in FILES]
    return hashlib.sha256(b"".join(texts)).hexdigest()
