"""Faults that need nothing but Patroni's REST API: switchover, restart, reinitialisation."""

from pgdrill import timeouts
from pgdrill.engines.base import Member
from pgdrill.engines.patroni_by_rest import PatroniByRest
from pgdrill.faults.base import Fault, FaultNotRealError
from pgdrill.platforms.member_faults import MemberFault
from pgdrill.platforms.switchover import Switchover
from pgdrill.waiting import DeadlineError, eventually

# Seconds that a restarted primary may take to start before another one takes over: with 0 in the
# configuration, as some have it for crashes, any restart would be a failover.
STARTS_WITHIN = 30
COPY_BEGINS = 30.0  # seconds until a standby that is rebuilt has stopped and begins to copy
COPYING = "creating replica"  # Patroni's word: only a member without usable data is in this state


class PlannedSwitchover(Switchover):
    """Hand over to a standby that Patroni would take, a synchronous one where commits wait."""

    _engine: PatroniByRest

    def _candidates(self) -> list[str]:
        return self._engine.candidates()


class RestFault(MemberFault):
    """Hits one member; a postmaster that was started later is another incarnation."""

    _engine: PatroniByRest

    def _now(self) -> str:
        return self._engine.member(self._target.name).incarnation

    def _returned(self) -> Member:
        """Wait until another postmaster serves in the place of the one that was hit.

        Raises:
            FaultNotRealError: none does.
        """
        old, name = self._target.incarnation, self._target.name
        try:
            return eventually(
                f"another postmaster of {name}",
                lambda: self._engine.member(name),
                lambda now: now.running and now.streaming and now.incarnation not in ("", old),
                within=timeouts.REDUNDANT_AFTER,
                every=0.2,
            )
        except DeadlineError as error:
            raise FaultNotRealError(str(error)) from None


class RestartPrimary(RestFault):
    """Restart the primary's PostgreSQL in place."""

    def inject(self) -> str:
        """Restart it; returns when it has started.

        Raises:
            BrokenEnvironmentError: Patroni refused, or it did not start in time.
        """
        target = self._choose()
        self._engine.restart(target.name, STARTS_WITHIN)
        return target.name

    def verify_injected(self) -> str:
        """Another postmaster serves, started later.

        Raises:
            FaultNotRealError: it is the same one.
        """
        now = self._returned()
        return f"{now.name}: postmaster of {self._target.incarnation}, now of {now.incarnation}"


class ReinitStandby(RestFault):
    """Let a standby throw its data away and copy them anew."""

    def inject(self) -> str:
        """Begin.

        Raises:
            BrokenEnvironmentError: Patroni refused.
        """
        target = self._choose()
        self._engine.reinitialize(target.name)
        return target.name

    def verify_injected(self) -> str:
        """Its postmaster is gone, and Patroni makes a replica in its place.

        Raises:
            FaultNotRealError: not so.
        """
        name = self._target.name
        try:
            eventually(
                f"the state of {name}",
                lambda: str(self._engine.status(name).get("state", "")),
                lambda state: state == COPYING,
                within=COPY_BEGINS,
                every=0.05,
            )
        except DeadlineError as error:
            raise FaultNotRealError(str(error)) from None
        return f"{name}: the postmaster of {self._target.incarnation} is gone, {COPYING}"

    def verify_healed(self) -> str:
        """The copy streams.

        Raises:
            FaultNotRealError: it does not.
        """
        now = self._returned()
        return f"{now.name} streams again, its postmaster is of {now.incarnation}"


def rest_faults(engine: PatroniByRest) -> tuple[Fault, ...]:
    """Return every fault that a Patroni cluster's REST API can inject."""
    return (
        PlannedSwitchover(engine),
        RestartPrimary(engine, "primary_restart", "primary"),
        ReinitStandby(engine, "standby_reinit", "standby"),
    )
