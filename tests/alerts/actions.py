"""The actions of the scenarios: each causes its alert for a real reason, and removes the reason."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial

import pytest

from pgdrill import timeouts
from pgdrill.engines.base import NoPrimaryError
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.faults.base import healing
from pgdrill.judge import failover
from pgdrill.judge.alerting import UNHEARD
from pgdrill.observe.alerts import Expectation
from pgdrill.observe.deadman import WATCHDOG
from pgdrill.observe.detection import OLD_ALERTS_GONE
from pgdrill.observe.prometheus import NoDataError
from pgdrill.observe.scenarios import EVERYTHING, Measurement, Scenario, ScenarioContext, Thing
from pgdrill.platforms.archive import Archive, archive_of
from pgdrill.platforms.base import (
    Capability,
    Cluster,
    Platform,
    Volume,
    wait_healthy,
    wait_settled,
    where,
)
from pgdrill.rundir import RunDir
from pgdrill.settings import Settings
from pgdrill.waiting import DeadlineError
from pgdrill.workload.pgbench_program import Program
from tests.alerts.load import bad_instants, bad_share, good_again, published_load, stalls
from tests.alerts.measured import (
    a_standby,
    archive_fails,
    behind,
    commit_waits,
    connections_share,
    files_that_wait,
    injected,
    instant_when,
    oldest_transaction,
    replay_blocked,
    started,
    until_paged,
    until_resolved,
    writers,
    writing,
)
from tests.alerts.trial_scenarios import Strikes, Struck

QUIET = 5.0  # seconds without an alert before each scenario: two rounds of scrape and evaluation
CALM = 20.0  # seconds to wait for such a window
FAULT_WITHIN = 90.0  # seconds for a trial to inject its fault: to settle, write, meet its phase
LIMIT_LAG = 5.0  # seconds, as in infra/alerts/rules/replication.yaml
LIMIT_WAIT = 5.0  # seconds, as in infra/alerts/rules/availability.yaml
LIMIT_DISK = 0.80  # share, as in infra/alerts/rules/storage.yaml
LIMIT_SHARE = 0.80  # share, as in infra/alerts/rules/sessions.yaml
LIMIT_AGE = 60.0  # seconds, as in infra/alerts/rules/sessions.yaml
CRASHES = 3  # as in infra/alerts/rules/sessions.yaml: more than 2 in a minute
LIMIT_BURN = 14.4 * 0.001  # share, as in infra/alerts/rules/slo.yaml

# What else a member that is away, or a primary that moves, may raise for a moment.
MEMBER_AWAY = frozenset(
    (
        "PgMemberDown",
        "PgReplicationLagHigh",
        "PgReplicationUnmeasured",
        "PgSynchronousStandbyMissing",
        "PgSourceDown",
        "PgNoNewSession",
        "PgConnectionsNearLimit",  # of clients that gave up while their commits waited
    )
)
# An old primary that wakes up goes on beside its successor until its agent has noticed, and its
# commits wait for a standby that is not there any more.
PRIMARY_MOVES = MEMBER_AWAY | {
    "PgNoPrimary",
    "PgFailoverHappened",
    "PgTwoPrimaries",
    "PgCommitsWait",
    "PgWayInDown",
}
# Who may not look into the archive sees no backup in it; a store's own exporter goes with it.
UNREADABLE = frozenset(("PgArchiveLagging", "PgBackupMissing", "PgBackupStale", "PgSourceDown"))
# Alertmanager keeps alerts about standbys back while one of these is raised (alertmanager.yml.j2).
INHIBITS = frozenset(("PgNoPrimary", "PgFailoverHappened"))


@dataclass(frozen=True)
class Scene:
    """Everything that a scenario works with."""

    platform: Platform
    cluster: Cluster
    settings: Settings
    run: RunDir
    strikes: Strikes
    program: Program | None = None  # what carries a load, where a scenario needs one


def replication_lag(scene: Scene, turn: ScenarioContext) -> Measurement:
    """Block replay on a standby; it must catch up by itself."""
    cluster, standby = scene.cluster, a_standby(scene.platform)
    lag = Expectation("PgReplicationLagHigh", standby)
    with writing(cluster):
        quiet = _quiet(scene, turn)
        with replay_blocked(cluster, standby):
            late = _instant(turn, "lag", lambda: behind(cluster, standby) > LIMIT_LAG, within=20)
            until_paged(turn.watch, lag, quiet)
        well = _instant(turn, "no lag", lambda: behind(cluster, standby) < LIMIT_LAG, within=20)
        turn.fault_healed()
        until_resolved(turn.watch, lag, quiet)
    return Measurement(lag, f"replay blocked on {standby}", quiet, late, well)


def disk_filling(scene: Scene, turn: ScenarioContext) -> Measurement:
    """Fill the volume of a standby, and make room again."""
    standby = a_standby(scene.platform)
    filling, volume = Expectation("PgDiskFilling", standby), scene.platform.volume(standby)
    return _filled(scene, turn, volume, filling, f"volume of {standby}")


def archive_filling(scene: Scene, turn: ScenarioContext) -> Measurement:
    """Fill the volume of the archive, and make room again."""
    filling, volume = Expectation("PgArchiveFilling"), _archive(scene).volume
    return _filled(scene, turn, volume, filling, "the archive's volume")


def archive_stops(fault_name: str, what: str, scene: Scene, turn: ScenarioContext) -> Measurement:
    """Make the archive refuse WAL, and accept it again; clients write all the while."""
    failing = Expectation("PgArchiveFailing", scene.platform.engine.primary().name)
    quiet = _quiet(scene, turn)
    fault = scene.platform.faults[fault_name]
    with writing(scene.cluster) as commits:
        with healing(fault):
            fault.inject()
            failed = _instant(
                turn,
                "a refused file",
                lambda: archive_fails(scene.cluster),
                within=timeouts.WAL_REFUSED,
            )
            until_paged(turn.watch, failing, quiet)
            waiting = files_that_wait(scene.cluster)
            began = time.monotonic()
        fault.verify_healed()
        stored = time.monotonic()
    turn.fault_healed()
    until_resolved(turn.watch, failing, quiet)
    note = f"{waiting} WAL files waited"
    return Measurement(
        failing, what, quiet, failed, stored, healing=began, commits=tuple(commits), note=note
    )


def backups_gone(scene: Scene, turn: ScenarioContext) -> Measurement:
    """Take away all that the archive holds, and put it back; clients write all the while."""
    missing = Expectation("PgBackupMissing")
    quiet = _quiet(scene, turn)
    fault = scene.platform.faults["backups_gone"]
    with writing(scene.cluster) as commits:
        with injected(fault) as taken:
            until_paged(turn.watch, missing, quiet)
            stored = not archive_fails(scene.cluster)
        back = time.monotonic()
    turn.fault_healed()
    until_resolved(turn.watch, missing, quiet)
    note = f"WAL was {'stored' if stored else 'refused'} meanwhile"
    return Measurement(
        missing,
        "all backups taken away",
        quiet,
        taken.at,
        back,
        healing=taken.healing,
        commits=tuple(commits),
        note=note,
    )


def backup_failed(scene: Scene, turn: ScenarioContext) -> Measurement:
    """Try a backup while the archive refuses files, and take one when it accepts them."""
    failed = Expectation("PgBackupFailed")
    archive = _archive(scene)
    quiet = _quiet(scene, turn)
    fault = scene.platform.faults["archive_away"]
    with healing(fault):
        fault.inject()
        with pytest.raises(BrokenEnvironmentError):
            archive.back_up(_unshown)
        tried = time.monotonic()
        until_paged(turn.watch, failed, quiet)
    fault.verify_healed()
    began = time.monotonic()
    archive.back_up(_unshown)
    taken = time.monotonic()
    turn.fault_healed()
    until_resolved(turn.watch, failed, quiet)
    what = "a backup with the archive away"
    return Measurement(failed, what, quiet, tried, taken, healing=began)


def _filled(
    scene: Scene, turn: ScenarioContext, volume: Volume, filling: Expectation, what: str
) -> Measurement:
    """Fill a volume to 85 %, and make room again."""
    quiet = _quiet(scene, turn)
    try:
        volume.fill(0.85)
        full = _instant(turn, f"{what} full", lambda: volume.used() > LIMIT_DISK, within=20)
        until_paged(turn.watch, filling, quiet)
    finally:
        volume.release()
    empty = _instant(turn, f"room on {what}", lambda: volume.used() < LIMIT_DISK, within=20)
    turn.fault_healed()
    until_resolved(turn.watch, filling, quiet)
    return Measurement(filling, f"{what} filled to 85 %", quiet, full, empty)


def _archive(scene: Scene) -> Archive:
    archive = archive_of(scene.platform)
    assert archive is not None, "the capability backup says that there is one"
    return archive


def _unshown(done: float, note: str = "") -> None:
    """Show nothing: parallel scenarios have one line of progress each."""


def standby_away(scene: Scene, turn: ScenarioContext) -> Measurement:
    """Kill a standby and keep it away for a while."""
    platform = scene.platform
    quiet = _rested_quiet(scene, turn)
    with injected(platform.faults["standby_away"]) as killed:
        down = Expectation("PgMemberDown", killed.member)
        until_paged(turn.watch, down, quiet)
    runs = partial(_runs, platform, killed.member)
    back = _instant(turn, f"{killed.member} runs", runs, within=120)
    until_resolved(turn.watch, down, quiet)
    _primary_kept(turn, quiet, "only a standby was")
    _redundant(scene, turn)
    what = f"{killed.member} killed, kept away"
    return Measurement(down, what, quiet, killed.at, back, healing=killed.healing)


def planned_switchover(scene: Scene, turn: ScenarioContext) -> Measurement:
    """Hand the primary over, and count which alerts page."""
    changed, watch = Expectation("PgFailoverHappened"), turn.watch
    quiet = _rested_quiet(scene, turn)
    before = _timeline(scene.platform)
    switching = _strike(scene, turn, "switchover")
    moved = _moved_on(scene, turn, before)
    until_paged(watch, changed, quiet)
    old = switching().member
    _redundant(scene, turn)
    until_resolved(watch, changed, quiet)
    with writing(scene.cluster):
        turn.quiet(lasting=QUIET, within=OLD_ALERTS_GONE)
    waking = tuple(
        str(of) for of in turn.raised(quiet) if watch.when(of, "paged", quiet) is not None
    )
    what = f"{old} switched over, planned"
    return Measurement(changed, what, quiet, moved, moved, waking=waking)


def short_outage(scene: Scene, turn: ScenarioContext) -> Measurement:
    """Kill the primary, which is restarted at once."""
    changed = Expectation("PgFailoverHappened")
    quiet = _rested_quiet(scene, turn)
    before = _timeline(scene.platform)
    killing = _strike(scene, turn, "primary_kill")
    new = _moved_on(scene, turn, before)
    until_paged(turn.watch, changed, quiet)
    killed = killing().member
    _redundant(scene, turn)
    until_resolved(turn.watch, changed, quiet)
    return Measurement(changed, f"{killed} killed", quiet, new, new)


def stalled_load(scene: Scene, turn: ScenarioContext) -> Measurement:
    """Make a load wait for a lock, repeatedly."""
    burn, cluster = Expectation("PgSloBurnFast"), scene.cluster
    assert scene.program, "a load without a pgbench"
    quiet = _quiet(scene, turn)
    directory = scene.run.raw / "burn"
    with published_load(scene.program, scene.platform, cluster, scene.settings, directory) as log:
        with stalls(cluster):
            burning = _instant(turn, "a burn", lambda: bad_share(log) > LIMIT_BURN, within=30)
            until_paged(turn.watch, burn, quiet)
        with bad_instants(log) as bad:
            good_again(bad, within=30)
            until_resolved(turn.watch, burn, quiet)
    # A full machine makes some more late ones after the last lock; the alert is of them, too.
    resolved = turn.watch.when(burn, "resolved", quiet)
    well = max(at for at in bad if resolved is None or at < resolved)
    return Measurement(burn, "locks stall a load", quiet, burning, well)


def frozen_primary(scene: Scene, turn: ScenarioContext) -> Measurement:
    """Freeze the primary until another one serves, or it was restarted."""
    platform, none = scene.platform, Expectation("PgNoPrimary")
    quiet = _rested_quiet(scene, turn)
    freezing = _strike(scene, turn, "primary_freeze")
    _instant(
        turn, "a primary that hangs", lambda: not _primary(platform), within=_until_hit(platform)
    )
    until_paged(turn.watch, none, quiet)
    new = _instant(
        turn, "a primary that answers", lambda: bool(_primary(platform)), within=_patience(platform)
    )
    until_resolved(turn.watch, none, quiet)
    frozen = freezing()
    _redundant(scene, turn)
    # Where the same one was restarted, its address leads to it only once a probe has passed.
    began = _started(scene, platform.engine.primary().name)
    healing = began if began > frozen.at else None
    return Measurement(none, f"{frozen.member} frozen", quiet, frozen.at, new, healing=healing)


def two_primaries(scene: Scene, turn: ScenarioContext) -> Measurement:
    """Freeze the primary's agent until another member writes beside it, and resume it then."""
    platform, two = scene.platform, Expectation("PgTwoPrimaries")
    quiet = _rested_quiet(scene, turn)
    with injected(platform.faults["agent_freeze"]) as frozen:
        both = _instant(
            turn,
            "two members that write",
            lambda: len(writers(scene.cluster)) > 1,
            within=_patience(platform),
        )
        until_paged(turn.watch, two, quiet)
    one = _instant(
        turn,
        "one member that writes",
        lambda: len(writers(scene.cluster)) == 1,
        within=timeouts.REDUNDANT_AFTER,
    )
    until_resolved(turn.watch, two, quiet)
    _redundant(scene, turn)
    what = f"agent of {frozen.member} frozen"
    return Measurement(two, what, quiet, both, one, healing=frozen.healing)


