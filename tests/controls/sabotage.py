"""Ways to break the suite's premises rather than the cluster, each as a fault of an experiment."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psutil
import psycopg
from kubernetes import client
from psycopg.sql import SQL, Identifier, Literal

from pgdrill.engines.patroni import PatroniEngine
from pgdrill.faults.base import FaultNotRealError
from pgdrill.observe import rulefiles
from pgdrill.observe.prometheus import Prometheus
from pgdrill.platforms.base import Platform
from pgdrill.platforms.kubernetes.platform import KubernetesPlatform
from pgdrill.waiting import eventually, pause
from pgdrill.workload.probe_loop import counters_of

LOSING = 1.0  # seconds of acknowledged writes that no standby receives; some 70 of them
TAKES_EFFECT = 15.0  # seconds for the engine to change how commits wait
LOADED = 90.0  # seconds for the operator to hand changed rules to Prometheus; about 20 were seen
PROBER = "pgdrill.workload.probe_loop"
HELD = 3.0  # seconds; above the write gap of any fault that must not interrupt writing

# Three of four writes are refused, at once and in every lane, while all else is well.
MOSTLY_REFUSED = (
    "ALTER TABLE {} ADD CONSTRAINT control_refuses"
    " CHECK (id % 4 = 0 OR clock_timestamp() > {}) NOT VALID"
)
# Attempts are numbered over all lanes: what is missing among the first are those that standbys
# refused. The first rows were acknowledged long ago: the prober has waited for 40 more.
REFUSED_APPEAR = (
    "INSERT INTO {0} (id, lane) SELECT one.id + 1, one.lane FROM {0} one"
    " WHERE NOT EXISTS (SELECT FROM {0} next WHERE next.id = one.id + 1) ORDER BY 1 LIMIT 3"
)
ONE_VANISHES = "DELETE FROM {0} WHERE ctid = (SELECT ctid FROM {0} ORDER BY at, id LIMIT 1)"
ONE_DOUBLES = "INSERT INTO {0} SELECT * FROM {0} ORDER BY at, id LIMIT 1"
UPDATES_VANISH = (
    "UPDATE {1} SET value = value - 10 WHERE slot ="
    " (SELECT slot FROM {1} ORDER BY slot DESC LIMIT 1 FOR UPDATE SKIP LOCKED)"
)
# What is before a value in its list cannot come later than it.
ONE_APPENDED_BEFORE = (
    "UPDATE {1} SET items = 0 || items WHERE slot = (SELECT slot FROM {1}"
    " WHERE cardinality(items) = 1 ORDER BY items LIMIT 1 FOR UPDATE SKIP LOCKED)"
)
CHANGES = (REFUSED_APPEAR, ONE_VANISHES, ONE_DOUBLES, UPDATES_VANISH, ONE_APPENDED_BEFORE)


class NoFault:
    """A fault that does nothing: it names no member."""

    name = "nothing"

    def inject(self) -> str:
        """Hit no member."""
        return ""

    def verify_injected(self) -> str:
        """Claim that it is real, without evidence."""
        return "trust me"

    def heal(self) -> None:
        """Nothing to heal."""

    def verify_healed(self) -> str:
        """Nothing to verify."""
        return "nothing to heal"


class LossyKill:
    """Kill the primary while commits wait for no standby and the standbys receive nothing."""

    name = "lossy_kill"

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._deaf, self._kill = platform.faults["standbys_deaf"], platform.faults["primary_kill"]
        self._asynchronous = ExitStack()

    def inject(self) -> str:
        """Make acknowledged writes that only the primary has, then kill it."""
        self._asynchronous.enter_context(self._platform.engine.asynchronous())
        eventually(
            "commits wait for nobody", self._waits_for, lambda names: not names, within=TAKES_EFFECT
        )
        self._deaf.inject()
        pause(LOSING)
        self._deaf.verify_injected()  # a standby that gave up would have reconnected
        return self._kill.inject()

    def _waits_for(self) -> str:
        with self._platform.cluster().connect() as session:
            row = session.execute("SHOW synchronous_standby_names").fetchone()
        return str(row[0]) if row else "unknown"

    def verify_injected(self) -> str:
        """The primary is another process, or none."""
        return self._kill.verify_injected()

    def heal(self) -> None:
        """Undo all of it."""
        self._deaf.heal()
        self._kill.heal()
        self._asynchronous.close()

    def verify_healed(self) -> str:
        """The primary's program runs again."""
        return self._kill.verify_healed()


class NobodyTakesOver:
    """Kill the primary for good while the engine may not promote any member."""

    name = "nobody_takes_over"

    def __init__(self, platform: Platform) -> None:
        assert isinstance(platform.engine, PatroniEngine)
        self._engine, self._away = platform.engine, platform.faults["primary_away"]
        self._paused = ExitStack()

    def inject(self) -> str:
        """Pause Patroni, on every member, then kill."""
        names = [member.name for member in self._engine.members()]
        self._paused.enter_context(self._engine.configured({"pause": True}))
        eventually(
            "every member is paused",
            lambda: [self._engine.status(name).get("pause") for name in names],
            all,
            within=TAKES_EFFECT,
        )
        return self._away.inject()

    def verify_injected(self) -> str:
        """The primary is gone."""
        return self._away.verify_injected()

    def heal(self) -> None:
        """Let Patroni promote again, and the member return."""
        try:
            self._paused.close()
        finally:
            self._away.heal()

    def verify_healed(self) -> str:
        """The member runs again."""
        return self._away.verify_healed()


