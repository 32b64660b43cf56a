"""A limit is the sum that is printed, and a user's own one takes its place and says so."""

from pathlib import Path

import pytest

from pgdrill.errors import BadUsageError
from pgdrill.faults.catalogue import FAULTS, LOCAL
from pgdrill.judge import alerting, catalogue, failover, recovery, watching
from pgdrill.judge.promises import MATCHES, Limits, budgets_in, by_key
from pgdrill.judge.verdicts import BrokenBudgetError, Verdicts
from pgdrill.records import SHARE, Budget, Verdict, read_lines, total
from pgdrill.settings import resolve

pytestmark = pytest.mark.unit

SUMS = [*failover.promised(), failover.REDUNDANCY, recovery.loss(70), *catalogue.known().values()]
# Promises in seconds that are no sum of what takes them: what must not be, what is proportional,
# what is as for another promise, what only its user knows, and what holds whatever runs.
NO_SUMS = {
    "failed-primary.person-knows",
    "time-with-two-writable-members",
    "seed-time",
    "slowest-write-while-the-archive-failed",
    "watch.two-writers",
    "watch.write-gap",
}


@pytest.mark.parametrize("budget", SUMS, ids=range(len(SUMS)))
def test_a_promise_in_seconds_is_the_sum_that_it_prints(budget: Budget) -> None:
    """What is printed cannot differ from the limit, and a large margin has a reason."""
    if budget.unit != "s" or budget.id in NO_SUMS:
        return
    assert budget.limit == sum(term.seconds for term in budget.terms)
    for term in budget.terms:
        assert f"{term.name} {term.seconds:g}" in budget.because
    margins = [term for term in budget.terms if term.name.startswith("margin")]
    rest = budget.limit - sum(term.seconds for term in margins)
    assert all("(" in m.name or m.seconds <= SHARE * rest for m in margins)


def test_a_large_margin_needs_a_reason() -> None:
    """A quarter of the rest needs none."""
    assert total("wait", {"a": 3, "b": 1}, margin=1).because == "a 3 + b 1 + margin 1"
    with pytest.raises(ValueError, match="needs a reason"):
        total("wait", {"a": 3, "b": 1}, margin=1.1)
    assert total("wait", {"a": 1}, margin=9, why="rain").because == "a 1 + margin (rain) 9"


def test_each_fault_has_a_promise_of_its_own() -> None:
    """A key names one fault, or the user's limit would be that of another one, too."""
    for budget in failover.promised():
        assert budget.id.endswith(".write-gap")
    assert FAULTS["primary_kill"].gap(LOCAL).id == "primary_kill.write-gap"


def test_a_limit_of_the_users_own_decides_and_says_whose_it_is(tmp_path: Path) -> None:
    """It breaks what pgdrill would let pass, lets pass what pgdrill would break, and is told."""
    gap = FAULTS["primary_kill"].gap(LOCAL)
    limits = Limits.of({"primary_kill.write-gap": 5}, catalogue.known())
    verdicts = Verdicts(tmp_path / "verdicts.jsonl", limits=limits)
    with pytest.raises(BrokenBudgetError, match="set by you; pgdrill promises 10"):
        verdicts.check(gap, 6, "primary_kill fresh")
    verdicts.check(gap, 4, "primary_kill fresh")
    other = FAULTS["switchover"].gap(LOCAL)
    verdicts.check(other, 5.5, "switchover fresh")
    kept = list(read_lines(tmp_path / "verdicts.jsonl", Verdict))
    assert [(v.budget.limit, v.outcome) for v in kept] == [(5, "broken"), (5, "met"), (6, "met")]


def test_a_limit_of_no_promise_is_refused_with_those_that_come_near() -> None:
    """A misspelt fault would leave the promise as it is, unsaid."""
    with pytest.raises(BadUsageError, match=r"primary_kil\.write-gap.*primary_kill\.write-gap"):
        Limits.of({"primary_kil.write-gap": 5}, catalogue.known())


def test_limits_come_from_the_command_line_or_a_table_of_the_file(tmp_path: Path) -> None:
    """Both name several; a key with a dot needs quotes in TOML, and the complaint says so."""
    given = resolve({"budget": "p99-latency=100, switchover.write-gap=3.5"}, {}, tmp_path / "no")
    assert given.budget.own == (("p99-latency", 100.0), ("switchover.write-gap", 3.5))
    assert "--budget=p99-latency=100,switchover.write-gap=3.5" in given.repeat_command("chaos")
    file = tmp_path / "pgdrill.toml"
    file.write_text('[budgets]\n"switchover.write-gap" = 3.5\np99-latency = 100\n')
    assert dict(resolve({}, {}, file).budget.own) == dict(given.budget.own)
    file.write_text("[budgets]\nswitchover.write-gap = 3.5\n")
    with pytest.raises(BadUsageError, match="in quotes where it holds a dot"):
        resolve({}, {}, file)
    for text in ("p99-latency", "p99-latency=fast", "=5", "p99-latency=-1"):
        with pytest.raises(BadUsageError, match="must be a promise and its limit"):
            resolve({"budget": text}, {}, tmp_path / "no")


