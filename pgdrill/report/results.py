"""The outcomes of the tests; for older runs, read from the page that pytest-html wrote."""

import html
import json
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PytestResult:
    """One test (or its set-up or teardown) and its outcome as pytest-html names it."""

    test: str
    outcome: str  # passed, failed, error, skipped, xfailed, xpassed, rerun
    reason: str = ""  # of one that was skipped

    @property
    def is_bad(self) -> bool:
        """Whether pytest counts it as a failure."""
        return self.outcome in ("failed", "error")


def read_results(page: Path) -> tuple[PytestResult, ...]:
    """Return all tests of a pytest-html page; none where there is no such page.

    Raises:
        ValueError: the page's data is damaged.
    """
    text = page.read_text() if page.is_file() else ""
    blob = re.search(r'<div id="data-container" data-jsonblob="([^"]*)"', text)
    if not blob:
        return ()
    tests = json.loads(html.unescape(blob[1]))["tests"]
    return tuple(
        PytestResult(re.sub(r"::(setup|teardown)$", "", entry["testId"]), entry["result"].lower())
        for entries in tests.values()
        for entry in entries
    )
