"""The contribution of a suite to a run, its judgement and its report; and the list of suites.

A suite of pgdrill is a module of `pgdrill/report/sections` with a SUITE, which is found there.
Another project registers its own with `register`, in a conftest.
"""

import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Never

from pgdrill.judge.rejudge import Judge
from pgdrill.records import Record
from pgdrill.report import sections
from pgdrill.report.run_data import RunData
from pgdrill.report.tiles import Tile

Lines = Callable[[RunData], Sequence[str]]


def nothing(m: RunData) -> tuple[Never, ...]:
    """Add nothing."""
    return ()


@dataclass(frozen=True)
class Section:
    """One section of the page: its anchor is pgd-<name>."""

    name: str
    title: str  # in the list of sections
    render: Callable[[RunData], str]  # HTML; '' to leave the section out


@dataclass(frozen=True)
class Question:
    """A reader's question, and the kinds of promise (Budget.kind) that answer it."""

    text: str
    kinds: tuple[str, ...] = ()  # none: every verdict of the suite's own tests does


@dataclass(frozen=True)
class Suite:
    """One suite; fields that it does not have are left out."""

    name: str  # of its directory below tests/, and its marker
    order: int = 0  # of its tests in a run: cheap ones, and those that decide most, come first
    marker: str = ""  # a description, for `pytest --markers`; '': it has no tests
    drills: bool = True  # whether its tests need a platform
    records: tuple[type[Record], ...] = ()  # that it leaves in the run directory
    judges: tuple[Judge, ...] = ()  # of those records, and of nothing else
    alone: bool = False  # the report of a run with such records is of this suite alone
    place: int = 0  # of its parts below, on page and terminal
    questions: tuple[Question, ...] = ()
    sections: tuple[Section, ...] = ()
    tiles: Callable[[RunData], Sequence[Tile]] = nothing
    claims: Lines = nothing  # parts of the first sentence where every promise was kept
    done: Lines = nothing  # sentences on what was done, in the order of the run
    answers: Callable[[RunData], Sequence[tuple[str, Sequence[str]]]] = nothing
    excused: Lines = nothing  # what need not have been seen, for the first screen
    tables: Lines = nothing  # Markdown
    lines: Lines = nothing  # the terminal


# Suites that only judge: what they find is in the verdicts.
_REGISTERED = {
    suite.name: suite
    for suite in (
        Suite("unit", 0, "the library itself, no cluster needed", drills=False),
        Suite("smoke", 10, "the cluster is what it claims to be"),
        Suite("controls", 80, "deliberately bad set-ups that must come out broken"),
        Suite(
            "badinput",
            90,
            "the messages of commands, and what they leave behind, when something is wrong",
            drills=False,
        ),
    )
}


def register(suite: Suite) -> None:
    """Add a suite that is not pgdrill's own, or replace one that has the same name."""
    _REGISTERED[suite.name] = suite


def in_order() -> list[Suite]:
    """Return every suite in the order in which their tests run."""
    return sorted((_found() | _REGISTERED).values(), key=lambda suite: suite.order)


def alone(m: RunData) -> bool:
    """Whether a run's report is of one suite alone."""
    return len(shown(m)) == 1


def shown(m: RunData) -> list[Suite]:
    """Return the suites that a run's report covers, in its order."""
    suites = on_paper()
    one = [s for s in suites if s.alone and any(m.all(kind) for kind in s.records)]
    return one or suites


def on_paper() -> list[Suite]:
    """Return every suite in the order in which a report has them."""
    return sorted(in_order(), key=lambda suite: suite.place)


@cache
def _found() -> dict[str, Suite]:
    """Return pgdrill's own suites that have a part in the report."""
    modules = (
        import_module(f"{sections.__name__}.{found.name}")
        for found in pkgutil.iter_modules(sections.__path__)
    )
    return {module.SUITE.name: module.SUITE for module in modules if hasattr(module, "SUITE")}
