"""pgbench in a container: with a stand-in for docker, and with the real one where it has the image.

The stand-in's containers are process groups of this machine, which live on when their client dies.
"""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from psycopg.conninfo import make_conninfo

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.base import Endpoint
from pgdrill.platforms.kind import KindPlatform, load_container
from pgdrill.platforms.kind.load_container import ContainerProgram, provide, remove_left
from pgdrill.platforms.kind.state import MONITORS, SERVICES, plan
from pgdrill.provision import container_engine, images, pulls
from pgdrill.provision.commands import output, succeeds
from pgdrill.provision.components import catalogue
from pgdrill.provision.supply import Supply
from pgdrill.waiting import eventually
from pgdrill.workload import pgbench, pgbench_process, pgbench_program
from pgdrill.workload.pgbench_program import described
from tests.unit.conftest import ScratchPostgres

IMAGE = catalogue().images["postgresql"].reference
ELSEWHERE = Endpoint("127.0.0.1", 1)  # where this machine would reach the database
LASTS = f"--time={10_000 + os.getpid()}"  # identifies this session's pgbench
FOREVER = [LASTS, "--progress=1", "--no-vacuum", "--define=scale=1", pgbench.MIX[0].argument]

STAND_IN = """\
#!/bin/sh
PATH=/usr/bin:/bin
there={place}/containers
echo "$1 $2" >> {place}/asked
case "$1" in
  info) echo '["name=seccomp,profile=default"]' ;;
  image) echo '["some/image@sha256:1"] "sha256:1"' ;;
  run)
    while [ "$1" != --entrypoint=sh ]; do
      case "$1" in --name=*) name=${{1#*=}} ;; --label=*) label=${{1#*=}} ;; esac
      shift
    done
    shift 2
    setsid sh "$@" &
    echo "$! $label" > "$there/$name"
    wait $!
    status=$?
    rm -f "$there/$name"
    exit $status ;;
  ps)
    for file in "$there"/*; do
      [ -e "$file" ] || continue
      case "$*" in
        *"name=^/${{file##*/}}$" | *"label=$(cut -d' ' -f2- "$file")") echo "${{file##*/}}" ;;
      esac
    done ;;
  rm)
    for name in "$@"; do
      case "$name" in rm | -*) continue ;; esac
      [ -e "$there/$name" ] || exit 1
      kill -KILL "-$(cut -d' ' -f1 "$there/$name")"
      rm -f "$there/$name"
    done ;;
esac
"""


def _has_image() -> bool:
    return container_engine.answers() and succeeds("docker", "image", "inspect", IMAGE)


@pytest.fixture(params=["stand-in", "docker"])
def network(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The network of the containers: this machine's own, in which the scratch server is."""
    if request.param == "docker":
        if not _has_image():
            pytest.skip(f"needs a container engine that has {IMAGE}: a load on kind loads it")
    else:
        _put_docker(tmp_path, monkeypatch, STAND_IN.format(place=tmp_path))
        (tmp_path / "containers").mkdir()
    return "host"


def _put_docker(place: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    (place / "bin").mkdir()
    (place / "bin/docker").write_text(script)
    (place / "bin/docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{place / 'bin'}:{os.environ['PATH']}")


@dataclass(frozen=True)
class Contained:
    """A program in containers, and the conninfo of a database as this machine would see it."""

    program: ContainerProgram
    conninfo: str
    state: Path


@pytest.fixture
def contained(
    network: str, tmp_path: Path, scratch_postgres: ScratchPostgres
) -> Iterator[Contained]:
    """A container program; at the end none of its containers is left."""
    state, said = tmp_path / "state", list[str]()
    routes = {ELSEWHERE: Endpoint("127.0.0.1", scratch_postgres.port)}
    scratch_postgres.database("contained")
    program = provide(IMAGE, network, state, routes, "/opt/pgbench is 13.4", said.append)
    conninfo = make_conninfo(
        host=ELSEWHERE.host, port=ELSEWHERE.port, user="postgres", dbname="contained"
    )
    yield Contained(program, conninfo, state)
    left = _containers(state)
    remove_left(state)
    assert not left
    assert not said


def _containers(state: Path) -> list[str]:
    label = f"--filter=label={load_container.LABEL}={state}"
    return output("docker", "ps", "--all", "--quiet", label).split()


def test_version_place_and_reason_are_told(contained: Contained) -> None:
    """The version is the output of the program in the image."""
    assert re.fullmatch(
        rf"pgbench 15\.\d+ in a container of {re.escape(IMAGE)} on network host,"
        r" because /opt/pgbench is 13\.4",
        described(contained.program),
    )


def test_a_load_is_what_it_is_on_the_host(contained: Contained, tmp_path: Path) -> None:
    """Tables, calibration, log and schedule; the log is of the user who runs this."""
    program, conninfo = contained.program, contained.conninfo
    direct = make_conninfo(conninfo, port=next(iter(program.routes.values())).port)
    # The tables are checked from here and filled from there: only the direct way works from here.
    assert pgbench.prepare(program, direct, 1, lambda line: None, within=60)
    mix = pgbench.MIX[:1]
    reached = pgbench.calibrate(program, conninfo, 2, 2, scale=1, seed=1, mix=mix)
    assert reached > 10
    seconds, logs = list[float](), tmp_path / "with, comma"
    bench = pgbench.run(
        program,
        direct,
        clients=4,
        duration=4,
        rate=200.0,
        directory=logs,
        scale=1,
        seed=42,
        calibration_tps=reached,
        warm_up=2,
        mix=mix,
        on_progress=lambda second, *_: seconds.append(second),
    )
    assert (bench.exit_status, bench.aborted_clients) == (0, 0)
    assert bench.pgbench == described(program)
    # Time that the container took to start would shorten the window, and leave more than was due.
    assert 3.9 < bench.duration <= 4.0
    assert bench.scripts[0].transactions == pytest.approx(800, abs=150)
    assert bench.scripts[0].skipped == 0
    assert min(seconds) < 0 < max(seconds)
    files = {file.name: file.stat().st_uid for file in logs.iterdir()}
    expected = r"(warm_up_log|pgbench_log)\.\d+(\.\d+)?|pgbench\.(out|err)|plan\.json"
    assert all(re.fullmatch(expected, name) for name in files), files
    assert set(files.values()) == {os.getuid()}
    assert "begins" not in (logs / "pgbench.err").read_text()
    assert pgbench.evaluate(logs) == bench


def test_a_password_is_in_no_process_list(contained: Contained, tmp_path: Path) -> None:
    """Neither the client of the engine nor pgbench in its container shows it."""
    _prepared(contained)
    seen: list[str] = []

    def look(line: str) -> None:
        seen.extend(" ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"]))

    done = pgbench_process.run(
        contained.program,
        [*FOREVER, "--time=2"],
        make_conninfo(contained.conninfo, password="hunter2"),
        directory=tmp_path / "out",
        within=20,
        on_line=look,
    )
    assert done.status == 0, done.reason()
    assert any("pgdrill-load-" in line for line in seen)
    assert any(f"pgbench {LASTS}" in line for line in seen)
    assert not any("hunter2" in line for line in seen)


