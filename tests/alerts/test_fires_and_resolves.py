"""Each alert fires for a real reason, in time, reaches a person, and resolves with its reason.

What each scenario does is in actions.py. Those that this run selects run beside each other, as
far as they fit; each test judges its own.
"""

from collections.abc import Callable

import pytest

from pgdrill.judge.alerting import UNHEARD, UNNOTICED
from pgdrill.judge.verdicts import Verdicts
from pgdrill.observe.deadman import WATCHDOG
from pgdrill.observe.scenarios import ScenarioResult, ScenarioRunner
from pgdrill.records import About

Require = Callable[[str], None]
Judge = Callable[[ScenarioResult], None]


def test_replication_lag(scenario_runner: ScenarioRunner, judge_scenario: Judge) -> None:
    """A standby that stops replaying pages as lagging, and no longer once it has caught up."""
    judge_scenario(scenario_runner.result_of("replication_lag"))


def test_disk_filling(
    require_capability: Require, scenario_runner: ScenarioRunner, judge_scenario: Judge
) -> None:
    """A volume filled to 85 % pages before it is full, and no longer once there is room."""
    require_capability("real-disk-limit")
    judge_scenario(scenario_runner.result_of("disk_filling"))


def test_standby_away(scenario_runner: ScenarioRunner, judge_scenario: Judge) -> None:
    """A standby that stays away pages as down, and as nothing worse, until it is back."""
    judge_scenario(scenario_runner.result_of("standby_away"))


def test_short_outage(scenario_runner: ScenarioRunner, judge_scenario: Judge) -> None:
    """A failover of seconds, over before any `for` has passed, is reported all the same."""
    judge_scenario(scenario_runner.result_of("short_outage"))


def test_frozen_primary(scenario_runner: ScenarioRunner, judge_scenario: Judge) -> None:
    """A primary that hangs pages as no primary until another one serves, or it was restarted."""
    judge_scenario(scenario_runner.result_of("frozen_primary"))


@pytest.mark.thorough
def test_two_primaries(
    require_capability: Require, scenario_runner: ScenarioRunner, judge_scenario: Judge
) -> None:
    """A primary with a hung agent runs on beside its successor, and pages until it steps down.

    CloudNativePG's agent answers the probes: there the kubelet ends both.
    """
    require_capability("processes")
    judge_scenario(scenario_runner.result_of("two_primaries"))


@pytest.mark.thorough
def test_commits_wait(
    require_capability: Require, scenario_runner: ScenarioRunner, judge_scenario: Judge
) -> None:
    """A volume that hangs pages, though the primary is there and answers, until it takes writes."""
    require_capability("real-disk-limit")
    judge_scenario(scenario_runner.result_of("commits_wait"))


def test_operator_away(scenario_runner: ScenarioRunner, judge_scenario: Judge) -> None:
    """A missing failover component pages before it is needed, until it is back.

    Patroni's primary cannot keep its lease without its store, and steps down some 5 s later: there
    PgNoPrimary may follow. CNPG's primary works on: nothing worse may be seen.
    """
    judge_scenario(scenario_runner.result_of("operator_away"))


def test_archive_filling(
    require_capability: Require, scenario_runner: ScenarioRunner, judge_scenario: Judge
) -> None:
    """An archive filled to 85 % pages before it is full, and no longer once there is room."""
    require_capability("backup")
    require_capability("real-disk-limit")
    judge_scenario(scenario_runner.result_of("archive_filling"))


def test_archive_away(
    require_capability: Require,
    scenario_runner: ScenarioRunner,
    judge_scenario: Judge,
    verdicts: Verdicts,
) -> None:
    """An archive that takes no WAL pages, though no client notices, until it takes it again."""
    require_capability("backup")
    _judge(scenario_runner.result_of("archive_away"), judge_scenario, verdicts)


@pytest.mark.thorough
def test_archive_full(
    require_capability: Require,
    scenario_runner: ScenarioRunner,
    judge_scenario: Judge,
    verdicts: Verdicts,
) -> None:
    """An archive without room pages, though no client notices, until there is room again."""
    require_capability("backup")
    require_capability("real-disk-limit")
    _judge(scenario_runner.result_of("archive_full"), judge_scenario, verdicts)


