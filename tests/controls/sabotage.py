"""Ways to break the suite's premises rather than the cluster, each as a fault of an experiment."""

import json
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

from pgdrill.faults.base import FaultNotRealError
from pgdrill.faults.experiment import Experiment
from pgdrill.platforms.base import Platform
from pgdrill.waiting import eventually, pause

LOSING = 1.0  # seconds of acknowledged writes that no standby hears of; some 70 of them
TAKES_EFFECT = 15.0  # seconds for the engine to change how commits wait
HELD = 3.0  # seconds; above the write gap of any fault that must not interrupt writing


def of_fault(like: Experiment, fault: str) -> Experiment:
    """Return the same experiment with another fault, under a name that says it is a control."""
    spec: dict[str, Any] = json.loads(
        json.dumps(like.spec).replace(f'"{like.fault}"', f'"{fault}"')
    )
    return replace(like, name=f"control_{fault}", fault=fault, spec=spec)


class NoFault:
    """Does nothing and says so: names no member."""

    name = "nothing"

    def inject(self) -> str:
        """Hit nobody."""
        return ""

    def verify_injected(self) -> str:
        """Claim that it is real all the same."""
        return "trust me"

    def heal(self) -> None:
        """Nothing to heal."""

    def verify_healed(self) -> str:
        """Nothing to verify."""
        return "nothing to heal"


class LossyKill:
    """Kill the primary while commits wait for nobody and the standbys hear nothing."""

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
        self._deaf.verify_injected()  # a standby that gave up would have connected anew
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


class Tampering:
    """Hold all writers up, take an acknowledged row out of the ledger and put another in twice."""

    name = "tampering"

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._changed = 0

    def inject(self) -> str:
        """Change the newest ledger behind the back of its prober."""
        primary = self._platform.engine.primary().name
        with self._platform.cluster().connect() as session, session.transaction():
            table = Identifier(_newest_ledger(session))
            session.execute(SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(table))
            # The first rows were acknowledged long ago: the prober has waited for 40 more.
            oldest = SQL("(SELECT ctid FROM {} ORDER BY at, id OFFSET {} LIMIT 1)")
            gone = session.execute(
                SQL("DELETE FROM {} WHERE ctid = {}").format(table, oldest.format(table, 0))
            )
            twice = session.execute(
                SQL("INSERT INTO {0} SELECT * FROM {0} WHERE ctid = {1}").format(
                    table, oldest.format(table, 1)
                )
            )
            self._changed = gone.rowcount + twice.rowcount
            pause(HELD)
        return primary

    def verify_injected(self) -> str:
        """Two rows were changed."""
        if self._changed != 2:
            raise FaultNotRealError(f"{self._changed} rows were changed, not 2")
        return f"one row deleted, one doubled, writers held up for {HELD:g} s"

    def heal(self) -> None:
        """The lock went with its transaction."""

    def verify_healed(self) -> str:
        """Nothing is held."""
        return "nothing to heal"


def _newest_ledger(session: psycopg.Connection[tuple[Any, ...]]) -> str:
    row = session.execute(
        r"SELECT relname FROM pg_class WHERE relname LIKE 'ledger\_control\_%'"
        " ORDER BY oid DESC LIMIT 1"
    ).fetchone()
    assert row is not None, "no ledger to tamper with"
    return str(row[0])