def commits_wait(scene: Scene, turn: ScenarioContext) -> Measurement:
    """Suspend the primary's volume while a client writes, and resume it."""
    platform, wait = (
        scene.platform,
        Expectation("PgCommitsWait", scene.platform.engine.primary().name),
    )
    quiet = _rested_quiet(scene, turn)
    with writing(scene.cluster):
        with injected(platform.faults["volume_hang"]) as hung:
            late = _instant(
                turn,
                "a commit that waits",
                lambda: commit_waits(scene.cluster) > LIMIT_WAIT,
                within=20,
            )
            until_paged(turn.watch, wait, quiet)
        done = time.monotonic()
    until_resolved(turn.watch, wait, quiet)
    _redundant(scene, turn)
    what = f"volume of {hung.member} hangs"
    return Measurement(wait, what, quiet, late, done, healing=hung.healing)


def operator_away(scene: Scene, turn: ScenarioContext) -> Measurement:
    """Take away what would fail the cluster over, and give it back."""
    platform, down = scene.platform, Expectation("PgOperatorDown")
    quiet = _rested_quiet(scene, turn)
    with injected(platform.faults["operator_away"]) as away:
        until_paged(turn.watch, down, quiet)
    back = time.monotonic()
    until_resolved(turn.watch, down, quiet)
    if platform.engine.name != "patroni":
        _primary_kept(turn, quiet, "only the operator was")
    _redundant(scene, turn)
    what = f"{away.member} away"
    return Measurement(down, what, quiet, away.at, back, healing=away.healing)


