"""The answer in plain words, computed: nothing is claimed that this run did not measure."""

from dataclasses import dataclass

from pgdrill.report import watchwords
from pgdrill.report.facts import (
    all_trials,
    done_of,
    drilled_ledger,
    proven,
    proven_acks,
    worst_fresh,
    wrong_controls,
)
from pgdrill.report.material import Material
from pgdrill.report.tiles import Tile, tiles
from pgdrill.report.words import allowed, at_most, count, number, observed, seconds


@dataclass(frozen=True)
class Headline:
    """The first screen of the report."""

    state: str
    sentence: str
    answers: tuple[tuple[str, str], ...]
    tiles: tuple[Tile, ...]
    missing: tuple[str, ...]


def headline(m: Material) -> Headline:
    """Compute the first screen."""
    return Headline(
        state=state(m),
        sentence=_sentence(m),
        answers=tuple((question, " ".join(text)) for question, text in _answers(m) if text),
        tiles=tiles(m),
        missing=missing(m),
    )


def _sentence(m: Material) -> str:
    troubles = [_controls(m), _unjudged(m)]
    kept = all(verdict.outcome == "met" for verdict in m.promises)
    parts = [*troubles, _judged(m)] if kept else [_judged(m), *troubles]  # bad news first
    parts.insert(0, _cut_off(m))
    return " ".join(part for part in parts if part)


def state(m: Material) -> str:
    """Return the worst outcome of the run; no verdict is invalid, and so is a damaged file."""
    outcomes = {verdict.outcome for verdict in m.promises}
    if "broken" in outcomes or wrong_controls(m):
        return "broken"
    whole = outcomes == {"met"} and not m.complaints and not m.unjudged and not m.cut_off
    return "met" if whole else "invalid"


def _cut_off(m: Material) -> str:
    if not m.cut_off:
        return ""
    return f"Cut off after {done_of(m)} ({m.cut_off}): what follows speaks of those alone."


def missing(m: Material) -> tuple[str, ...]:
    """Return what this run says nothing about, though somebody might believe that it does."""
    left = [test.rpartition("::")[2] for test in m.collected.left_out] if m.collected else []
    reasons = {r.test: r.reason for r in m.results if r.outcome == "skipped"}
    skipped = [
        f"{test.rpartition('::')[2]} ({reason})" if reason else test.rpartition("::")[2]
        for test, reason in sorted(reasons.items())
    ]
    unended = [test.rpartition("::")[2] for test in m.unended]
    return tuple(
        f"{why}: {', '.join(names)}"
        for why, names in (
            ("Cut off before they ended", unended),
            ("Left out by the profile", left),
            ("Skipped", skipped),
        )
        if names
    )


def _judged(m: Material) -> str:
    promises = m.promises
    if not promises:
        passed = sum(result.outcome == "passed" for result in m.results)
        tests = f" ({count(passed, 'test')} passed without one)" if passed else ""
        return f"No number was judged in this run{tests}, so it promises nothing about fail-over."
    bad = [verdict for verdict in promises if verdict.outcome != "met"]
    if not bad:
        kept = "The one promise was" if len(promises) == 1 else f"All {len(promises)} promises were"
        own = watchwords.claims(m.watch) if m.watch else []
        claims = [c for c in (*own, _gap_claim(m), _loss_claim(m), _alert_claim(m)) if c]
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


def _controls(m: Material) -> str:
    wrong = wrong_controls(m)
    if not m.controls or not wrong:
        return ""
    named = ", ".join(f"{v.subject} ({v.budget.name})" for v in wrong[:3])
    return (
        f"{count(len(wrong), 'control')} did not come out as it must ({named}):"
        " a check that cannot fail proves nothing."
    )


def _unjudged(m: Material) -> str:
    failed = m.unjudged
    if not failed:
        return ""
    return f"{count(len(failed), 'test')} failed before it could judge: {_names(failed)}."


def _names(tests: list[str]) -> str:
    more = f" and {len(tests) - 5} more" if len(tests) > 5 else ""
    return ", ".join(test.rpartition("::")[2] for test in tests[:5]) + more


def _gap_claim(m: Material) -> str:
    worst = worst_fresh(m)
    if worst is None:
        return ""
    group, lane = worst
    return (
        f"new connections went without an acknowledged write for at most"
        f" {at_most(lane.values[-1])} ({group.experiment})"
    )


def _loss_claim(m: Material) -> str:
    ledger = drilled_ledger(m)
    if not proven_acks(m) or ledger.acked_lost:
        return ""
    return (
        f"no acknowledged write was lost in {count(len(proven(m)), 'trial')}"
        f" ({proven_acks(m):,} acknowledged)"
    )


