"""The selection and the order of tests: suites of this repository, marks, profiles."""

import re
from pathlib import Path

import pytest

from pgdrill.plugin.options import SETTINGS, is_ours
from pgdrill.report.suites import in_order
from pgdrill.settings import IN_CHECKOUT, PROFILES, ROOT, below

# The level that each suite needs; every other suite needs `fault`.
LEVELS = {"smoke": "observe", "perf": "load", "scale": "load"}
LEFT_OUT = pytest.StashKey[list[pytest.Item]]()
TESTS = ROOT / "tests"
LAST = 1_000  # of tests that are of no suite


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark of each suite of this repository, and those that the plugin reads."""
    for suite in in_order() if is_ours(config) else []:
        if suite.marker:
            config.addinivalue_line("markers", f"{suite.name}: {suite.marker}")
    if is_ours(config):
        config.addinivalue_line("markers", "breaks: the keys of the promises that a control breaks")
    config.addinivalue_line("markers", "claim(sentence): what a test proves, for the report")
    config.addinivalue_line(
        "markers",
        'thorough(profile="laptop"): left out of smaller profiles unless asked for by name',
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Pass over suites that `-m "one or another"` does not name: importing them takes seconds."""
    if collection_path.parent != TESTS or not collection_path.is_dir():
        return None
    given = config.args_source is config.ArgsSource.ARGS
    named = set(re.split(r"\s+or\s+", config.option.markexpr.strip()))
    ours = {path.name for path in TESTS.iterdir()}
    return True if not given and named <= ours and collection_path.name not in named else None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test of this repository with the name of its suite: its directory."""
    if suite := _suite(item):
        item.add_marker(suite)


def _suite(item: pytest.Item) -> str:
    """Return the suite of a test; '' for a test of another project."""
    path = item.path.resolve()  # named by a link, perhaps
    return path.relative_to(TESTS).parts[0] if IN_CHECKOUT and path.is_relative_to(TESTS) else ""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the suites in a fixed order; deselect what is too thorough for the profile.

    A test that is selected by name (-k) always runs.
    """
    order = {suite.name: suite.order for suite in in_order()}
    items.sort(key=lambda item: order.get(_suite(item), LAST))
    if SETTINGS in config.stash and not config.option.keyword:
        profile = PROFILES.index(config.stash[SETTINGS].profile)
        config.stash[LEFT_OUT] = [i for i in items if PROFILES.index(_smallest(i)) > profile]
        config.hook.pytest_deselected(items=config.stash[LEFT_OUT])
        items[:] = [i for i in items if i not in config.stash[LEFT_OUT]]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse suites that need a higher level than the user allowed on an existing cluster.

    Raises:
        pytest.UsageError: with the level that the first of them needs (exit code 4).
    """
    settings = session.config.stash.get(SETTINGS, None)
    if settings is None or session.config.option.collectonly or not settings.is_existing:
        return
    harmless = {suite.name for suite in in_order() if not suite.drills}
    for item in session.items:
        suite = _suite(item)
        level = LEVELS.get(suite, "fault")
        if suite not in harmless and level not in below(settings.level):
            raise pytest.UsageError(
                f"pgdrill: {item.nodeid} needs --level={level}, and this is"
                f" --level={settings.level}: nothing was done"
            )


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Name what the profile leaves out."""
    left = [item for item in config.stash.get(LEFT_OUT, []) if selected(config, item)]
    lines = []
    for profile in PROFILES:
        names = [item.name for item in left if _smallest(item) == profile]
        if names:
            more = f"run with --profile={profile} or by name (-k)"
            lines.append(
                f"profile {config.stash[SETTINGS].profile} leaves out {', '.join(names)}: {more}"
            )
    return lines


def _smallest(item: pytest.Item) -> str:
    """Return the smallest profile that runs a test."""
    thorough = item.get_closest_marker("thorough")
    if thorough is None:
        return PROFILES[0]
    return str(thorough.args[0]) if thorough.args else "laptop"


def selected(config: pytest.Config, item: pytest.Item) -> bool:
    """Whether the selected suites include a test that the profile leaves out."""
    return not config.option.markexpr or _suite(item) in config.option.markexpr