def watchdog(scene: Scene, turn: ScenarioContext) -> Measurement:
    """Silence the alert that always fires; what ends the wait is the pager's own page."""
    watch = turn.watch
    before = watch.switch.heartbeats
    _instant(turn, "the watchdog", lambda: watch.switch.heartbeats > before, within=UNHEARD.limit)
    with watch.alertmanager.silenced(WATCHDOG):
        silent = time.monotonic()
        with suppress(DeadlineError):  # the verdict reports it
            _instant(
                turn,
                "the pager's own page",
                lambda: watch.switch.paged(silent) is not None,
                within=UNHEARD.limit + 10,
            )
    paged = watch.switch.paged(silent)
    ended = math.inf if paged is None else paged
    return Measurement(Expectation(WATCHDOG), "watchdog silenced", silent, silent, ended)


def failover_off(scene: Scene, turn: ScenarioContext) -> Measurement:
    """Switch failover off, and on again."""
    quiet = _quiet(scene, turn)
    off = Expectation("PgFailoverOff")
    return _while_injected(turn, scene.platform, "failover_off", off, "failover off", quiet)


def source_gone(scene: Scene, turn: ScenarioContext) -> Measurement:
    """Take away what a load publishes itself to, and give it back."""
    quiet = _quiet(scene, turn)
    gone = Expectation("PgSourceDown")
    return _while_injected(turn, scene.platform, "source_away", gone, "pushgateway away", quiet)


