"""Durability is looked at, not assumed: the zero-loss promise rests on settings of every member."""

from pgdrill.judge.budgets import WEAK_SETTINGS
from pgdrill.judge.verdicts import Verdicts
from pgdrill.platforms.base import Cluster
from pgdrill.workload.durability import weaknesses


def test_no_setting_gives_acknowledged_writes_away(healthy: Cluster, verdicts: Verdicts) -> None:
    """No member, role or database has a setting under which an acknowledged write may be lost."""
    with verdicts.together():
        # No addresses of members: the primary's settings alone.
        for name, at in (healthy.members or {"primary": healthy.read_write}).items():
            found = weaknesses(healthy.conninfo(at))
            verdicts.check(WEAK_SETTINGS, len(found), name, "; ".join(found))
