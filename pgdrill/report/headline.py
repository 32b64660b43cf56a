"""The answer in plain words, computed: nothing is claimed that this run did not measure."""

from dataclasses import dataclass

from pgdrill.report.number_format import allowed, count, observed
from pgdrill.report.questions import slow
from pgdrill.report.run_data import RunData, done_of, wrong_controls
from pgdrill.report.suites import alone, in_order, shown
from pgdrill.report.tiles import Tile


@dataclass(frozen=True)
class Headline:
    """The first screen of the report."""

    state: str
    sentence: str
    answers: tuple[tuple[str, str], ...]
    tiles: tuple[Tile, ...]
    missing: tuple[str, ...]


def headline(m: RunData) -> Headline:
    """Compute the first screen."""
    return Headline(
        state=state(m),
        sentence=_sentence(m),
        answers=tuple((question, " ".join(text)) for question, text in _answers(m) if text),
        tiles=tuple(tile for suite in shown(m) for tile in suite.tiles(m)),
        missing=missing(m),
    )


def _sentence(m: RunData) -> str:
    troubles = [_controls(m), _unjudged(m)]
    kept = all(verdict.outcome == "met" for verdict in m.promises)
    parts = [*troubles, _judged(m)] if kept else [_judged(m), *troubles]  # bad news first
    parts.insert(0, _cut_off(m))
    return " ".join(part for part in parts if part)


def state(m: RunData) -> str:
    """Return the worst outcome of the run; no verdict, or a damaged file, makes it invalid."""
    outcomes = {verdict.outcome for verdict in m.promises}
    if "broken" in outcomes or wrong_controls(m):
        return "broken"
    whole = outcomes == {"met"} and not m.complaints and not m.unjudged and not m.cut_off
    return "met" if whole else "invalid"


def _cut_off(m: RunData) -> str:
    if not m.cut_off:
        return ""
    return f"Cut off after {done_of(m)} ({m.cut_off}): what follows is about those alone."


def missing(m: RunData) -> tuple[str, ...]:
    """Return what this run did not test, though a reader might expect that it did."""
    left = [_name(test) for test in m.collected.left_out] if m.collected else []
    reasons: dict[str, list[str]] = {}
    for result in m.results:
        if result.outcome == "skipped":
            reasons.setdefault(result.reason, []).append(_name(result.test))
    skipped = [
        f"{', '.join(sorted(set(names)))}{f' ({reason})' if reason else ''}"
        for reason, names in sorted(reasons.items())
    ]
    return tuple(
        f"{why}: {between.join(names)}"
        for why, between, names in (
            ("Cut off before they ended", ", ", [_name(test) for test in m.unended]),
            ("Left out by the profile", ", ", left),
            ("Skipped", "; ", skipped),
            (
                "Need not be detected by any alert",
                "; ",
                [line for suite in shown(m) for line in suite.excused(m)],
            ),
            ("Broken, and fails nothing because of --slow", "; ", slow(m.verdicts)),
        )
        if names
    )


def _name(test: str) -> str:
    """Return a test's name as `-k` takes it, without what all have in common."""
    return test.rpartition("::")[2].removeprefix("test_")


def _judged(m: RunData) -> str:
    promises = m.promises
    if not promises:
        passed = sum(result.outcome == "passed" for result in m.results)
        tests = f" ({count(passed, 'test')} passed without one)" if passed else ""
        return f"No number was judged in this run{tests}, so it promises nothing about failover."
    bad = [verdict for verdict in promises if verdict.outcome != "met"]
    if not bad:
        kept = "The one promise was" if len(promises) == 1 else f"All {len(promises)} promises were"
        claims = [claim for suite in shown(m) for claim in suite.claims(m)]
        return f"{kept} kept: {', '.join(claims)}." if claims else f"{kept} kept."
    broken = sum(verdict.outcome == "broken" for verdict in bad)
    invalid = len(bad) - broken
    counts = [
        *([f"{broken} of {count(len(promises), 'promise')} broken"] if broken else []),
        *([f"{invalid} of {count(len(promises), 'promise')} without evidence"] if invalid else []),
    ]
    named = "; ".join(
        f"{v.subject}: {v.budget.name} {observed(v)} (allowed {allowed(v.budget)})" for v in bad[:3]
    )
    more = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
    return f"{', '.join(counts)}: {named}{more}."


def _controls(m: RunData) -> str:
    wrong = wrong_controls(m)
    if not m.controls or not wrong:
        return ""
    named = ", ".join(f"{v.subject} ({v.budget.name})" for v in wrong[:3])
    return (
        f"{count(len(wrong), 'control')} did not come out as it must ({named}):"
        " a check that cannot fail proves nothing."
    )


def _unjudged(m: RunData) -> str:
    failed = m.unjudged
    if not failed:
        return ""
    return f"{count(len(failed), 'test')} failed before it could judge: {_names(failed)}."


def _names(tests: list[str]) -> str:
    more = f" and {len(tests) - 5} more" if len(tests) > 5 else ""
    return ", ".join(_name(test) for test in tests[:5]) + more


def _answers(m: RunData) -> list[tuple[str, list[str]]]:
    if alone(m):
        return [(asked, list(said)) for suite in shown(m) for asked, said in suite.answers(m)]
    return [
        ("What was done", [line for suite in in_order() for line in suite.done(m)]),
        *((asked, list(said)) for suite in shown(m) for asked, said in suite.answers(m)),
        ("Can these checks fail?", _proven(m)),
    ]


def _proven(m: RunData) -> list[str]:
    if not m.controls:
        return ["This run had no controls: run the suite 'controls' to see each check fail."]
    right = len(m.controls) - len(wrong_controls(m))
    return [
        f"{right} of {count(len(m.controls), 'deliberately bad set-up')} came out as they must."
    ]