def way_in_down(scene: Scene, turn: ScenarioContext) -> Measurement:
    """Stop the load balancer, and start it again."""
    quiet = _rested_quiet(scene, turn)
    down = Expectation("PgWayInDown")
    return _while_injected(turn, scene.platform, "proxy_down", down, "load balancer down", quiet)


def no_new_session(scene: Scene, turn: ScenarioContext) -> Measurement:
    """Freeze the primary's postmaster, and resume it."""
    quiet = _rested_quiet(scene, turn)
    shut = Expectation("PgNoNewSession", scene.platform.engine.primary().name)
    return _while_injected(
        turn, scene.platform, "postmaster_freeze", shut, "postmaster frozen", quiet
    )


def _while_injected(
    turn: ScenarioContext, platform: Platform, fault: str, of: Expectation, what: str, quiet: float
) -> Measurement:
    """Break something until an alert has paged, and heal it."""
    with injected(platform.faults[fault]) as injection:
        until_paged(turn.watch, of, quiet)
    back = time.monotonic()
    turn.fault_healed()
    until_resolved(turn.watch, of, quiet)
    return Measurement(of, what, quiet, injection.at, back, healing=injection.healing)


def connections_near_limit(scene: Scene, turn: ScenarioContext) -> Measurement:
    """Hold most of the sessions that a limit allows, and let them go."""
    cluster = scene.cluster
    near = Expectation("PgConnectionsNearLimit", scene.platform.engine.primary().name)
    quiet = _quiet(scene, turn)
    with writing(cluster), ExitStack() as held:

        def crowd() -> float:
            for _ in range(10):
                held.callback(cluster.connect().close)
            return connections_share(cluster)

        late = _instant(turn, "a crowd", lambda: crowd() > LIMIT_SHARE, within=60)
        crowd()  # some more: one that leaves is not to end it
        until_paged(turn.watch, near, quiet)
    few = _instant(turn, "a few", lambda: connections_share(cluster) < LIMIT_SHARE, within=20)
    turn.fault_healed()
    until_resolved(turn.watch, near, quiet)
    return Measurement(near, "sessions held idle", quiet, late, few)


