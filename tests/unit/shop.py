"""Helpers of the dataset's tests: seed a scratch database, look into it, stop in the middle."""

from collections.abc import Callable
from typing import Any

import psycopg

from pgdrill.records import Seed
from pgdrill.settings import MIN_ROWS
from pgdrill.workload import dataset
from pgdrill.workload.dataset.load import Progress

WITHIN = 60.0  # seconds; far more than any of these needs


def plant(
    conninfo: str,
    *,
    seed: int = 42,
    rows: int = MIN_ROWS,
    within: float = WITHIN,
    progress: Progress | None = None,
    reseed: bool = False,
    free: int | None = None,
) -> Seed:
    """Seed one server that is its own only member; free is what its volume has left."""
    return dataset.seed(
        conninfo,
        {"one": conninfo},
        rows=rows,
        seed=seed,
        progress=progress,
        within=within,
        reseed=reseed,
        free=lambda: {} if free is None else {"one": free, "two": 2 * free},
    )


def query(conninfo: str, text: str) -> list[tuple[Any, ...]]:
    """Run a query in a session of its own."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        return connection.execute(text).fetchall()


def execute(conninfo: str, text: str) -> None:
    """Run statements in a session of their own."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(text)


def stop_at(table: str, error: Callable[[], None]) -> Progress:
    """A progress callback that does something when a table's first rows are in."""

    def progress(what: str, done: int, total: int, rate: float) -> None:
        if what == table:
            error()

    return progress


def interrupt() -> None:
    """What Ctrl-C does."""
    raise KeyboardInterrupt