class StaysAway:
    """Kill a standby for good, and report it as healed; the caller heals it afterwards."""

    name = "stays_away"

    def __init__(self, platform: Platform) -> None:
        self._away = platform.faults["standby_away"]

    def inject(self) -> str:
        """Kill it."""
        return self._away.inject()

    def verify_injected(self) -> str:
        """It is gone."""
        return self._away.verify_injected()

    def heal(self) -> None:
        """Leave it so."""

    def verify_healed(self) -> str:
        """Claim that it is back."""
        return "trust me"


class LateProber:
    """Stop the prober itself, not the cluster: its own attempts are late."""

    name = "late_prober"

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._stopped = 0

    def inject(self) -> str:
        """Stop it for HELD seconds."""
        children = psutil.Process().children()
        for prober in (child for child in children if PROBER in child.cmdline()):
            prober.suspend()
            try:
                pause(HELD)
                self._stopped += prober.status() == psutil.STATUS_STOPPED
            finally:
                prober.resume()
        return self._platform.engine.primary().name

    def verify_injected(self) -> str:
        """One prober was stopped."""
        if self._stopped != 1:
            raise FaultNotRealError(f"{self._stopped} probers were stopped, not 1")
        return f"the prober stood still for {HELD:g} s"

    def heal(self) -> None:
        """It runs again already."""

    def verify_healed(self) -> str:
        """Nothing is held."""
        return "nothing to heal"


class MostlyRefuses:
    """Refuse three of four writes for so many seconds: no long gap in any lane, and no service."""

    name = "mostly_refuses"

    def __init__(self, platform: Platform, lasts: float) -> None:
        self._platform = platform
        self._lasts = lasts
        self._constraints = 0

    def inject(self) -> str:
        """Let the newest ledger refuse rows, by the server's clock."""
        primary = self._platform.engine.primary().name
        with self._platform.cluster().connect() as session:
            table = Identifier(_newest_ledger(session))
            until = session.execute(
                "SELECT (clock_timestamp() + make_interval(secs => %s))::text", [self._lasts]
            ).fetchone()
            assert until is not None
            session.execute(SQL(MOSTLY_REFUSED).format(table, Literal(until[0])))
            found = session.execute(
                "SELECT count(*) FROM pg_constraint WHERE conname = 'control_refuses'"
                " AND conrelid = to_regclass(%s)",
                [table.as_string(session)],
            ).fetchone()
            self._constraints = int(found[0]) if found else 0
        return primary

    def verify_injected(self) -> str:
        """The table has it."""
        if self._constraints != 1:
            raise FaultNotRealError(f"{self._constraints} constraints on the ledger, not 1")
        return f"three of four writes are refused for {self._lasts:g} s"

    def heal(self) -> None:
        """It ends by itself."""

    def verify_healed(self) -> str:
        """Nothing is held."""
        return "nothing to heal"


class Tampering:
    """Hold all writers up while a row vanishes, another one doubles and refused ones appear."""

    name = "tampering"

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._changed: tuple[int, ...] = ()

    def inject(self) -> str:
        """Change the newest ledger behind the back of its prober."""
        primary = self._platform.engine.primary().name
        with self._platform.cluster().connect() as session, session.transaction():
            name = _newest_ledger(session)
            table, counters = Identifier(name), Identifier(counters_of(name))
            session.execute(SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(table))
            self._changed = tuple(
                session.execute(SQL(change).format(table, counters)).rowcount for change in CHANGES
            )
            pause(HELD)
        return primary

    def verify_injected(self) -> str:
        """Every change found its rows."""
        if self._changed != (3, 1, 1, 1, 1):
            raise FaultNotRealError(f"rows changed: {self._changed}, not 3, 1, 1, 1 and 1")
        return (
            "one row deleted, one doubled, three made up, a counter put back, a list's start"
            f" changed, writers held up for {HELD:g} s"
        )

    def heal(self) -> None:
        """The lock went with its transaction."""

    def verify_healed(self) -> str:
        """Nothing is held."""
        return "nothing to heal"


def _newest_ledger(session: psycopg.Connection[tuple[Any, ...]]) -> str:
    row = session.execute(
        r"SELECT relname FROM pg_class WHERE relname LIKE 'ledger\_control\_%'"
        r" AND relname NOT LIKE '%\_parts' AND relname NOT LIKE '%\_counters%'"
        " ORDER BY oid DESC LIMIT 1"
    ).fetchone()
    assert row is not None, "no ledger to tamper with"
    return str(row[0])


@contextmanager
def rules_removed(platform: Platform, prometheus: Prometheus, alert: str) -> Iterator[None]:
    """Run without the PrometheusRule object that holds an alert; it is made again after."""
    assert isinstance(platform, KubernetesPlatform)
    custom = client.CustomObjectsApi(platform.api)
    listed: Any = custom.list_namespaced_custom_object(*platform.names.rules)
    (found,) = (
        one for one in listed["items"] if alert in rulefiles.alerts_of(one["spec"]["groups"])
    )
    meta = {key: found["metadata"].get(key, {}) for key in ("name", "labels", "annotations")}
    custom.delete_namespaced_custom_object(*platform.names.rules, meta["name"])
    try:
        eventually(f"no {alert}", prometheus.rules, lambda r: alert not in r, within=LOADED)
        yield
    finally:
        custom.create_namespaced_custom_object(*platform.names.rules, found | {"metadata": meta})
        eventually(f"{alert} again", prometheus.rules, lambda r: alert in r, within=LOADED)