def forgotten_transaction(scene: Scene, turn: ScenarioContext) -> Measurement:
    """Leave a transaction open, and end it."""
    cluster = scene.cluster
    held = Expectation("PgVacuumHeldBack", scene.platform.engine.primary().name)
    quiet = _quiet(scene, turn)
    with writing(cluster), cluster.connect() as session, session.transaction():
        session.execute("SELECT txid_current()")
        old = _instant(
            turn,
            "an old transaction",
            lambda: oldest_transaction(cluster) > LIMIT_AGE,
            within=LIMIT_AGE + 20,
        )
        until_paged(turn.watch, held, quiet)
    ended = time.monotonic()
    turn.fault_healed()
    until_resolved(turn.watch, held, quiet)
    return Measurement(held, "a transaction left open", quiet, old, ended)


def crash_loop(scene: Scene, turn: ScenarioContext) -> Measurement:
    """Kill a backend of a standby again and again; each time all others end, and all recovers.

    Of a standby: where a primary's recovery takes longer than a look of Patroni's, it fails over.
    """
    platform, cluster = scene.platform, scene.cluster
    quiet = _rested_quiet(scene, turn)
    member, crashed = "", quiet
    for _ in range(CRASHES):
        starts = {name: started(cluster, name) for name in cluster.members}
        known = {name: _known_start(turn, name) for name in cluster.members}
        with injected(platform.faults["standby_backend_kill"]) as killed:
            hit = killed.member
            assert member in ("", hit), f"{hit} was hit after {member}: that is no loop"
            member = hit
            anew = partial(_changed, partial(started, cluster, member), starts[member])
            crashed = _instant(turn, "another start", anew, within=30)
        # A start that is over before a scrape cannot be counted.
        scraped = partial(_changed, partial(_known_start, turn, member), known[member])
        _instant(turn, "its scrape", scraped, within=30)
        # The fault hits a standby that a commit may rely on: it has to be one again.
        again = partial(_synchronous, platform, member)
        _instant(turn, f"{member} synchronous", again, within=timeouts.REDUNDANT_BEFORE)
    loop = Expectation("PgCrashLoop", member)
    until_paged(turn.watch, loop, quiet)
    turn.fault_healed()
    until_resolved(turn.watch, loop, quiet)
    return Measurement(loop, f"{CRASHES} backends of {member} killed", quiet, crashed, crashed)


