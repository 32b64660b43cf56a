"""Patroni of which nothing but the REST API is reached: no process, no file, no lock in etcd."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pgdrill import timeouts
from pgdrill.engines.base import Member, flat
from pgdrill.engines.patroni import PatroniEngine
from pgdrill.engines.patroni_access import RestAccess
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.waiting import pause

# Seconds between two looks of an observer. Patroni asks its database for each: at 20 a second, on
# two cores, it logged new connections of its own instead of leading.
BETWEEN_LOOKS = 0.2
# Settings that may hold a password, or a command that does.
_SECRET = re.compile(r"password|secret|token|conninfo|_command", re.IGNORECASE)


class PatroniByRest(PatroniEngine):
    """The members behind these addresses, by their names; period is their loop_wait, seconds."""

    def __init__(
        self, rest: Mapping[str, str], access: RestAccess, scope: str, period: float
    ) -> None:
        super().__init__(rest, "", lambda _: "", scope, access=access)
        self.period = period

    def _identify(self, name: str, status: Mapping[str, Any]) -> str:
        """Return when its postmaster was started: a restarted one is another incarnation."""
        return str(status.get("postmaster_start_time") or "")

    def view(self) -> dict[str, Any]:
        """Return the cluster as Patroni lists it, from the first member that answers; or {}."""
        return self._from_any("cluster")

    def lock_holder(self) -> str:
        """Return the holder of the leader lock; '' while there is none."""
        members = self.view().get("members", [])
        return next((str(m["name"]) for m in members if m.get("role") == "leader"), "")

    def candidates(self) -> list[str]:
        """Name the standbys that a switchover may choose: synchronous ones before all others."""
        barred = {
            str(one["name"])
            for one in self.view().get("members", [])
            if one.get("tags", {}).get("nofailover")
            or one.get("tags", {}).get("failover_priority") == 0
        }
        fit = [
            m
            for m in self.members()
            if m.role == "standby" and m.streaming and m.name not in barred
        ]
        return [m.name for m in fit if m.synchronous] or (
            [] if _commits_wait(self.configuration()) else [m.name for m in fit]
        )

    def synchronous_state_is_expected(self) -> bool:
        """Whether as many standbys may acknowledge a commit as the configuration asks for."""
        configuration = self.configuration()
        if not _commits_wait(configuration):
            return bool(configuration)  # no answer is no evidence
        members = self.members()
        ready = [m for m in members if m.synchronous and m.streaming]
        wanted = int(configuration.get("synchronous_node_count") or 1)
        return len(ready) >= min(wanted, len(members) - 1)

    def reinitialize(self, standby: str) -> None:
        """Ask a standby to rebuild itself from nothing; returns once it has begun.

        Raises:
            BrokenEnvironmentError: it refused, or does not answer.
        """
        answer = self._post(standby, "reinitialize", {}, within=timeouts.PATRONI_TAKES)
        if answer.status_code != 200:
            raise BrokenEnvironmentError(f"{standby} was not rebuilt: {answer.text.strip()}")

    @contextmanager
    def observers(self) -> Iterator[Mapping[str, Callable[[], str]]]:
        """Probes of who holds the lock, and of who accepts writes; no burden for the members."""

        def rarely(look: Callable[[], str]) -> Callable[[], str]:
            def probe() -> str:
                pause(BETWEEN_LOOKS)
                return look()

            return probe

        yield {"leader": rarely(self.lock_holder), "promoted": rarely(self.promoted)}

    def member(self, name: str) -> Member:
        """Return one member as it is now."""
        return next(m for m in self.members() if m.name == name)

    def tuning(self) -> dict[str, str]:
        """Return the dynamic configuration, flattened, without what may be a secret."""
        return {
            key: "(not shown)" if _SECRET.search(key) else value
            for key, value in flat(self.configuration()).items()
        }


def _commits_wait(configuration: Mapping[str, Any]) -> bool:
    """Whether a configuration lets commits wait for a standby."""
    return configuration.get("synchronous_mode") not in (None, False, "off", "false")
