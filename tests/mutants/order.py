"""A plugin of pytest: the quickest tests first, by the seconds that mutmut measured.

Most changes are noticed by many tests. A run ends with the first of them, and otherwise takes them
as they come: of a change that a quick test notices, it would run the slow ones half of the time.
"""

import json
from pathlib import Path

import pytest

STATISTICS = Path("mutmut-stats.json")  # in the directory in which mutmut runs the tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort them; a test that was not timed yet comes first."""
    if STATISTICS.is_file():
        took = json.loads(STATISTICS.read_text())["duration_by_test"]
        items.sort(key=lambda item: float(took.get(item.nodeid, 0.0)))