def _synchronous(platform: Platform, member: str) -> bool:
    return any(m.name == member and m.synchronous for m in platform.engine.members())


def _changed(look: Callable[[], float], before: float) -> bool:
    """Whether there is a number, and it differs from the one before."""
    return look() not in (0.0, before)


def _known_start(turn: ScenarioContext, member: str) -> float:
    """Return when a member started, as the monitoring has it; 0 where it has no value."""
    with suppress(NoDataError):
        return turn.watch.prometheus.values("pgdrill:started_seconds").get(member, 0.0)
    return 0.0


def _quiet(scene: Scene, turn: ScenarioContext) -> float:
    """Wait for what comes before a scenario: all is redundant, and no alert is left."""
    wait_healthy(scene.platform.engine, within=timeouts.REDUNDANT_BEFORE)
    return turn.quiet(lasting=QUIET, within=OLD_ALERTS_GONE + CALM)


def _rested_quiet(scene: Scene, turn: ScenarioContext) -> float:
    """Wait for the same, and for members with a restart back-off to be replaced."""
    wait_settled(scene.platform.engine, within=timeouts.REDUNDANT_BEFORE)
    return turn.quiet(lasting=QUIET, within=OLD_ALERTS_GONE + CALM)


def _instant(
    turn: ScenarioContext, what: str, probe: Callable[[], bool], *, within: float
) -> float:
    """Return when something became true, as measured.instant_when does; stop when the run ends."""

    def look() -> bool:
        turn.check_running()
        return probe()

    return instant_when(what, look, within=within)


def _strike(scene: Scene, turn: ScenarioContext, fault: str) -> Callable[[], Struck]:
    """Let the main thread inject a fault; return a function that waits for its end."""
    return turn.in_main_thread(lambda: scene.strikes.strike(fault, turn))


def _redundant(scene: Scene, turn: ScenarioContext) -> None:
    """Wait until a fault has left only its alerts: from here on they are watched."""
    wait_healthy(scene.platform.engine, within=timeouts.REDUNDANT_AFTER)
    turn.fault_healed()


def _primary_kept(turn: ScenarioContext, since: float, truth: str) -> None:
    """Demand that no lost primary was paged; one lost scrape makes that alert pending."""
    told = turn.watch.when(Expectation("PgNoPrimary"), "firing", since)
    assert told is None, f"the primary was said to be lost although {truth}"


