"""A load that publishes itself, through a real Pushgateway to a real Prometheus."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests
import yaml

from pgdrill.drills import publishing
from pgdrill.drills.load import objectives_twice
from pgdrill.drills.publishing import JOB, LoadPublisher, Publication
from pgdrill.judge import slos
from pgdrill.observe.load import commits, wait_scraped
from pgdrill.observe.prometheus import NoDataError, Prometheus
from pgdrill.observe.pushgateway import Pushgateway
from pgdrill.records import Bench, ScriptResult
from pgdrill.waiting import eventually
from pgdrill.workload import pgbench_log
from pgdrill.workload.pgbench_tail import Tail, Tally
from tests.servers import free_port
from tests.unit.monitoring_pair import programs

WITHIN = 15.0  # seconds; on an idle machine every stage comes within one
SCRAPE = 0.25  # seconds
LIMIT_MS = 200
UNSENT = 2


@pytest.fixture(scope="module")
def monitoring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Prometheus]]:
    """Address of a gateway, and the Prometheus that scrapes it in haste."""
    for program in ("prometheus", "prometheus-pushgateway"):
        assert shutil.which(program), f"missing: apt-get install --no-install-recommends {program}"
    at = tmp_path_factory.mktemp("monitoring")
    gateway, prometheus = (f"127.0.0.1:{free_port()}" for _ in range(2))
    job = {"job_name": "pushgateway", "honor_labels": True}
    job |= {"static_configs": [{"targets": [gateway]}]}
    interval = f"{SCRAPE * 1000:.0f}ms"
    pace = {"scrape_interval": interval, "scrape_timeout": interval}
    (at / "prometheus.yml").write_text(yaml.safe_dump({"global": pace, "scrape_configs": [job]}))
    commands = {
        gateway: ["prometheus-pushgateway", f"--web.listen-address={gateway}"],
        prometheus: [
            "prometheus",
            f"--config.file={at}/prometheus.yml",
            f"--storage.tsdb.path={at}/tsdb",
            f"--web.listen-address={prometheus}",
        ],
    }
    with programs(at, commands):
        yield f"http://{gateway}", Prometheus(f"http://{prometheus}")


@pytest.fixture
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish, and give up, ten times as fast."""
    monkeypatch.setattr(publishing, "PUSHED_EVERY", 0.2)
    monkeypatch.setattr(publishing, "SCRAPED_WITHIN", 2.0)


def _write(directory: Path, count: int) -> None:
    """Go on with a log: latencies from 1 to 250 ms, one in five too late, one in 250 failed."""
    with (directory / "pgbench_log.7").open("a") as log:
        for n in range(count):
            latency = "failed" if n % 250 == 0 else str(1000 * (n % 250 + 1))
            log.write(f"0 {n} {latency} 0 {100 + n} 0 0\n")


def _bench(directory: Path) -> Bench:
    """The client's own figures from the log, with the transactions that were never sent."""
    latency = pgbench_log.read(sorted(directory.glob("pgbench_log.*"))).latency_us

    def script(name: str, unsent: int) -> ScriptResult:
        return pgbench_log.script_result(
            name, latency, seconds=10, limit_ms=LIMIT_MS, unsent=unsent, aborted=0
        )

    return Bench(
        started_at=0,
        duration=10,
        clients=2,
        scale=1,
        rate=100,
        calibration_tps=200,
        latency_limit_ms=LIMIT_MS,
        scripts=(script("all", UNSENT), script("tpcb", 0)),
        aborted_clients=0,
        exit_status=0,
        slices=(),
    )


def _publish(gateway: str, prometheus: Prometheus, tail: Tail, directory: Path) -> Publication:
    """Publish a log that is whole, under the name of its directory."""
    with LoadPublisher(Pushgateway(gateway, JOB), tail, directory.name) as live:
        return live.settle(_bench(directory), prometheus)


Monitoring = tuple[str, Prometheus]


