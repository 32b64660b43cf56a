"""A checkpoint on every member: what comes next does not pay for what was written before."""

from functools import partial

import psycopg

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.base import Cluster, Endpoint
from pgdrill.progress import Reporter
from pgdrill.waiting import DeadlineError, eventually

WITHIN = 120.0  # seconds for each member
REDO = "SELECT redo_lsn - '0/0' FROM pg_control_checkpoint()"  # bytes


class NoRightError(BrokenEnvironmentError):
    """The user may not checkpoint."""


def checkpoint(cluster: Cluster) -> None:
    """Let the primary checkpoint, and each standby make a restart point of that checkpoint.

    Raises:
        BrokenEnvironmentError: a member did not do it.
        NoRightError: the user may not; nothing was done.
    """
    try:
        reached = _checkpoint(cluster, cluster.read_write)
        for name, at in cluster.members.items():
            eventually(
                f"a restart point of {name}",
                partial(_checkpoint, cluster, at),
                lambda redo: redo >= reached,
                within=WITHIN,
                every=0.5,
            )
    except psycopg.errors.InsufficientPrivilege:
        raise NoRightError(
            f"{cluster.user} has no right to checkpoint (role pg_checkpoint)"
        ) from None
    except (psycopg.Error, DeadlineError) as error:
        raise BrokenEnvironmentError(f"no checkpoint of every member: {error}") from None


def write_out(cluster: Cluster, reporter: Reporter) -> None:
    """Checkpoint every member, with progress; report it where the user may not.

    Raises:
        BrokenEnvironmentError: a member did not do it.
    """
    with reporter.task("checkpoint of every member"):
        try:
            checkpoint(cluster)
        except NoRightError as error:
            reporter.line(f"{error}: pages that are dirty now are written during the next step")


def _checkpoint(cluster: Cluster, at: Endpoint) -> int:
    """Return the LSN in bytes from which a member would replay now, after a crash."""
    with cluster.connect(at, statement_timeout=WITHIN) as session:
        session.execute("CHECKPOINT")
        row = session.execute(REDO).fetchone()
    assert row is not None
    return int(row[0])
