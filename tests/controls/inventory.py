"""Which promise each control breaks, and why none breaks the others."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

import pytest

MARK = "breaks"

_MINUTES = (
    "a restore takes minutes, and its seconds are the difference of two instants: judged in unit"
    " tests; what it brings back is tampered with here"
)
_AUTOSCALER = (
    "kind alone, minutes each: an autoscaler is there or it is not; rise and fall are judged in"
    " unit tests, and a pooler without a load, a metric or a second pod is there"
)
# By key of the promise, or by pattern, where no control of its own breaks it.
EXEMPT: Mapping[str, str] = {
    "*.write-gap": (
        "one judgement of all faults: broken here for a lost standby and for a primary that nobody"
        " replaces; what differs is the limit, the sum of its parts"
    ),
    "*.steady-service": (
        "one judgement of all faults: broken here where three of four writes are refused; what"
        " differs is the limit, the sum of its parts"
    ),
    "alerts-that-wake-somebody": (
        "counts the severities of alerts that were seen, and that they are seen is broken here"
    ),
    "capacity": (
        "the figure is the one that the load's rate follows; a floor above it, the user's or that"
        " of an earlier run, breaks in unit tests"
    ),
    "difference-of-99th-percentiles": (
        "as wide as a bucket of the histogram, which here is that of the stall: buckets that differ"
        " are compared in unit tests"
    ),
    "failed-primary.person-knows": (
        "the page of some alerts by another limit: that a muted alert pages nobody, and breaks the"
        " promise on that very instant, is shown here"
    ),
    "load-of-the-idlest-pooler": _AUTOSCALER,
    "time-to-a-second-pooler": _AUTOSCALER,
    "time-to-a-small-pooler": _AUTOSCALER,
    "p99-latency-during-a-backup-on-fewer-than-4-processors": (
        "the p99 of other transactions by another limit: the stall that breaks p99 latency here"
        " is longer than this limit, too"
    ),
    "prober-memory-for-1m-attempts": "measured in a process of its own, of which nothing is set up",
    "restored.time-to-full-redundancy": _MINUTES,
    "rows-absent-before-later-ones": (
        "needs a whole cluster lost and restored; holes in a loss are found in unit tests"
    ),
    "seed-time": (
        "to load again would take the tables from the controls beside it; the same clock's result"
        " is above zero in unit tests with a real server"
    ),
    "slowest-write-while-the-archive-failed": (
        "the longest of the same small writes whose standstill breaks a write gap here"
    ),
    "standbys-made-from-the-primary": (
        "a word of Patroni's about one standby; another word breaks it in unit tests"
    ),
    "time-to-back-up": _MINUTES,
    "time-to-first-accepted-write": _MINUTES,
    "time-to-stream-again": _MINUTES,
    "time-with-two-writable-members": (
        "a second primary among these members is what everything here prevents: overlaps of drawn"
        " attempts in unit tests, and the alert about two primaries with a frozen and woken one"
    ),
    "watch.*": (
        "judged of a user's own database: tests/watch deletes rows behind its back and"
        " promotes a standby that lacks some"
    ),
    "watchdog-gone-to-page": (
        "the pager's own time-out: that it pages when nothing comes, and not while something does,"
        " is shown in unit tests with a real Alertmanager"
    ),
    "writes-lost-with-every-volume": _MINUTES,
}


def breaks(*keys: str) -> pytest.MarkDecorator:
    """Name the promises that come out broken in a control; it fails where others do, or less."""
    return getattr(pytest.mark, MARK)(*keys)  # type: ignore[no-any-return]


def named(marks: Iterable[pytest.Mark]) -> frozenset[str]:
    """Return the promises that a test's marks name."""
    return frozenset(str(key) for mark in marks if mark.name == MARK for key in mark.args)


def exemption(key: str, controlled: Iterable[str]) -> str:
    """Return the pattern under which a promise needs no control of its own; '' where it has one."""
    if key in controlled:
        return ""
    return next((pattern for pattern in EXEMPT if fnmatchcase(key, pattern)), "")


def table(known: Iterable[str], controls: Mapping[str, frozenset[str]]) -> list[str]:
    """Return the inventory for a terminal: each control's promises, and each exemption's reason."""
    controlled = frozenset[str]().union(*controls.values())
    exempt = [key for key in known if exemption(key, controlled)]
    lines = [f"{len(controlled)} promises broken by a control, {len(exempt)} exempt"]
    lines += [f"  {test}: {', '.join(sorted(keys))}" for test, keys in controls.items() if keys]
    for reason in dict.fromkeys(EXEMPT.values()):
        patterns = [pattern for pattern, why in EXEMPT.items() if why == reason]
        lines.append(f"  {', '.join(patterns)}: {reason}")
    return lines