def _endless(contained: Contained, directory: Path) -> pgbench_process.Finished:
    return pgbench_process.run(
        contained.program, FOREVER, contained.conninfo, directory=directory, within=2
    )


def test_a_container_is_ended_at_its_deadline(contained: Contained, tmp_path: Path) -> None:
    """The engine removes it; otherwise it would run on without its client."""
    _prepared(contained)
    assert _endless(contained, tmp_path / "out").status == -signal.SIGKILL
    assert not _containers(contained.state)
    assert not _running(contained)


def test_a_container_is_ended_by_ctrl_c(contained: Contained, tmp_path: Path) -> None:
    """At once, when its progress callback is interrupted."""
    _prepared(contained)

    def interrupt(line: str) -> None:
        assert _running(contained), "nothing runs: this proves nothing"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pgbench_process.run(
            contained.program,
            FOREVER,
            contained.conninfo,
            directory=tmp_path / "out",
            within=20,
            on_line=interrupt,
        )
    assert not _containers(contained.state)
    assert not _running(contained)


def test_what_a_killed_run_left_is_removed(contained: Contained, tmp_path: Path) -> None:
    """The next load of the same installation removes it, and no other's."""
    _prepared(contained)
    launch = contained.program.launch(
        FOREVER, contained.conninfo, reads=pgbench_process.SCRIPTS, logs=None
    )
    client = subprocess.Popen(
        launch.command, env=launch.environment, stderr=subprocess.DEVNULL, process_group=0
    )
    try:
        eventually("its start", lambda: _running(contained), within=20, every=0.1)
        remove_left(tmp_path / "other")
        assert _containers(contained.state)
    finally:
        os.killpg(client.pid, signal.SIGKILL)
        client.wait(10)
    assert _running(contained), "it ended with its client: this proves nothing"
    remove_left(contained.state)
    assert not _containers(contained.state)
    eventually("its end", lambda: not _running(contained), within=5, every=0.1)


def _prepared(contained: Contained) -> None:
    direct = make_conninfo(
        contained.conninfo, port=next(iter(contained.program.routes.values())).port
    )
    pgbench.prepare(contained.program, direct, 1, lambda line: None, within=60)