@pytest.mark.usefixtures("haste")
def test_both_ways_tell_the_same(monitoring: Monitoring, tmp_path: Path) -> None:
    """A load is visible while its log grows, at its end both ways agree, and then it is removed."""
    gateway, prometheus = monitoring
    query = f'sum(pgdrill_load_transactions_total{{run="{tmp_path.name}"}})'
    with LoadPublisher(Pushgateway(gateway, JOB), Tail(tmp_path, LIMIT_MS), tmp_path.name) as live:
        for more, total in ((0, 0), (250, 250), (750, 1000)):
            _write(tmp_path, more)
            eventually(
                f"{total} transactions in Prometheus",
                lambda: prometheus.values(query)[""],
                float(total).__eq__,
                within=WITHIN,
                every=0.1,
                not_yet=(NoDataError,),
            )
        bench = _bench(tmp_path)
        publication = live.settle(bench, prometheus)
        assert JOB in requests.get(f"{gateway}/metrics", timeout=5).text
    assert publication.at is not None, publication.trouble
    assert JOB not in requests.get(f"{gateway}/metrics", timeout=5).text
    found = objectives_twice(bench, publication, prometheus)
    assert [(one.quantity, one.outcome) for one in found] == [
        ("transactions due", "met"),
        ("bad transactions", "met"),
        ("p99 latency", "met"),
    ]
    assert found[0].prometheus == 1000 + UNSENT
    assert found[1].client == 100 * (200 + 4 + UNSENT) / (1000 + UNSENT)


@pytest.mark.usefixtures("haste")
def test_unanswered_ones_are_the_slowest_both_ways(monitoring: Monitoring, tmp_path: Path) -> None:
    """With 2 % unanswered p99 is beyond the last bucket, though the run was shorter than that."""
    (tmp_path / "pgbench_log.7").write_text(
        "".join(f"0 {n} {1000 if n % 50 else 'failed'} 0 {100 + n} 0 0\n" for n in range(1000))
    )
    publication = _publish(*monitoring, Tail(tmp_path, LIMIT_MS), tmp_path)
    found = objectives_twice(_bench(tmp_path), publication, monitoring[1])
    assert {one.outcome for one in found} == {"met"}
    assert (found[2].client, found[2].prometheus) == (30_000, 30_000)