def _alert_claim(m: Material) -> str:
    reached = sum(life.alertmanager is not None for life in m.alerts)
    return f"{reached} of {count(len(m.alerts), 'alert')} reached Alertmanager" if m.alerts else ""


def _answers(m: Material) -> list[tuple[str, list[str]]]:
    if m.watch:
        return watchwords.answers(m.watch)
    return [
        ("What was done", _done(m)),
        ("Would users notice?", _noticed(m)),
        ("Was anything lost?", _lost(m)),
        ("Would it come back from a backup?", _restored(m)),
        ("Would anyone be paged?", _paged(m)),
        ("Can these checks fail?", _proven(m)),
        ("What was not tested", _skipped(m)),
    ]


def _done(m: Material) -> list[str]:
    said = []
    if m.seed:
        said.append(f"{m.seed.rows:,} rows seeded in {count(len(m.seed.tables), 'table')}.")
    if m.bench:
        said.append(
            f"{seconds(m.bench.duration)} of load at {number(m.bench.rate)} transactions/s"
            f" from {count(m.bench.clients, 'client')}."
        )
    trials = all_trials(m)
    if trials:
        names = ", ".join(dict.fromkeys(trial.experiment for trial in trials))
        real = sum(trial.verified for trial in trials)
        said.append(
            f"{count(len(trials), 'fault')} injected ({names}), {real} of them proven by evidence."
        )
    said += [f"{number(s.surge.rate)} connections/s through the pooler." for s in m.scalings]
    if m.recoveries:
        said.append(f"{count(len(m.recoveries), 'restore')} from the archive.")
    if m.alerts:
        said.append(f"{count(len(m.alerts), 'alert')} provoked.")
    return said


def _noticed(m: Material) -> list[str]:
    said = []
    for group in m.drills:
        each = [
            f"{at_most(lane.values[-1])} on {lane.lane}"
            + (f" (and {count(lane.unknown, 'trial')} that could not say)" if lane.unknown else "")
            for lane in group.lanes
            if lane.gaps
        ]
        if each:
            tuning = f" ({group.tuning})" if group.tuning else ""
            said.append(f"{group.experiment}{tuning}: no write for {', '.join(each)} connections.")
    return said


def _lost(m: Material) -> list[str]:
    trials = all_trials(m)
    ledger = drilled_ledger(m)
    if not trials:
        return []
    if not proven_acks(m) and not ledger.acked_lost:
        return ["Unknown: no write was acknowledged around a fault with evidence."]
    writers = max(trial.two_writers for trial in trials)
    return [
        f"{number(ledger.acked_lost)} of {proven_acks(m):,} acknowledged writes.",
        f"{ledger.refused_present:,} refused writes turned up, {ledger.duplicate:,} twice.",
        f"Two members acknowledged writes at the same time for {seconds(writers)}."
        if writers
        else "No two members ever acknowledged writes at the same time.",
    ]


def _restored(m: Material) -> list[str]:
    if not m.recoveries:
        return []
    wanted = sum(r.wanted for r in m.recoveries)
    absent = sum(r.absent for r in m.recoveries)
    surplus = sum(r.surplus for r in m.recoveries)
    firsts = [r.step("first write") for r in m.recoveries]
    slowest = max((after for after in firsts if after is not None), default=None)
    when = f"It took writes after at most {at_most(slowest)}." if slowest is not None else ""
    return [
        f"{number(absent)} of {wanted:,} rows written before the point were absent in"
        f" {count(len(m.recoveries), 'restored cluster')}, {number(surplus)} too many.",
        *filter(None, [when]),
    ]


def _paged(m: Material) -> list[str]:
    said = []
    for life in m.alerts:
        if life.severity == "info":  # the log's, in which somebody looks tomorrow
            continue
        when = life.paged if life.paged is not None else life.alertmanager
        if life.condition is None or when is None:
            said.append(f"{life.alert}: no.")
        else:
            verb = "paged" if life.paged is not None else "at Alertmanager"
            said.append(f"{life.alert}: {verb} after {at_most(when - life.condition)}.")
    return said


def _proven(m: Material) -> list[str]:
    if not m.controls:
        return ["This run had no controls: run the suite 'controls' to see each check fail."]
    right = len(m.controls) - len(wrong_controls(m))
    return [
        f"{right} of {count(len(m.controls), 'deliberately bad set-up')} came out as they must."
    ]


def _skipped(m: Material) -> list[str]:
    return [f"{count(len(m.skipped), 'test')} skipped: {_names(m.skipped)}."] if m.skipped else []
