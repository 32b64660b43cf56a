"""The objectives once more, computed by Prometheus: both ways must give the same."""

import pytest

from pgdrill.drills.load import Load, commits_twice, objectives_twice
from pgdrill.drills.publishing import Publication
from pgdrill.judge import budgets, slos
from pgdrill.judge.verdicts import Verdicts
from pgdrill.observe.prometheus import Prometheus
from pgdrill.platforms.base import Cluster
from pgdrill.records import Bench
from pgdrill.rundir import RunDir


def test_objectives_are_the_same_in_prometheus(
    bench: Bench,
    publication: Publication,
    prometheus: Prometheus,
    run_directory: RunDir,
    verdicts: Verdicts,
) -> None:
    """Prometheus has seen as many transactions, as many bad ones and the same p99 as the client."""
    found = objectives_twice(bench, publication, prometheus)
    for one in found:
        run_directory.keep(one)
    slos.judge(found, verdicts)


@pytest.mark.usefixtures("publication")
def test_server_committed_what_clients_were_told(
    cluster: Cluster,
    load: Load,
    bench: Bench,
    prometheus: Prometheus,
    run_directory: RunDir,
    verdicts: Verdicts,
) -> None:
    """PostgreSQL's own count of commits, by way of Prometheus, is that of the clients."""
    found = commits_twice(load, bench, cluster.database, prometheus)
    run_directory.keep(found)
    slos.judge([found], verdicts)


def test_publishing_is_cheap(publication: Publication, verdicts: Verdicts) -> None:
    """Following the log and publishing it costs the load almost nothing."""
    cost = 100 * publication.cpu / publication.seconds
    verdicts.check(
        budgets.PUBLISHER_COST, cost, f"{publication.pushes} pushes in {publication.seconds:.0f} s"
    )