def _running(contained: Contained) -> list[int]:
    """Return pids of the endless pgbench itself, its client excluded."""
    seen = psutil.process_iter(["pid", "name", "cmdline"])
    return [
        p.info["pid"]
        for p in seen
        if p.info["name"] == "pgbench" and LASTS in (p.info["cmdline"] or [])
    ]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'pgbench (PostgreSQL) 14.1'", "is 14.1"),
        ("echo 'docker: Error: mounts denied.' >&2; exit 125", "docker: Error: mounts denied"),
        ("sleep 61.7", "within 0.5 s"),
    ],
)
def test_a_container_that_will_not_do_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    """The refusal names both: this machine's pgbench, and the image's."""
    monkeypatch.setattr(load_container, "VERSION_WITHIN", 0.5)
    only_run = f"#!/bin/sh\ncase $1 in run) {script} ;; rm) exit 1 ;; esac\n"
    _put_docker(tmp_path, monkeypatch, only_run)
    with pytest.raises(BrokenEnvironmentError) as refused:
        provide("some/image:1", "kind", tmp_path, {}, "/opt/pgbench is 13.4", print)
    line = str(refused.value)
    assert "needs pgbench 15 or newer, and /opt/pgbench is 13.4; the one in a container of" in line
    assert "some/image:1 " in line
    assert said in line
    assert line.isprintable()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ('["name=seccomp,profile=default"]', (f"--user={os.getuid()}:{os.getgid()}",)),
        ('["name=seccomp","name=rootless"]', ("--user=0:0",)),
        ('["name=userns"]', ("--userns=host", f"--user={os.getuid()}:{os.getgid()}")),
        ("", (f"--user={os.getuid()}:{os.getgid()}",)),
    ],
    ids=["usual", "rootless", "remapped", "silent"],
)
def test_files_are_the_user_s_whatever_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, expected: tuple[str, ...]
) -> None:
    """Where the engine maps users, the options are those that undo it."""
    _put_docker(
        tmp_path,
        monkeypatch,
        "#!/bin/sh\n"
        f"case $1 in info) echo '{options}' ;; run) echo 'pgbench (PostgreSQL) 15.1' ;; esac\n",
    )
    assert provide("some/image:1", "kind", tmp_path, {}, "", print).user == expected


@pytest.fixture
def kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KindPlatform:
    """The platform with an installation on a machine that reaches it by node ports, without API."""
    monkeypatch.setenv("PGDRILL_STATE_DIR", str(tmp_path / "state"))
    installation = plan(tmp_path / "state", "node:1", built=True, cores=2)
    installation.save()
    names = (*SERVICES, *MONITORS)
    at = {name: ("127.0.0.1", installation.node_ports[name]) for name in names}
    installation.endpoints.write_text(json.dumps(at))
    inside = {name: (f"172.18.0.{20 + i}", 5432) for i, name in enumerate(names)}
    installation.inside.write_text(json.dumps(inside))
    platform = KindPlatform()
    platform.__dict__["engine"] = SimpleNamespace(image=lambda: "some/image:1")
    (tmp_path / "containers").mkdir()
    _put_docker(tmp_path, monkeypatch, STAND_IN.format(place=tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return platform


def test_kind_takes_this_machine_s(kind: KindPlatform) -> None:
    """Where this machine has a suitable pgbench, there is no container."""
    found = kind.pgbench()
    assert isinstance(found, pgbench_program.HostProgram)


def test_kind_offers_a_container(
    kind: KindPlatform,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without a route: reported before it starts, with the address from inside."""
    monkeypatch.setattr(pgbench_program, "DEBIAN_KEEPS", tmp_path / "nowhere")
    found = kind.pgbench()
    assert isinstance(found, ContainerProgram)
    first = capsys.readouterr().out.splitlines()[0]
    assert first == (
        "this machine has none on PATH: pgbench will run in a container of some/image:1"
    )
    launch = found.launch(["--time=1"], kind.cluster().conninfo(), reads=tmp_path, logs=tmp_path)
    words = launch.command
    assert "host=172.18.0.20" in words[-1]
    assert "port=5432" in words[-1]
    assert f'"source={kind.installation.passfile}"' in " ".join(words)
    assert kind.installation.password not in " ".join(words)
    assert "PGPASSWORD" not in " ".join(words)
    assert found.network == "kind"
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked.index("image inspect") < asked.index("run --rm"), "started an image not there"


def test_an_image_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed pull is one line, with the log that has the reason."""
    monkeypatch.setenv("PGDRILL_CACHE_DIR", str(tmp_path / "cache"))
    _put_docker(tmp_path, monkeypatch, "#!/bin/sh\necho 'no route' >&2\nexit 1\n")
    monkeypatch.setattr(pulls, "TRY_AGAIN_EVERY", 0.01)
    said: list[str] = []
    with pytest.raises(BrokenEnvironmentError, match=r"some/image:1 failed: no route \(log: .*log"):
        images.present("some/image:1", Supply(), said.append)
    assert len([line for line in said if "going on" in line]) == pulls.TRIES - 1
    assert "no route" in (tmp_path / "cache/logs/pull.log").read_text()


def test_the_hint_for_psql(
    kind: KindPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without psql here it is the one in the primary's pod; either way one line."""
    (tmp_path / "bin/kubectl").write_text("#!/bin/sh\necho 'Client Version: v1.29.15'\n")
    (tmp_path / "bin/kubectl").chmod(0o755)
    without = kind.psql()
    assert without.startswith(f"KUBECONFIG={kind.installation.kubeconfig} ")
    assert without.endswith("--namespace=pgdrill --container=postgres -- psql shop")
    (tmp_path / "bin/psql").write_text("#!/bin/sh\n")
    (tmp_path / "bin/psql").chmod(0o755)
    assert kind.psql().startswith(f"PGPASSFILE={kind.installation.passfile} psql 'host=")
    assert shutil.which("psql") == str(tmp_path / "bin/psql")
    assert "\n" not in without + kind.psql()
