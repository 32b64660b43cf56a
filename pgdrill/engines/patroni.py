"""Patroni, read and steered through its REST API and its lock in etcd; never through patronictl."""

import base64
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import requests

from pgdrill import timeouts
from pgdrill.engines.base import Member, NoPrimaryError, Role, flat
from pgdrill.engines.patroni_access import RestAccess
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.waiting import pause

NAMESPACE = "/pgdrill/"  # of the scopes in etcd, as infra/local/templates/patroni.yml.j2 has it
# Commits wait for no standby, and a standby may take over although it lacks acknowledged rows.
ASYNCHRONOUS = {"synchronous_mode": False, "maximum_lag_on_failover": 64 * 2**20}


class PatroniEngine:
    """Three members behind their REST addresses, one lock in etcd."""

    name = edition = "patroni"
    period = 1.0  # loop_wait

    def __init__(
        self,
        rest: Mapping[str, str],
        etcd: str,
        incarnation: Callable[[str], str],
        scope: str = "pgdrill",
        synchronous_standbys: int = 1,
        access: RestAccess | None = None,
    ) -> None:
        self._rest = dict(rest)
        self._etcd = etcd
        self._incarnation = incarnation
        self._scope = scope
        self._synchronous_standbys = synchronous_standbys
        self._access = access or RestAccess()
        self._pool = ThreadPoolExecutor(len(self._rest) * 2, thread_name_prefix="patroni")

    def status(self, member: str) -> dict[str, Any]:
        """Return a member's own status; empty when it does not answer."""
        try:
            url = f"{self._rest[member]}/patroni"
            return dict(self._access.ask("GET", url, timeout=timeouts.PATRONI_ANSWERS).json())
        except (requests.RequestException, ValueError):
            return {}

    def members(self) -> tuple[Member, ...]:
        """Ask every member at once; one that does not answer is not running."""
        statuses = dict(zip(self._rest, self._pool.map(self.status, self._rest), strict=True))
        heads = [
            s["xlog"]["location"]
            for s in statuses.values()
            if s.get("role") in ("primary", "master") and "location" in s.get("xlog", {})
        ]
        return tuple(
            self._member(name, status, max(heads, default=None))
            for name, status in sorted(statuses.items())
        )

    def _member(self, name: str, status: dict[str, Any], head: int | None) -> Member:
        role: Role = "unknown"
        if status.get("role") in ("primary", "master"):
            role = "primary"
        elif status.get("role"):
            role = "standby"
        running = status.get("state") in ("running", "streaming")
        replayed = status.get("xlog", {}).get("replayed_location")
        lag = None if head is None or replayed is None else max(0, head - replayed)
        return Member(
            name=name,
            incarnation=self._identify(name, status),
            role=role if running else "unknown",
            running=running,
            timeline=int(status.get("timeline") or 0),
            streaming=running
            and (role == "primary" or status.get("replication_state") == "streaming"),
            synchronous=bool(status.get("sync_standby") or status.get("quorum_standby")),
            lag=0 if role == "primary" else lag,
        )

    def _identify(self, name: str, status: Mapping[str, Any]) -> str:
        """Return the incarnation of a member that has this status."""
        return self._incarnation(name)

    def primary(self) -> Member:
        """Return the one member that reports the role of primary.

        Raises:
            NoPrimaryError: none does, or more than one.
        """
        primaries = [m for m in self.members() if m.role == "primary"]
        if len(primaries) != 1:
            raise NoPrimaryError(f"{len(primaries)} members report that they are primary")
        return primaries[0]

    def lock_holder(self) -> str:
        """Return the holder of the leader lock in etcd; '' while there is none."""
        key = base64.b64encode(f"{NAMESPACE}{self._scope}/leader".encode()).decode()
        try:
            answer = requests.post(
                f"{self._etcd}/v3/kv/range", json={"key": key}, timeout=timeouts.PATRONI_ANSWERS
            ).json()
        except (requests.RequestException, ValueError):
            return ""
        pairs = answer.get("kvs") or []
        return base64.b64decode(pairs[0]["value"]).decode() if pairs else ""

    def promoted(self) -> str:
        """Return the member that accepts writes: running, primary, and holding the lock."""

        def accepts(member: str) -> bool:
            try:
                url = f"{self._rest[member]}/primary"
                return self._access.ask("OPTIONS", url, timeout=0.3).status_code == 200
            except requests.RequestException:
                return False

        answers = zip(self._rest, self._pool.map(accepts, self._rest), strict=True)
        return ",".join(name for name, accepted in answers if accepted)

    def switchover(self, to: str) -> None:
        """Ask Patroni for a switchover; returns when it reports success.

        Raises:
            BrokenEnvironmentError: Patroni refused.
        """
        leader = self.primary().name
        asked = {"leader": leader, "candidate": to}
        answer = self._post(leader, "switchover", asked, within=timeouts.SWITCHED_OVER)
        if answer.status_code != 200:
            raise BrokenEnvironmentError(f"Patroni refused the switchover: {answer.text.strip()}")

    def _post(self, member: str, path: str, body: object, *, within: float) -> requests.Response:
        """Ask a member to do something.

        Raises:
            BrokenEnvironmentError: it does not answer.
        """
        try:
            url = f"{self._rest[member]}/{path}"
            return self._access.ask("POST", url, timeout=within, body=body)
        except requests.RequestException as error:
            raise BrokenEnvironmentError(f"{member} does not answer /{path}: {error}") from None

    def clear_restart_backoff(self) -> str:
        """Return '': supervisor has no restart back-off for a process that ran for a second."""
        return ""

    def not_promotable(self) -> tuple[str, ...]:
        """Return no member: Patroni checks each member once a period, whatever happened before."""
        return ()

    def synchronous_state_is_expected(self) -> bool:
        """Whether at least the promised number of standbys may acknowledge a commit."""
        ready = [m for m in self.members() if m.synchronous and m.streaming]
        return len(ready) >= self._synchronous_standbys

    def configuration(self) -> dict[str, Any]:
        """Return Patroni's dynamic configuration, from the first member that answers."""
        return self._from_any("config")

    def _from_any(self, path: str) -> dict[str, Any]:
        """Return what the first member that answers has at a path; empty when none does."""
        for url in self._rest.values():
            try:
                within = timeouts.PATRONI_ANSWERS
                return dict(self._access.ask("GET", f"{url}/{path}", timeout=within).json())
            except (requests.RequestException, ValueError):
                continue
        return {}

    def configure(self, change: Mapping[str, Any]) -> None:
        """Patch the dynamic configuration (None removes a key).

        Raises:
            BrokenEnvironmentError: no member took it.
        """
        for url in self._rest.values():
            try:
                answer = self._access.ask("PATCH", f"{url}/config", timeout=5, body=dict(change))
            except requests.RequestException:
                continue
            if answer.status_code == 200:
                return
        raise BrokenEnvironmentError("no member took the change of Patroni's configuration")

    def restarts_pending(self, *, after: float) -> list[str]:
        """Return members that need a restart for their settings, looked at for after seconds."""
        pause(after)
        return [name for name in self._rest if self.status(name).get("pending_restart")]

    def restart(self, member: str, start_within: int = 0) -> None:
        """Restart a member's PostgreSQL; another takes over if it takes longer than start_within.

        start_within: seconds; 0 for what the configuration has.

        Raises:
            BrokenEnvironmentError: it refused, or did not come back.
        """
        asked = {"timeout": start_within} if start_within else {}
        within = timeouts.MEMBER_RESTARTED + start_within
        answer = self._post(member, "restart", asked, within=within)
        if answer.status_code != 200:
            raise BrokenEnvironmentError(f"{member} was not restarted: {answer.text.strip()}")

    @contextmanager
    def configured(self, change: Mapping[str, Any]) -> Iterator[None]:
        """Patch the dynamic configuration while the block lasts; then restore the previous one.

        Raises:
            BrokenEnvironmentError: no member answers, so nothing could be put back.
        """
        before = self.configuration()
        if not before:
            raise BrokenEnvironmentError("no member returns Patroni's configuration")
        try:
            self.configure(change)
            yield
        finally:
            self.configure({key: before.get(key) for key in change})

    @contextmanager
    def observers(self) -> Iterator[Mapping[str, Callable[[], str]]]:
        """Probes of who holds the lock, and of who accepts writes."""
        yield {"leader": self.lock_holder, "promoted": self.promoted}

    def asynchronous(self) -> AbstractContextManager[None]:
        """Let commits wait for no standby, and let any standby take over, while the block lasts.

        Raises:
            BrokenEnvironmentError: no member answers, so nothing could be put back.
        """
        return self.configured(ASYNCHRONOUS)

    def forget(self) -> None:
        """Remove what the scope keeps in etcd, once its members are gone; safe to repeat."""
        first = f"{NAMESPACE}{self._scope}/"
        span = (base64.b64encode(k.encode()).decode() for k in (first, first[:-1] + "0"))
        with suppress(requests.RequestException):
            requests.post(
                f"{self._etcd}/v3/kv/deleterange",
                json=dict(zip(("key", "range_end"), span, strict=True)),
                timeout=timeouts.PATRONI_ANSWERS,
            )

    def tuning(self) -> dict[str, str]:
        """Return Patroni's dynamic configuration, flattened: what is there was set on purpose."""
        return flat(self.configuration())
