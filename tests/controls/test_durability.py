"""A setting that gives acknowledged writes away is found wherever it stands."""

import pytest
from psycopg.sql import SQL, Identifier

from pgdrill.judge.budgets import WEAK_SETTINGS
from pgdrill.platforms.base import Cluster
from pgdrill.workload.durability import weaknesses
from tests.controls.control import Control
from tests.controls.inventory import breaks


@breaks("durability.weak-settings")
@pytest.mark.parametrize("of", ["role", "database"])
def test_asynchronous_commits_of_somebody_are_broken(
    healthy: Cluster, control: Control, of: str
) -> None:
    """synchronous_commit off for one role, or in one database, is found though ours is on."""
    name = {"role": healthy.user, "database": healthy.database}[of]
    target = SQL(f"ALTER {of.upper()} {{}}").format(Identifier(name))
    with healthy.connect() as session:
        session.execute(target + SQL(" SET synchronous_commit = off"))
        try:
            found = weaknesses(healthy.conninfo())
        finally:
            session.execute(target + SQL(" RESET synchronous_commit"))
    with control.must_be("broken", f"a {of} commits asynchronously", WEAK_SETTINGS) as verdicts:
        verdicts.check(WEAK_SETTINGS, len(found), "primary", "; ".join(found))
    assert name in "; ".join(found), found
