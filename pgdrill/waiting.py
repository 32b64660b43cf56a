"""Waiting with a deadline: the only module that may call time.sleep()."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from pgdrill.errors import BrokenEnvironmentError

T = TypeVar("T")

PATIENCE = 3.0  # seconds of a wait before it is announced
AGAIN = 10.0  # seconds until it is announced again


class DeadlineError(AssertionError):
    """A condition did not come true, or did not stay true, inside its window."""


_listener: Callable[[str], object] | None = None


@contextmanager
def announcing_waits(listener: Callable[[str], object]) -> Iterator[None]:
    """Tell people, in this block, what every longer wait is for and how long it may take."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before


def _say(text: str) -> None:
    if _listener is not None:
        _listener(text)


class _Story:
    """The history of a condition, one line for each change."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self._lines: list[str] = []
        self._latest: str | None = None
        self._say_at = PATIENCE

    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def saw(self, what: str) -> None:
        if what != self._latest:
            self._lines.append(f"  +{self.elapsed():6.1f}s  {what}")
            self._latest = what

    def say(self, what: str, within: float) -> None:
        """Announce a wait that takes long, and announce it again at intervals."""
        now = self.elapsed()
        if now >= self._say_at:
            first = self._say_at == PATIENCE
            so_far = "" if first else f" ({now:.0f} s so far)"
            _say(f"waiting for {what}, at most {within:g} s{so_far}")
            self._say_at = now + AGAIN

    def __str__(self) -> str:
        return "\n".join(self._lines)


def eventually(
    what: str,
    probe: Callable[[], T],
    accept: Callable[[T], bool] = bool,
    *,
    within: float,
    every: float = 0.5,
    not_yet: tuple[type[Exception], ...] = (),
    silent: bool = False,
) -> T:
    """Call probe until accept takes its answer, and return that answer.

    within and every are seconds. Only the not_yet errors mean "try again"; any other is a defect
    and propagates at once. The last probe falls on the deadline, not an interval before it.
    silent: the wait is announced elsewhere.

    Raises:
        DeadlineError: with every change that was seen on the way.
    """
    story = _Story()
    while True:
        # Read before the probe: a probe that began in time counts even if it took long.
        began = story.elapsed()
        cause: Exception | None = None
        try:
            answer = probe()
        except not_yet as error:
            cause = error
            story.saw(f"{type(error).__name__}: {str(error).strip()}")
        else:
            if accept(answer):
                return answer
            story.saw(repr(answer))
        if not silent:
            story.say(what, within)
        if began >= within:
            raise DeadlineError(f"{what}: not within {within:g} s, saw\n{story}") from cause
        time.sleep(max(0.0, min(every, within - story.elapsed())))


def retry(what: str, call: Callable[[], T], *, within: float, every: float = 0.5) -> T:
    """Call again while the environment refuses; within and every are seconds.

    Raises:
        BrokenEnvironmentError: it did not succeed in that time; the last refusal.
    """
    try:
        return eventually(
            what,
            call,
            lambda _: True,
            within=within,
            every=every,
            not_yet=(BrokenEnvironmentError,),
        )
    except DeadlineError as late:
        raise (late.__cause__ or late) from None


def throughout(
    what: str,
    probe: Callable[[], T],
    accept: Callable[[T], bool] = bool,
    *,
    lasting: float,
    every: float = 0.5,
) -> None:
    """Call probe for lasting seconds and demand that accept takes every answer.

    Raises:
        DeadlineError: at the first answer that is not accepted.
    """
    story = _Story()
    if lasting > PATIENCE:
        _say(f"watching for {lasting:g} s: {what}")
    while (now := story.elapsed()) < lasting:
        answer = probe()
        story.saw(repr(answer))
        if not accept(answer):
            raise DeadlineError(f"{what}: ended after {now:.1f} of {lasting:g} s, saw\n{story}")
        time.sleep(max(0.0, min(every, lasting - story.elapsed())))


def pause(seconds: float) -> None:
    """Wait a stated time; for rates and randomised phases, never to wait for a condition."""
    time.sleep(seconds)


def ticks(every: float, *, lasting: float) -> Iterator[float]:
    """Yield the seconds since the start, at a fixed period, until lasting seconds have passed."""
    started = time.monotonic()
    due = started
    while (now := time.monotonic()) - started < lasting:
        yield now - started
        due += every
        time.sleep(max(0.0, min(due, started + lasting) - time.monotonic()))
