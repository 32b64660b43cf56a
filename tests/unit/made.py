"""Made-up attempts for property tests, as hypothesis draws them."""

import dataclasses

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from pgdrill.attempt_log import ATTEMPT, Outcome
from pgdrill.workload.attempts import NS, Attempts

TICK = 10_000_000  # ns; coarse, so that instants often coincide
BEGIN = 1000 * NS
LANES = ("fresh", "held", "fresh@a")
REASONS = ("", "deadline", "57014")
SERVERS = ("", "a", "b")

instants = st.integers(0, 400).map(lambda ticks: (BEGIN + ticks * TICK) / NS)


def _row(drawn: tuple[int, int, int, int, Outcome, bool, int, int, int, int]) -> tuple[int, ...]:
    """Return one attempt without its id: what a prober may write down."""
    due, late, waited, took, outcome, sent, lane, timeline, reason, server = drawn
    acked = outcome is Outcome.ACKED
    at = [BEGIN + tick * TICK for tick in (due, due + late, due + late + waited)]
    return (
        at[0],
        at[1],
        at[2] if sent or outcome is not Outcome.REFUSED else 0,
        at[2] + took * TICK,
        timeline if acked else 0,
        0,
        0 if acked else reason,
        server if acked else 0,
        lane,
        int(outcome),
    )


rows = st.tuples(
    st.integers(0, 300),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 100),
    st.sampled_from(Outcome),
    st.booleans(),
    st.integers(0, len(LANES) - 1),
    st.integers(1, 3),
    st.integers(1, len(REASONS) - 1),
    st.integers(1, len(SERVERS) - 1),
).map(_row)


def acked(due: int) -> tuple[int, ...]:
    """Return one acknowledged attempt of the first lane, due at a tick, answered within one."""
    return _row((due, 0, 0, 1, Outcome.ACKED, True, 0, 1, 1, 1))


def attempts_of(drawn: list[tuple[int, ...]]) -> Attempts:
    """Return attempts in the order in which they were due, as Attempts.load does."""
    numbered = [(number, *row) for number, row in enumerate(drawn, 1)]
    table = np.array(numbered, ATTEMPT)
    return Attempts(
        table[np.argsort(table["due"], kind="stable")],
        LANES,
        frozenset(LANES[2:]),
        REASONS,
        SERVERS,
    )


attempts = st.lists(rows, min_size=1, max_size=25).map(attempts_of)


@st.composite
def held(draw: st.DrawFn) -> tuple[Attempts, NDArray[np.int64]]:
    """Return attempts and the ids in their table: some of theirs, some twice, in any order."""
    made = draw(attempts)
    ids = made.rows["id"].tolist()
    return made, np.array(draw(st.lists(st.sampled_from(ids), max_size=40)), np.int64)


def with_outcome(made: Attempts, number: int, outcome: Outcome) -> Attempts:
    """Return the same attempts, one of them with another outcome."""
    changed = made.rows.copy()
    changed["outcome"][changed["id"] == number] = outcome
    return dataclasses.replace(made, rows=changed)