@pytest.mark.thorough
def test_archive_refused(
    require_capability: Require,
    scenario_runner: ScenarioRunner,
    judge_scenario: Judge,
    verdicts: Verdicts,
) -> None:
    """Credentials that the archive refuses page, though no client notices, until it takes them."""
    require_capability("backup-credentials")
    _judge(scenario_runner.result_of("archive_refused"), judge_scenario, verdicts)


@pytest.mark.thorough
def test_backups_gone(
    require_capability: Require,
    scenario_runner: ScenarioRunner,
    judge_scenario: Judge,
    verdicts: Verdicts,
) -> None:
    """An archive that has lost its backups pages, whether or not it still takes WAL."""
    require_capability("backup")
    _judge(scenario_runner.result_of("backups_gone"), judge_scenario, verdicts)


@pytest.mark.thorough
def test_backup_failed(
    require_capability: Require, scenario_runner: ScenarioRunner, judge_scenario: Judge
) -> None:
    """A backup that fails pages, until one succeeds."""
    require_capability("backup")
    judge_scenario(scenario_runner.result_of("backup_failed"))


def test_stalled_load(
    require_capability: Require, scenario_runner: ScenarioRunner, judge_scenario: Judge
) -> None:
    """A load that waits for a lock pages as a burning budget, although nothing is down."""
    require_capability("pushgateway")
    judge_scenario(scenario_runner.result_of("stalled_load"))


def test_watchdog(scenario_runner: ScenarioRunner, verdicts: Verdicts) -> None:
    """The pager pages when the alert that always fires comes no more: then no other would."""
    course = scenario_runner.result_of("watchdog").course
    about = About(alert=WATCHDOG)
    verdicts.check(UNHEARD, course.healed - course.condition, course.scenario, about=about)


def test_failover_off(
    require_capability: Require, scenario_runner: ScenarioRunner, judge_scenario: Judge
) -> None:
    """Failover that was switched off pages before it is needed, until it is on again.

    CloudNativePG has no such switch that a metric shows.
    """
    require_capability("processes")
    judge_scenario(scenario_runner.result_of("failover_off"))


@pytest.mark.thorough
def test_source_gone(
    require_capability: Require, scenario_runner: ScenarioRunner, judge_scenario: Judge
) -> None:
    """A target that an alert reads pages when it is silent, or known no more, until it is back."""
    require_capability("pushgateway")
    judge_scenario(scenario_runner.result_of("source_gone"))


@pytest.mark.thorough
def test_connections_near_limit(scenario_runner: ScenarioRunner, judge_scenario: Judge) -> None:
    """Sessions that take most of a limit page before any is refused, until they end."""
    judge_scenario(scenario_runner.result_of("connections_near_limit"))


@pytest.mark.thorough
def test_forgotten_transaction(scenario_runner: ScenarioRunner, judge_scenario: Judge) -> None:
    """A forgotten transaction pages until it is ended."""
    judge_scenario(scenario_runner.result_of("forgotten_transaction"))


@pytest.mark.thorough
def test_no_new_session(
    require_capability: Require, scenario_runner: ScenarioRunner, judge_scenario: Judge
) -> None:
    """A postmaster that hangs pages, although open sessions are served, until it resumes.

    CloudNativePG opens a session for each question: there it is PgNoPrimary.
    """
    require_capability("processes")
    judge_scenario(scenario_runner.result_of("no_new_session"))


@pytest.mark.thorough
def test_way_in_down(
    require_capability: Require, scenario_runner: ScenarioRunner, judge_scenario: Judge
) -> None:
    """A load balancer that is down pages, though the database is well, until it is back.

    Nothing tries the way in on kind, where no program stands in it.
    """
    require_capability("processes")
    judge_scenario(scenario_runner.result_of("way_in_down"))


@pytest.mark.thorough
def test_crash_loop(
    require_capability: Require, scenario_runner: ScenarioRunner, judge_scenario: Judge
) -> None:
    """PostgreSQL that crashes and recovers in place, again and again, pages until it rests.

    CloudNativePG's postmaster ends with its backends, and is restarted with its container.
    """
    require_capability("processes")
    judge_scenario(scenario_runner.result_of("crash_loop"))


def _judge(played: ScenarioResult, judge_scenario: Judge, verdicts: Verdicts) -> None:
    """Judge an alert about the archive, and what its cause has cost the clients."""
    course = played.course
    with verdicts.together():
        judge_scenario(played)
        note = f"of {len(course.commits)}; {course.note}"
        verdicts.check(UNNOTICED, max(course.commits, default=None), course.scenario, note)