def _runs(platform: Platform, member: str) -> bool:
    return any(m.name == member and m.running for m in platform.engine.members())


def _patience(platform: Platform) -> float:
    """Seconds for a failover; how long it may take is for the drill to judge, not for an alert."""
    return failover.patience(where(platform))


def _until_hit(platform: Platform) -> float:
    """Seconds until what the main thread injects is seen."""
    return FAULT_WITHIN + _patience(platform)


def _primary(platform: Platform) -> str:
    """Name the member that answers as primary; '' while none does."""
    try:
        return platform.engine.primary().name
    except NoPrimaryError:
        return ""


def _started(scene: Scene, member: str) -> float:
    """Return when a member's processes started, monotonic seconds."""
    return started(scene.cluster, member) - time.time() + time.monotonic()


def _timeline(platform: Platform) -> int:
    return max(m.timeline for m in platform.engine.members())


def _moved_on(scene: Scene, turn: ScenarioContext, before: int) -> float:
    """Return when a member was promoted: no alert can fire before that."""
    platform = scene.platform
    return _instant(
        turn, "a new timeline", lambda: _timeline(platform) > before, within=_until_hit(platform)
    )


# What a platform must have for a scenario. A volume that is no file system of its own would be the
# machine's.
REQUIRED: Mapping[str, frozenset[Capability]] = {
    "disk_filling": frozenset(("real-disk-limit",)),
    "commits_wait": frozenset(("real-disk-limit",)),
    "two_primaries": frozenset(("processes",)),
    "archive_filling": frozenset(("backup", "real-disk-limit")),
    "archive_away": frozenset(("backup",)),
    "archive_full": frozenset(("backup", "real-disk-limit")),
    "archive_refused": frozenset(("backup-credentials",)),
    "backups_gone": frozenset(("backup",)),
    "backup_failed": frozenset(("backup",)),
    "stalled_load": frozenset(("pushgateway",)),
    "failover_off": frozenset(("processes",)),
    "source_gone": frozenset(("pushgateway",)),
    "no_new_session": frozenset(("processes",)),
    "way_in_down": frozenset(("processes",)),
    "crash_loop": frozenset(("processes",)),
}


