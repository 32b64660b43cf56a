"""CloudNativePG whose members have no address of their own: seen by the primary and the API."""

from collections.abc import Mapping

import psycopg

from pgdrill.engines.base import Member, Role
from pgdrill.engines.cnpg import CnpgEngine

# One row for each standby that is sent to; the primary's own columns are in all of them.
_STATE = """
SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int,
       r.application_name, r.sync_state IN ('sync', 'quorum'),
       CASE WHEN r.replay_lsn IS NOT NULL  -- greatest() takes NULL for nothing
            THEN greatest(0, (pg_current_wal_lsn() - r.replay_lsn)::bigint) END
FROM (SELECT WHERE NOT pg_is_in_recovery()) AS primary_only
LEFT JOIN pg_stat_replication r ON r.state = 'streaming'
"""


class CnpgByPrimary(CnpgEngine):
    """connect opens a session through the read-write address, whatever the member.

    A standby's timeline is not visible: one that the primary streams to has the primary's.
    """

    def members(self) -> tuple[Member, ...]:
        """Every instance: its pod and readiness from the API, replication from the primary."""
        described = self._instances()
        ready = {pod["metadata"]["name"]: _is_ready(pod) for pod in described}
        pods = self.pods()
        resource = self.resource().get("status", {})
        named = str(resource.get("currentPrimary", ""))
        timeline, sent = self._replication()

        def seen(name: str) -> Member:
            role: Role = "unknown"
            if ready.get(name) and (name != named or timeline):
                role = "primary" if name == named else "standby"
            synchronous, lag = sent.get(name, (False, None))
            streams = role == "primary" or name in sent
            return Member(
                name=name,
                incarnation=pods[name].incarnation if name in pods else "",
                role=role,
                running=role != "unknown",
                timeline=timeline if streams else 0,
                streaming=streams,
                synchronous=synchronous,
                lag=0 if role == "primary" else lag,
            )

        return tuple(seen(name) for name in sorted(resource.get("instanceNames") or pods))

    def _replication(self) -> tuple[int, dict[str, tuple[bool, int | None]]]:
        """Return the primary's timeline, 0 where it does not answer, and its connected standbys."""
        try:
            with self._connect("") as session:
                rows = session.execute(_STATE).fetchall()
        except psycopg.Error:
            return 0, {}
        sent = {name: (bool(sync), lag) for _, name, sync, lag in rows if name}
        return (int(rows[0][0]) if rows else 0), sent


def _is_ready(pod: Mapping[str, Mapping[str, object]]) -> bool:
    conditions = pod["status"].get("conditions") or []
    assert isinstance(conditions, list)
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
