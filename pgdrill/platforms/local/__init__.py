"""The embedded platform: Patroni, etcd, HAProxy and the monitoring as processes of this machine."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path

import psutil
import requests

from pgdrill.engines.patroni import PatroniEngine
from pgdrill.errors import BadUsageError, BrokenEnvironmentError
from pgdrill.faults.base import Fault
from pgdrill.platforms.base import Capability, Cluster, Volume, health, psql_line
from pgdrill.platforms.local import layout as layouts
from pgdrill.platforms.local import logs
from pgdrill.platforms.local.archive import LocalArchive
from pgdrill.platforms.local.config_reload import ConfigReload
from pgdrill.platforms.local.faults import local_faults
from pgdrill.platforms.local.layout import MEMBERS, Layout
from pgdrill.platforms.local.processes import PLAYBOOK, MemberProcesses, resume_all, sweep
from pgdrill.platforms.local.supervisor import Supervisor
from pgdrill.platforms.local.volume import DirectoryVolume
from pgdrill.platforms.local.writeback_limit import release
from pgdrill.platforms.lock import exclusive
from pgdrill.progress import Reporter, Update
from pgdrill.provision import apt, playbook
from pgdrill.settings import Settings, cache_dir
from pgdrill.waiting import DeadlineError, eventually
from pgdrill.workload import pgbench_program

UP_WITHIN = 180.0  # seconds for three members to stream; 13 s were seen on two idle cores
INSTALL_WITHIN = 1200.0  # seconds for the playbook, Debian packages included
ENDED_WITHIN = 20.0  # seconds for processes that were killed to be gone


class LocalPlatform:
    """Processes kept by supervisor, declared by the Ansible playbook."""

    name = "local"
    tuning_name = "tuned"  # infra/local/templates/patroni.yml.j2 holds them, with reasons

    def __init__(self, reporter: Reporter | None = None) -> None:
        self._reporter = reporter or Reporter()
        self._state = layouts.state_dir()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold this installation for one run.

        Raises:
            BrokenEnvironmentError: another run holds it.
        """
        path = self._state.with_name(self._state.name + ".lock")
        # os.path: a parent that may not be looked into is there, and no error yet.
        made = [d for d in path.parents if not os.path.lexists(d)]
        try:
            with exclusive(path, "the local platform"):
                yield
        finally:
            if not os.path.lexists(self._state):
                _remove_empty(made or [d for d in path.parents if d.name == "pgdrill"])

    def is_up(self) -> bool:
        """Whether `up` finished and its supervisor still answers."""
        layout = Layout.load(self._state)
        return bool(layout and layout.ready.exists() and self.supervisor.answers())

    def up(self, settings: Settings) -> None:
        """Bring everything up, or find it up.

        Raises:
            BrokenEnvironmentError: the machine cannot hold it, or it does not become healthy.
        """
        self._refuse_foreign_files()
        layout = Layout.load(self._state)
        if layout is None:
            layout = layouts.plan(settings.port_offset)
            layout.save()
        elif layout.outdated:
            raise BrokenEnvironmentError(
                "this installation was made by an earlier version: `make down up` makes a new one"
            )
        elif self.supervisor.answers():
            self._resume_interrupted()
        else:
            # A machine that was restarted, or an `up` that was interrupted.
            sweep(self._state)
            (self._state / "run" / "supervisor.sock").unlink(missing_ok=True)
        self._forget_views()
        ran = self.supervisor.answers()
        self._play(layout)
        applying = ConfigReload(layout, self.supervisor, self.engine)
        if not ran:
            applying.remember()
        with self._reporter.task("three members, streaming") as update:

            def look() -> object:
                seen = health(self.engine)
                update(0, repr(seen))
                return seen

            try:
                eventually("a fully redundant cluster", look, within=UP_WITHIN)
            except DeadlineError as error:
                self._reporter.line(str(error))
                raise BrokenEnvironmentError(
                    f"the cluster is not redundant after {UP_WITHIN:g} s: {self._complaint()}"
                    f" (all logs are in {self._state}/log; `make down` removes everything)"
                ) from None
        with self._reporter.task("changed settings") as update:
            for program in applying.apply(update):
                self._reporter.line(f"changed: {program} runs with its new settings")
        self.archive.demand_backup(self._reporter)
        layout.ready.touch()

    def _complaint(self) -> str:
        """Return the last complaint of a program that does not run, or else of a member."""
        states = self.supervisor.states()
        down = [name for name, status in states.items() if status != "RUNNING"]
        for program in (*down, *(f"patroni-{member}" for member in MEMBERS)):
            said = logs.last_complaint(self._state / "log" / f"{program}.log")
            if said:
                return f"{program}: {self._redact(said)}"
        return f"no supervisor answers in {self._state}" if not states else "no log has the reason"

    def _resume_interrupted(self) -> None:
        """Undo what a run left that was killed before it could heal its fault."""
        sweep(self._state, only_playbook=True)
        resume_all(self._state)
        self.layout.network(next(iter(MEMBERS))).join()
        LocalArchive(self).clear()
        for program, status in self.supervisor.states().items():
            if status not in ("RUNNING", "STARTING"):
                self.supervisor.start(program)

    def _play(self, layout: Layout) -> None:
        """Declare the platform, one progress note for each task."""
        if layouts.missing_packages():
            apt.wait_until_free(self._reporter.line)
        variables = self._state / "vars.json"
        variables.touch(mode=0o600)
        variables.write_text(json.dumps(layout.variables()))
        with self._reporter.task("ansible-playbook") as update:
            self.play("site.yml", {}, update)

    def play(self, book: str, more: Mapping[str, str], update: Update) -> None:
        """Run a playbook with the installation's variables and more.

        Raises:
            BrokenEnvironmentError: a task failed, with its message.
        """
        environment = playbook.play_environment(self._reporter.line, collection=False) | {
            "UV_CACHE_DIR": str(cache_dir() / "uv"),
            "ANSIBLE_REMOTE_TMP": str(self._state / "ansible"),  # a user may have no home
            PLAYBOOK: str(self._state),
        }
        playbook.play(
            book,
            self._state / "vars.json",
            self._state / "ansible.log",
            lambda _: None,  # update names each task
            f"--extra-vars={json.dumps(more)}",
            environment=environment,
            within=INSTALL_WITHIN,
            update=update,
            end=partial(sweep, self._state, only_playbook=True),
            remedy="; `make down` removes what was made",
        )

    def with_timing(self, timing: str) -> AbstractContextManager[None]:
        """Refuse: local has one set of failover settings.

        Raises:
            BadUsageError: always.
        """
        raise BadUsageError(f"local has one set of failover settings, not '{timing}'")

    def down(self) -> None:
        """Remove every process, mount and file that `up` made; Debian's packages stay.

        Raises:
            BrokenEnvironmentError: something outside uses a volume.
        """
        self._refuse_foreign_files()
        self.supervisor.shutdown()
        sweep(self._state)
        self._remove_cgroups()
        for partition in psutil.disk_partitions(all=True):
            if Path(partition.mountpoint).is_relative_to(self._state):
                self.unmount(Path(partition.mountpoint))
        if self._state.exists():
            # state.json marks the directory as ours: it goes last, so that a `down` that is
            # interrupted can be repeated.
            for path in self._state.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif path.name != "state.json":
                    path.unlink()
            shutil.rmtree(self._state)
        release()
        self._forget_views()

    def _remove_cgroups(self) -> None:
        layout = Layout.load(self._state)
        if layout is None or not layout.cgroup("etcd"):
            return
        layout.network(next(iter(MEMBERS))).join()
        groups = [Path(layout.cgroup(name)) for name in (*MEMBERS, "etcd")]

        def left() -> list[Path]:
            for group in filter(Path.exists, groups):
                with suppress(OSError):  # busy while a process that was killed has not ended
                    group.rmdir()
            return [group for group in groups if group.exists()]

        try:
            eventually("their end", left, lambda seen: not seen, within=ENDED_WITHIN)
        except DeadlineError:
            raise BrokenEnvironmentError(
                f"processes in {', '.join(map(str, left()))} do not end: see `ps`, then try again"
            ) from None

    def unmount(self, volume: Path) -> None:
        """Unmount a volume; one that is not mounted is fine.

        Raises:
            BrokenEnvironmentError: a process uses it.
        """
        if not os.path.ismount(volume):
            return
        done = subprocess.run(["umount", str(volume)], capture_output=True, text=True, timeout=30)
        if done.returncode:
            raise BrokenEnvironmentError(
                f"cannot unmount {volume}: {done.stderr.strip()};"
                " leave that directory and run the command again"
            )

    def _refuse_foreign_files(self) -> None:
        """Refuse a directory that pgdrill did not make: it is neither filled nor removed.

        Raises:
            BrokenEnvironmentError: it holds files and no installation.
        """
        if not self._state.exists() or Layout.load(self._state):
            return
        if not self._state.is_dir() or any(
            path.name != "state.json.part" for path in self._state.iterdir()
        ):
            raise BrokenEnvironmentError(
                f"{self._state} holds files that are not pgdrill's:"
                " set PGDRILL_STATE_DIR to an empty or new directory"
            )

    # -- views of what is running ------------------------------------------------------------

    def _forget_views(self) -> None:
        for view in ("layout", "engine", "faults", "_cuts_members_off"):
            self.__dict__.pop(view, None)

    @cached_property
    def layout(self) -> Layout:
        """The installation.

        Raises:
            BrokenEnvironmentError: there is none.
        """
        layout = Layout.load(self._state)
        if layout is None:
            raise BrokenEnvironmentError("nothing is running here: `make up` first")
        return layout

    @property
    def supervisor(self) -> Supervisor:
        """The keeper of all processes."""
        return Supervisor(self._state / "run" / "supervisor.sock")

    @cached_property
    def engine(self) -> PatroniEngine:
        """Patroni on its three addresses."""
        return PatroniEngine(
            rest={m: f"http://{self.layout.member_endpoint(m, 'rest')}" for m in MEMBERS},
            etcd=f"http://{self.layout.endpoint('etcd')}",
            incarnation=lambda member: self.processes(member).incarnation(),
        )

    @cached_property
    def _cuts_members_off(self) -> bool:
        return (
            bool(self.layout.cgroup("etcd")) and self.layout.network(next(iter(MEMBERS))).possible()
        )

    @property
    def capabilities(self) -> frozenset[Capability]:
        """The capabilities of this installation."""
        words: set[Capability] = {
            "load-balancer",
            "read-only-address",
            "member-addresses",
            "processes",
            "pushgateway",
        }
        if self.layout.repository.exists():
            words |= {"backup", "rebuild"}
        if self.layout.mounts:
            words |= {"real-disk-limit", "suspended-volumes"}
        if self._cuts_members_off:
            words.add("partition")
        return frozenset(words)

    @cached_property
    def faults(self) -> Mapping[str, Fault]:
        """Every fault that can be injected here."""
        return local_faults(self)

    @property
    def prometheus_url(self) -> str:
        """Address of Prometheus."""
        return f"http://{self.layout.endpoint('prometheus')}"

    @property
    def alertmanager_url(self) -> str:
        """Address of Alertmanager."""
        return f"http://{self.layout.endpoint('alertmanager')}"

    @property
    def pushgateway_url(self) -> str:
        """Address of the Pushgateway."""
        return f"http://{self.layout.endpoint('pushgateway')}"

    @property
    def webhook(self) -> tuple[str, int]:
        """Address that Alertmanager sends its pages to."""
        at = self.layout.endpoint("webhook")
        return at.host, at.port

    def cluster(self) -> Cluster:
        """Return the handle of the running database.

        Raises:
            BrokenEnvironmentError: nothing is running.
        """
        return Cluster(
            name="pgdrill",
            read_write=self.layout.endpoint("rw"),
            read_only=self.layout.endpoint("ro"),
            members={m: self.layout.member_endpoint(m) for m in MEMBERS},
            database="shop",
            user="pgdrill",
            passfile=self._state / "etc" / "passfile",
        )

    def pgbench(self) -> pgbench_program.Program:
        """Return this machine's pgbench: there is no other here.

        Raises:
            BrokenEnvironmentError: none will do, with what was found instead.
        """
        return pgbench_program.on_host()

    def psql(self) -> str:
        """Return a command line that opens a session through the read-write address."""
        return psql_line(self.cluster())

    def processes(self, member: str) -> MemberProcesses:
        """Return the processes of a member."""
        return MemberProcesses(member, self.layout.data(member))

    @contextmanager
    def observers(self) -> Iterator[Mapping[str, Callable[[], str]]]:
        """Probes of the parts of a failover."""
        with self.engine.observers() as seen:
            yield {**seen, "routed": self._routed}

    def _routed(self) -> str:
        """The member that HAProxy sends writes to."""
        try:
            url = f"http://{self.layout.endpoint('haproxy_stats')}/;csv"
            text = requests.get(url, timeout=1).text.lstrip("# ")
        except requests.RequestException:
            return ""
        return ",".join(
            row["svname"]
            for row in csv.DictReader(io.StringIO(text))
            if row["pxname"] == "read-write" and row["svname"] in MEMBERS and row["status"] == "UP"
        )

    @property
    def archive(self) -> LocalArchive:
        """Backups and WAL, and what is restored from them."""
        return LocalArchive(self)

    def lose_members(self) -> None:
        """Remove every member and its volume at once; the archive stays."""
        for member in MEMBERS:
            self.supervisor.stop(f"patroni-{member}")
        for member in MEMBERS:
            self._empty(member)

    def rebuild(self, member: str) -> Callable[[], str]:
        """Remove a standby's data and let it come back; return what the new copy was made from."""
        log = self._state / "log" / f"patroni-{member}.log"
        self.supervisor.stop(f"patroni-{member}")
        self._empty(member)
        read = log.stat().st_size
        self.supervisor.start(f"patroni-{member}")

        def made_from() -> str:
            with log.open("rb") as file:
                file.seek(read)
                said = file.read().decode(errors="replace")
            found = re.findall(r"replica has been created using (\w+)", said)
            return found[-1] if found else ""

        return made_from

    def _empty(self, member: str) -> None:
        """Kill what works in a member's data directory, and remove that."""
        self.processes(member).kill()
        shutil.rmtree(self.layout.data(member))

    def volume(self, member: str) -> Volume:
        """Return the file system that holds a member's data."""
        sharers = 1 if self.layout.mounts else len(layouts.MEMBERS)
        return DirectoryVolume(self.layout.volume(member), sharers)

    def versions(self) -> dict[str, str]:
        """Versions of every running part, as each binary prints them."""
        commands = {
            "postgresql": [f"{layouts.POSTGRES_BIN}/postgres", "--version"],
            "patroni": [f"{self._state}/venv/bin/patroni", "--version"],
            "etcd": ["/usr/bin/etcd", "--version"],
            "haproxy": ["/usr/sbin/haproxy", "-v"],
            "prometheus": ["/usr/bin/prometheus", "--version"],
            "alertmanager": ["/usr/bin/prometheus-alertmanager", "--version"],
            "pushgateway": ["/usr/bin/prometheus-pushgateway", "--version"],
        }
        return {name: _version(command) for name, command in commands.items()}

    def tuning(self) -> dict[str, str]:
        """The settings outside the engine that are not defaults, for the report."""
        return {
            "etcd": self._command("etcd", "--unsafe-no-fsync"),
            "haproxy": self._balancer(),
            "volumes": f"{layouts.VOLUME_MB} MB ext4 each" if self.layout.mounts else "directories",
            "restart": "supervisor restarts a killed member at once",
        }

    def _command(self, program: str, option: str) -> str:
        """Return an option of a program's command line."""
        text = (self._state / "etc" / "supervisord.conf").read_text()
        found = re.search(rf"^command = \S*{program} .*?({re.escape(option)}\S*)", text, re.M)
        return found[1] if found else f"without {option}"

    def _balancer(self) -> str:
        """Return how HAProxy checks members, from its configuration."""
        text = (self._state / "etc" / "haproxy.cfg").read_text()
        found = re.search(r"^\s*default-server (.*)$", text, re.M)
        return found[1] if found else "its defaults"

    def diagnostics(self, into: Path, since: float) -> None:
        """Copy the tail of every log, and the members' own view; configuration is left out."""
        into.mkdir(parents=True, exist_ok=True)
        for log in sorted((self._state / "log").glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-400:]
            (into / log.name).write_text("\n".join(self._redact(line) for line in lines) + "\n")
        view = [repr(m) for m in self.engine.members()]
        view += [f"{name} {status}" for name, status in self.supervisor.states().items()]
        (into / "members.txt").write_text("\n".join(view) + "\n")

    def _redact(self, line: str) -> str:
        for secret in self.layout.secrets.values():
            line = line.replace(secret, "[secret]")
        return line


def _remove_empty(directories: list[Path]) -> None:
    """Remove directories, innermost first, as far as nothing is in them."""
    for directory in directories:
        if not directory.is_dir() or any(directory.iterdir()):
            return
        directory.rmdir()


def _version(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except OSError:
        return "not found"
    found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return found.group() if found else "unknown"
