"""Waiting: bounded, retrying only what was declared, and telling what it saw."""

import time

import pytest

from pgdrill import waiting
from pgdrill.waiting import DeadlineError, announcing_waits, eventually, throughout, ticks


def test_returns_the_accepted_answer() -> None:
    """The answer that is accepted is the one returned."""
    answers = iter([1, 2, 3])
    assert eventually("three", lambda: next(answers), lambda n: n == 3, within=5, every=0.001) == 3


def test_a_miss_tells_the_story() -> None:
    """A miss lists each change once, in order, and chains the last declared error."""
    answers = iter(["a", "a", "b"])

    def probe() -> str:
        try:
            return next(answers)
        except StopIteration:
            raise LookupError("no more") from None

    with pytest.raises(DeadlineError, match=r"(?s)'a'.*'b'.*LookupError: no more") as missed:
        eventually("c", probe, lambda s: s == "c", within=0.05, every=0.01, not_yet=(LookupError,))
    assert str(missed.value).count("'a'") == 1
    assert isinstance(missed.value.__cause__, LookupError)


def test_other_errors_are_defects() -> None:
    """An error that was not declared propagates at once."""

    def probe() -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        eventually("never", probe, within=5, not_yet=(LookupError,))


def test_a_probe_that_begins_in_time_counts() -> None:
    """An answer that took longer than the deadline counts when it was asked for in time."""
    started = time.monotonic()
    slow = iter([False, True])

    def probe() -> bool:
        for _ in ticks(0.02, lasting=0.06):
            pass
        return next(slow)

    assert eventually("slow", probe, within=0.1, every=0.01)
    assert time.monotonic() - started < 1


def test_throughout_ends_at_the_first_no() -> None:
    """A state that must last fails at the first answer that is not accepted."""
    answers = iter([True, True, False, True])
    with pytest.raises(DeadlineError, match="ended after"):
        throughout("on", lambda: next(answers), lasting=5, every=0.001)


def test_ticks_keep_their_schedule() -> None:
    """Ticks come at a fixed period and end in time."""
    seen = list(ticks(0.02, lasting=0.1))
    assert 4 <= len(seen) <= 6


def test_people_are_told_of_a_long_wait_and_of_no_short_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A wait is announced with its bound once it takes long, and then again."""
    monkeypatch.setattr(waiting, "PATIENCE", 0.05)
    monkeypatch.setattr(waiting, "AGAIN", 0.1)
    said: list[str] = []
    with announcing_waits(said.append):
        eventually("what is there", lambda: True, within=7)
        assert said == []
        with pytest.raises(DeadlineError):
            eventually("what never comes", lambda: False, within=0.3, every=0.01)
        throughout("still here", lambda: True, lasting=0.1, every=0.02)
    eventually("nobody listens", iter([0] * 9 + [1]).__next__, within=7, every=0.02)
    first, *again, watched = said
    assert first == "waiting for what never comes, at most 0.3 s"
    assert again
    assert all(line.startswith(f"{first} (") for line in again)
    assert watched == "watching for 0.1 s: still here"