def scenarios(scene: Scene) -> tuple[Scenario, ...]:
    """Return every scenario, in the order in which they begin where they do not fit together.

    What looks back half a minute at a new primary comes before what that does not disturb.
    """
    steady: frozenset[Thing] = frozenset(("roles", "members"))
    moves = steady
    return (
        Scenario(
            "standby_away",
            "PgMemberDown",
            partial(standby_away, scene),
            disturbs=frozenset(("members",)),
            needs=EVERYTHING,
            aftermath=MEMBER_AWAY,
            held_back_by=INHIBITS,
        ),
        Scenario(
            "planned_switchover",
            "PgFailoverHappened",
            partial(planned_switchover, scene),
            disturbs=moves,
            needs=steady | {"load"},  # it counts pages, and a load may cause some
            aftermath=PRIMARY_MOVES,
            alone=True,
        ),
        Scenario(
            "disk_filling",
            "PgDiskFilling",
            partial(disk_filling, scene),
            disturbs=frozenset(("volume",)),
            needs=steady,
        ),
        Scenario(
            "watchdog",
            WATCHDOG,
            partial(watchdog, scene),
            disturbs=frozenset(),
            needs=frozenset(),
        ),
        Scenario(
            "failover_off",
            "PgFailoverOff",
            partial(failover_off, scene),
            disturbs=frozenset(),
            needs=steady,
        ),
        Scenario(
            "forgotten_transaction",
            "PgVacuumHeldBack",
            partial(forgotten_transaction, scene),
            disturbs=frozenset(),
            needs=steady,
        ),
        Scenario(
            "connections_near_limit",
            "PgConnectionsNearLimit",
            partial(connections_near_limit, scene),
            disturbs=frozenset(),
            needs=steady,
        ),
        Scenario(
            "archive_filling",
            "PgArchiveFilling",
            partial(archive_filling, scene),
            disturbs=frozenset(("store",)),
            needs=steady,
        ),
        Scenario(
            "short_outage",
            "PgFailoverHappened",
            partial(short_outage, scene),
            disturbs=moves,
            needs=steady,
            aftermath=PRIMARY_MOVES,
            alone=True,
        ),
        Scenario(
            "stalled_load",
            "PgSloBurnFast",
            partial(stalled_load, scene),
            disturbs=frozenset(("load",)),
            needs=steady | {"load"},
            aftermath=frozenset(("PgSloBurnSlow",)),
        ),
        Scenario(
            "replication_lag",
            "PgReplicationLagHigh",
            partial(replication_lag, scene),
            disturbs=frozenset(("replay",)),
            needs=steady,
            held_back_by=INHIBITS,
        ),
        Scenario(
            "archive_away",
            "PgArchiveFailing",
            partial(archive_stops, "archive_away", "the archive taken away", scene),
            disturbs=frozenset(("archive",)),
            needs=steady,
            aftermath=UNREADABLE,
        ),
        Scenario(
            "archive_full",
            "PgArchiveFailing",
            partial(archive_stops, "archive_full", "the archive's volume full", scene),
            disturbs=frozenset(("archive", "store")),
            needs=steady | {"store"},
            aftermath=UNREADABLE | {"PgArchiveFilling"},
        ),
        Scenario(
            "archive_refused",
            "PgArchiveFailing",
            partial(archive_stops, "archive_refused", "the archive's credentials revoked", scene),
            disturbs=frozenset(("archive",)),
            needs=steady,
            aftermath=UNREADABLE,
        ),
        Scenario(
            "backups_gone",
            "PgBackupMissing",
            partial(backups_gone, scene),
            disturbs=frozenset(("archive", "store")),
            needs=steady | {"store"},
            aftermath=UNREADABLE | {"PgArchiveFailing"},
        ),
        Scenario(
            "backup_failed",
            "PgBackupFailed",
            partial(backup_failed, scene),
            disturbs=frozenset(("archive",)),
            needs=steady,
            aftermath=UNREADABLE | {"PgArchiveFailing"},
        ),
        Scenario(
            "source_gone",
            "PgSourceDown",
            partial(source_gone, scene),
            disturbs=frozenset(("load",)),
            needs=steady | {"load"},
        ),
        Scenario(
            "frozen_primary",
            "PgNoPrimary",
            partial(frozen_primary, scene),
            disturbs=moves,
            needs=EVERYTHING,
            aftermath=PRIMARY_MOVES,
            alone=True,
        ),
        Scenario(
            "two_primaries",
            "PgTwoPrimaries",
            partial(two_primaries, scene),
            disturbs=moves,
            needs=EVERYTHING,
            aftermath=PRIMARY_MOVES,
        ),
        Scenario(
            "no_new_session",
            "PgNoNewSession",
            partial(no_new_session, scene),
            disturbs=moves,
            needs=EVERYTHING,
            aftermath=PRIMARY_MOVES,
        ),
        Scenario(
            "way_in_down",
            "PgWayInDown",
            partial(way_in_down, scene),
            disturbs=moves,
            needs=EVERYTHING,
            aftermath=PRIMARY_MOVES,
        ),
        Scenario(
            "crash_loop",
            "PgCrashLoop",
            partial(crash_loop, scene),
            disturbs=frozenset(("members",)),
            needs=EVERYTHING,
            aftermath=MEMBER_AWAY,
        ),
        Scenario(
            "commits_wait",
            "PgCommitsWait",
            partial(commits_wait, scene),
            disturbs=moves | {"volume"},
            needs=EVERYTHING,
            aftermath=PRIMARY_MOVES,
        ),
        Scenario(
            "operator_away",
            "PgOperatorDown",
            partial(operator_away, scene),
            disturbs=moves,
            needs=EVERYTHING,
            aftermath=PRIMARY_MOVES,
        ),
    )
