"""The pooler follows its load, and costs nobody a write."""

from collections.abc import Callable

from pgdrill.drills.failover import Bench
from pgdrill.drills.pooler import run_scaling
from pgdrill.judge.bench import check
from pgdrill.judge.scaling import SUBJECT, claims
from pgdrill.judge.verdicts import Verdicts
from pgdrill.platforms.base import Autoscaled, Cluster, Platform

WHO = "SELECT pg_is_in_recovery(), pg_postmaster_start_time()"


def test_pooler_leads_to_the_primary(
    require: Callable[[str], None], platform: Platform, healthy: Cluster
) -> None:
    """The pooler's address leads to the same server as the read-write address."""
    require("hpa")
    assert isinstance(platform, Autoscaled)
    with healthy.connect(platform.pooler()) as pooled, healthy.connect() as direct:
        behind, primary = (session.execute(WHO).fetchone() for session in (pooled, direct))
    assert primary is not None
    assert primary[0] is False, "the read-write address leads to a standby"
    assert behind == primary, f"behind the pooler {behind}, the primary is {primary}"


def test_pooler_follows_its_load(
    require: Callable[[str], None], bench_of_trials: Bench, verdicts: Verdicts
) -> None:
    """More pods within 90 s of a load, fewer after it, each used; no acknowledged write is lost."""
    require("hpa")
    check(claims(run_scaling(bench_of_trials)), SUBJECT, verdicts)