def test_what_is_said_of_a_users_limit_names_what_pgdrill_promises() -> None:
    """Where pgdrill promises nothing there is nothing to name; a sum is no longer the user's."""
    gap = FAULTS["primary_kill"].gap(LOCAL)
    own = Limits({gap.id: 4.0, "watch.write-gap": 3.0})
    told = own.apply(gap)
    assert (told.limit, told.terms, told.name) == (4, (), gap.name)
    assert told.because == f"set by you; pgdrill promises {gap.limit:g}: {gap.because}"
    assert own.apply(watching.GAP).because == "set by you"
    other = FAULTS["switchover"].gap(LOCAL)
    assert own.apply(other) is other


def test_of_promises_with_one_key_the_strictest_is_listed_and_keys_are_in_order() -> None:
    """Wherever a module keeps them: by a name, or in a table, however deep."""

    def some(key: str, limit: float) -> Budget:
        return Budget(key=key, name=key, limit=limit, unit="s", better="lower", because="made up")

    module = {
        "B": some("b", 3),
        "NUMBER": 7,
        "TABLE": {"x": some("a", 2), 1: {"y": some("b", 1)}, "z": "text"},
    }
    found = list(budgets_in(module))
    assert [(one.id, one.limit) for one in found] == [("b", 3), ("a", 2), ("b", 1)]
    kept = by_key(*found)
    assert [(key, one.limit) for key, one in kept.items()] == [("a", 2), ("b", 1)]


def test_every_module_that_promises_is_in_the_catalogue() -> None:
    """What depends on sizes is listed for those that its texts name."""
    known = catalogue.known()
    assert list(known) == sorted(known)
    limits = {key: budget.limit for key, budget in known.items()}
    assert (
        limits.items()
        >= {
            "seed-time": 20,
            "time-to-a-small-pooler": 130,
            "difference-of-99th-percentiles": 1,
            "difference-of-commits": 4,
            "writes-lost-with-every-volume": recovery.LOSS,
            "condition-to-alert": alerting.MARGIN,
            "healed-to-resolved-page": alerting.MARGIN,
            "fault-to-alert": alerting.MARGIN,
            "time-to-a-second-pooler": 90,
            "rows-absent": 0,
        }.items()
    )
    assert {"afterwards.rows-lost", "watch.write-gap", "restored.time-to-full-redundancy"} <= set(
        known
    )
    for spec in FAULTS.values():
        least = min(spec.gap(where).limit for where in spec.cost)
        assert known[f"{spec.name}.write-gap"].limit == least
        steady = min(failover.steady(spec, where).limit for where in spec.cost)
        assert known[f"{spec.name}.steady-service"].limit == steady


def test_the_users_limits_are_those_of_the_settings(tmp_path: Path) -> None:
    """Each must be a promise's; a key that is like no other gets the first ones of the list."""
    given = resolve({"budget": "p99-latency=100"}, {}, tmp_path / "no")
    assert catalogue.limits(given) == Limits({"p99-latency": 100.0})
    wrong = resolve({"budget": "p99-latncy=100"}, {}, tmp_path / "no")
    with pytest.raises(BadUsageError, match=r"--budget p99-latncy: .* try p99-latency"):
        catalogue.limits(wrong)
    known = {key: budget for key, budget in catalogue.known().items() if "." not in key}
    with pytest.raises(BadUsageError) as caught:
        Limits.of({"zz.qq": 1}, known)
    first = ", ".join(sorted(known)[:MATCHES])
    assert str(caught.value) == (
        f"--budget zz.qq: there is no such promise; try {first}"
        " (`python -m pgdrill budgets` lists all)"
    )
    gap = FAULTS["switchover"].gap(LOCAL)
    alike = [f"{letter * 30}.write-gap" for letter in "bcdefgh"]
    with pytest.raises(BadUsageError) as caught:
        Limits.of({"q.z-gap": 1}, dict.fromkeys([*alike, "a-first-one"], gap))
    assert f"try {', '.join(alike[:MATCHES])} (" in str(caught.value)
    near = [f"gap-number-{number}" for number in range(8)]
    with pytest.raises(BadUsageError) as caught:
        Limits.of({"gap-number-": 1}, dict.fromkeys([*near, "other"], gap))
    assert str(caught.value).count("gap-number-") == 1 + MATCHES