class Forgetful(Tail):
    """Keeps half of the bad transactions to itself."""

    def tally(self, unlogged: int = 0) -> Tally:
        """Count, and forget."""
        whole = super().tally(unlogged)
        return replace(whole, bad=whole.bad // 2)


class Flattering(Tail):
    """Finds the slowest fifth of all transactions much faster than they were."""

    def tally(self, unlogged: int = 0) -> Tally:
        """Count, and put all that was answered into the bucket of the objective."""
        whole = super().tally(unlogged)
        near = tuple(whole.due if n > 10 else count for n, count in enumerate(whole.within))
        return replace(whole, within=near)


@pytest.mark.usefixtures("haste")
@pytest.mark.parametrize(
    ("tail", "broken"),
    [
        pytest.param(Forgetful, {"transactions due", "bad transactions"}, id="bad-ones-dropped"),
        pytest.param(Flattering, {"p99 latency"}, id="slow-ones-made-fast"),
    ],
)
def test_a_publisher_that_flatters_is_found_out(
    monitoring: Monitoring, tmp_path: Path, tail: type[Tail], broken: set[str]
) -> None:
    """Where Prometheus got less than the truth, the comparison is broken."""
    _write(tmp_path, 1000)
    publication = _publish(*monitoring, tail(tmp_path, LIMIT_MS), tmp_path)
    found = objectives_twice(_bench(tmp_path), publication, monitoring[1])
    assert {one.quantity for one in found if one.outcome == "broken"} == broken
    assert {one.outcome for one in found} == {"met", "broken"}


@pytest.mark.usefixtures("haste")
def test_a_gateway_that_is_away_disturbs_nobody_and_is_no_data(
    monitoring: Monitoring, tmp_path: Path
) -> None:
    """The block continues normally; then there is no comparison, with the reason."""
    _write(tmp_path, 100)
    away = f"http://127.0.0.1:{free_port()}"
    publication = _publish(away, monitoring[1], Tail(tmp_path, LIMIT_MS), tmp_path)
    assert publication.at is None
    assert f"the Pushgateway at {away} does not answer" in publication.trouble
    found = objectives_twice(_bench(tmp_path), publication, monitoring[1])
    assert {one.outcome for one in found} == {"invalid"}
    assert {one.note for one in found} == {publication.trouble}


def test_a_load_that_prometheus_never_saw_is_no_data(
    monitoring: Monitoring, tmp_path: Path
) -> None:
    """An empty Prometheus is no evidence."""
    _write(tmp_path, 100)
    unseen = Publication("never-ran", time.time(), "", pushes=1, cpu=0.0, seconds=1.0)
    found = objectives_twice(_bench(tmp_path), unseen, monitoring[1])
    assert {one.outcome for one in found} == {"invalid"}
    assert "no data for" in found[0].note


@pytest.mark.usefixtures("haste")
def test_what_a_killed_run_left_goes_when_the_next_begins(
    monitoring: Monitoring, tmp_path: Path
) -> None:
    """A run that never came to clean up does not stay beside the next one."""
    gateway, _ = monitoring
    Pushgateway(gateway, JOB).put('pgdrill_load_transactions_total{run="killed"} 1\n')
    with LoadPublisher(Pushgateway(gateway, JOB), Tail(tmp_path, LIMIT_MS), "next"):
        eventually(
            "only the next run",
            lambda: requests.get(f"{gateway}/metrics", timeout=5).text,
            lambda text: 'run="next"' in text and 'run="killed"' not in text,
            within=WITHIN,
            every=0.1,
        )


def _count(gateway: str, **members: int) -> float:
    """Give Prometheus the members' counters, as their exporters would; return when it has them."""
    lines = (
        f'pgdrill_database_xact_commit{{datname="shop",member="{name}"}} {count}\n'
        for name, count in members.items()
    )
    Pushgateway(gateway, "postgres").put("".join(lines))
    return time.time()


def test_commits_are_those_of_the_primary_without_its_observers(monitoring: Monitoring) -> None:
    """A standby counts the monitoring's own commits; the rest must equal the clients'."""
    gateway, prometheus = monitoring
    start = _count(gateway, pg1=1000, pg2=500, pg3=500)
    wait_scraped(prometheus, "shop", start)
    end = _count(gateway, pg1=3030, pg2=530, pg3=520)
    counted = commits(prometheus, "shop", start, end)
    assert (counted.member, counted.total) == ("pg1", 2030)
    assert counted.observers == pytest.approx(30, rel=0.5)
    assert slos.compare_commits(4, 2000, counted).outcome == "met"
    assert slos.compare_commits(4, 1900, counted).outcome == "broken"
    assert slos.compare_commits(4, 2000, None, "why").outcome == "invalid"


def test_what_a_replaced_member_left_is_not_waited_for(monitoring: Monitoring) -> None:
    """The series of a removed pod gets no new samples; that of its successor counts."""
    gateway, prometheus = monitoring
    for pod in ("old", "new"):
        Pushgateway(gateway, "postgres").put(
            f'pgdrill_database_xact_commit{{datname="mall",member="pg1",pod_uid="{pod}"}} 9\n'
        )
        wait_scraped(prometheus, "mall", time.time())


def test_a_member_that_begins_to_count_anew_is_no_evidence(monitoring: Monitoring) -> None:
    """A counter that falls was reset: its increase is no evidence."""
    gateway, prometheus = monitoring
    start = _count(gateway, pg1=9000, pg2=900, pg3=900)
    wait_scraped(prometheus, "shop", start)
    end = _count(gateway, pg1=10, pg2=930, pg3=930)
    with pytest.raises(NoDataError, match="pg1 was restarted"):
        commits(prometheus, "shop", start, end)
