"""The score of `make mutants`: a survivor needs a reason, and a reason a survivor."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.mutants.order import STATISTICS, pytest_collection_modifyitems
from tests.mutants.score import REASONS, Change, complaints, reasons, table

DIFF = """--- pgdrill/judge/verdicts.py
+++ pgdrill/judge/verdicts.py
@@ -1,3 +1,3 @@
 def worst(values):
-    return max(seen) if seen else None
+    return min(seen) if seen else None
"""
CHANGE = Change(
    "verdicts.worst", "return max(seen) if seen else None", "return min(seen) if seen else None"
)
WRITTEN = f"""
[[survivor]]
of = "{CHANGE.of}"
went = "{CHANGE.went}"
came = "{CHANGE.came}"
why = "made up"
"""
GOOD = {"a.py": [True] * 19 + [False]}


def test_a_survivor_without_a_reason_is_named() -> None:
    """A survivor is named by its function and the changed line; with a reason it is none."""
    change = Change.read("verdicts.worst", DIFF)
    assert change == CHANGE
    (said,) = complaints(GOOD, [change], {})
    assert str(CHANGE) in said
    assert complaints(GOOD, [change], reasons(WRITTEN)) == []


def test_a_reason_whose_change_is_noticed_is_stale() -> None:
    """A reason that excuses no survivor is refused: it would excuse the next one."""
    (said,) = complaints(GOOD, [], reasons(WRITTEN))
    assert said.startswith("stale reason")
    assert str(CHANGE) in said


def test_too_few_noticed_are_too_few_whatever_the_reasons() -> None:
    """The score is nine in ten, over all; without a change there is no score."""
    (said,) = complaints({"a.py": [True] * 8 + [False]}, [], {})
    assert said.startswith("88.9% of 9 changes")
    assert complaints({"a.py": [True] * 9 + [False]}, [], {}) == []
    assert complaints({}, [], {})
    assert table(GOOD)[-1].endswith("19 of    20 noticed   95.0%")


@pytest.mark.parametrize("cut", ["why", "came", "of"])
def test_a_reason_that_is_not_whole_is_refused(cut: str) -> None:
    """One without its change, or without a why."""
    text = "\n".join(line for line in WRITTEN.splitlines() if not line.startswith(f"{cut} ="))
    with pytest.raises(ValueError, match="needs of, went, came and why"):
        reasons(text)
    with pytest.raises(ValueError, match="named twice"):
        reasons(WRITTEN * 2)


def test_the_reasons_that_are_kept_can_be_read() -> None:
    """Each reason is a sentence of its own."""
    for why in reasons(REASONS.read_text()).values():
        assert len(why.split()) > 3


def test_the_quickest_tests_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what mutmut measured; before it measured anything, they stay as they are."""
    names = ("slow", "new", "quick")
    items = [cast(pytest.Item, SimpleNamespace(nodeid=name)) for name in names]
    monkeypatch.chdir(tmp_path)
    pytest_collection_modifyitems(items)
    assert [item.nodeid for item in items] == ["slow", "new", "quick"]
    took = {"duration_by_test": {"slow": 2.0, "quick": 0.1}}
    STATISTICS.resolve().write_text(json.dumps(took))
    pytest_collection_modifyitems(items)
    assert [item.nodeid for item in items] == ["new", "quick", "slow"]
