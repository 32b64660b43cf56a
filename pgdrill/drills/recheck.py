"""Checking that the data from before the faults of a run is there after the last fault."""

from pgdrill.platforms.base import Cluster
from pgdrill.records import Kept, Trial, read_lines, views
from pgdrill.rundir import RunDir
from pgdrill.workload import dataset, ledger
from pgdrill.workload.attempts import Attempts
from pgdrill.workload.dataset import DatasetError

CHECKED_WITHIN = 300.0  # seconds for checksums of all tables on every member


def recheck_data(cluster: Cluster, run: RunDir) -> Kept:
    """Compare the dataset with what was loaded, and each trial's ledger with its attempts.

    The results are kept in the run directory. Rows that a trial has lost are counted again.

    Raises:
        BrokenEnvironmentError: the primary or a member does not answer.
    """
    acked = lost = number = 0
    first = ""
    for trial in read_lines(run.file(Trial), Trial):
        if trial.control:
            continue
        number += 1
        for seen in views(trial):
            file = run.path / seen.attempts_file
            ids = ledger.read_ids(cluster.conninfo(), file.stem)
            missing = len(ledger.lost(Attempts.load(file), ids))
            if missing and not first:
                first = f"{trial.experiment} {trial.number}"
            acked += seen.ledger.acked
            lost += missing
    kept = Kept(
        trials=number, acked=acked, lost=lost, first_lost=first, differing=_differing(cluster)
    )
    run.keep(kept)
    return kept


def _differing(cluster: Cluster) -> tuple[str, ...] | None:
    members = {name: cluster.conninfo(at) for name, at in cluster.members.items()}
    try:
        found = dataset.verify(cluster.conninfo(), members, within=CHECKED_WITHIN)
    except DatasetError as error:
        return tuple(str(error).split("; "))
    return None if found is None else ()
