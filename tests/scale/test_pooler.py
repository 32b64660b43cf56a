"""The pooler follows its load, and no client loses a write."""

from collections.abc import Callable

from pgdrill.drills.failover import DrillContext
from pgdrill.drills.pooler import run_scaling
from pgdrill.judge.bench import check
from pgdrill.judge.scaling import SUBJECT, claims
from pgdrill.judge.verdicts import Verdicts
from pgdrill.platforms.base import Cluster, HasAutoscaler, Platform

WHO = "SELECT pg_is_in_recovery(), pg_postmaster_start_time()"


def test_pooler_leads_to_the_primary(
    require_capability: Callable[[str], None], platform: Platform, healthy: Cluster
) -> None:
    """The pooler's address leads to the same server as the read-write address."""
    require_capability("hpa")
    assert isinstance(platform, HasAutoscaler)
    with healthy.connect(platform.pooler()) as pooled, healthy.connect() as direct:
        behind, primary = (session.execute(WHO).fetchone() for session in (pooled, direct))
    assert primary is not None
    assert primary[0] is False, "the read-write address leads to a standby"
    assert behind == primary, f"behind the pooler {behind}, the primary is {primary}"


def test_pooler_follows_its_load(
    require_capability: Callable[[str], None], drill_context: DrillContext, verdicts: Verdicts
) -> None:
    """More pods within 90 s of a load, fewer after it, each used; no acknowledged write is lost."""
    require_capability("hpa")
    check(claims(run_scaling(drill_context)), SUBJECT, verdicts)
