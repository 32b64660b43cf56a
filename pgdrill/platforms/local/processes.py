"""The processes of a member: found by what they are, because backends leave the process group."""

import signal
from dataclasses import dataclass
from pathlib import Path

import psutil

from pgdrill.waiting import eventually

# Ansible's workers leave the process group: what a killed `up` leaves behind is found by this.
PLAYBOOK = "PGDRILL_PLAYBOOK_OF"

GONE = (psutil.NoSuchProcess, psutil.ZombieProcess)


@dataclass(frozen=True)
class MemberProcesses:
    """Every process of one member: Patroni by its environment, PostgreSQL by its directory."""

    name: str
    data: Path

    def patroni(self) -> psutil.Process | None:
        """Return the running Patroni."""
        for process in psutil.process_iter():
            try:
                if process.name() == "patroni" and (
                    process.environ().get("PATRONI_POSTGRESQL_DATA_DIR") == str(self.data)
                ):
                    return process
            except (*GONE, psutil.AccessDenied, OSError):
                continue
        return None

    def postmaster(self) -> psutil.Process | None:
        """Return the running postmaster: the one process that shows its command line."""
        for process in self.postgres():
            try:
                if "-D" in process.cmdline():
                    return process
            except GONE:
                continue
        return None

    def postgres(self) -> list[psutil.Process]:
        """Return everything that works in the data directory, orphaned backends included."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.name() == "postgres" and Path(process.cwd()) == self.data:
                    found.append(process)
            except (*GONE, psutil.AccessDenied, OSError):
                continue
        return found

    def wal_senders(self) -> list[psutil.Process]:
        """Return the processes that send WAL to standbys, found by their titles."""
        found = []
        for process in self.postgres():
            try:
                if " walsender " in " ".join(process.cmdline()):
                    found.append(process)
            except GONE:
                continue
        return found

    def all(self) -> list[psutil.Process]:
        """Return Patroni first, so that it cannot react to the loss of the rest."""
        patroni = self.patroni()
        return ([patroni] if patroni else []) + self.postgres()

    def incarnation(self) -> str:
        """Pid and start time of the postmaster; empty when there is none."""
        return identity(self.postmaster())

    def kill(self) -> list[str]:
        """SIGKILL every process, again and again until none of this incarnation is left."""
        doomed = {identity(p): p for p in self.all()}
        everything = dict(doomed)

        def none_left() -> bool:
            for process in doomed.values():
                send(process, signal.SIGKILL)
            # A backend may have been forked after the list was made; the restarted Patroni is no
            # target, and it cannot have started PostgreSQL while an old backend runs.
            fresh = {identity(p): p for p in self.postgres()}
            doomed.update(fresh)
            everything.update(fresh)
            for key in [k for k, p in doomed.items() if not alive(p)]:
                del doomed[key]
            return not doomed

        eventually(f"no process of {self.name} is left", none_left, within=10, every=0.02)
        return sorted(everything)

    def freeze(self) -> list[str]:
        """SIGSTOP every process, until all that exist are stopped; return their identities."""

        def all_stopped() -> bool:
            for process in self.all():
                send(process, signal.SIGSTOP)
            # Looked up again: the postmaster may have forked once more before it was stopped.
            processes = self.all()
            return bool(processes) and all(state(p) == "stopped" for p in processes)

        eventually(f"every process of {self.name} is stopped", all_stopped, within=5, every=0.02)
        return [identity(p) for p in self.all()]

    def thaw(self) -> None:
        """SIGCONT every process; Patroni last, so that it finds PostgreSQL running."""
        for process in reversed(self.all()):
            send(process, signal.SIGCONT)


def identity(process: psutil.Process | None) -> str:
    """Pid and start time: a reused pid is another process."""
    if process is None:
        return ""
    try:
        return f"{process.pid}@{process.create_time():.2f}"
    except GONE:
        return ""


def state(process: psutil.Process) -> str:
    """Return the process state in words; 'gone' when it ended."""
    try:
        return str(process.status())
    except GONE:
        return "gone"


def alive(process: psutil.Process) -> bool:
    """Whether this very process (not a later one of the same pid) still runs."""
    return process.is_running() and state(process) not in ("zombie", "gone", "dead")


def send(process: psutil.Process, number: signal.Signals) -> None:
    """Send a signal; a process that is gone already is no error."""
    try:
        process.send_signal(number)
    except GONE:
        return


def sweep(directory: Path, *, only_playbook: bool = False) -> None:
    """SIGKILL what an installation under directory started, until a look finds none.

    only_playbook leaves supervisor's processes running.
    """

    def none_left() -> bool:
        found = [
            p
            for p in psutil.process_iter()
            if _plays(p, directory) or (not only_playbook and _belongs(p, directory))
        ]
        for process in found:
            send(process, signal.SIGKILL)
        return not found

    eventually(f"no process of {directory} is left", none_left, within=20, every=0.1)


def resume_all(directory: Path) -> None:
    """SIGCONT whatever is stopped of an installation under directory."""
    for process in psutil.process_iter():
        if state(process) == "stopped" and _belongs(process, directory):
            send(process, signal.SIGCONT)


def _plays(process: psutil.Process, directory: Path) -> bool:
    """Whether our playbook started it; supervisor and its programs inherit the mark, but stay."""
    try:
        if state(process) in ("zombie", "gone") or process.name() == "postgres":
            return False
        environment = process.environ()
        return environment.get(PLAYBOOK) == str(directory) and not _belongs(process, directory)
    except (*GONE, psutil.AccessDenied, OSError):
        return False


def _belongs(process: psutil.Process, directory: Path) -> bool:
    """Whether our supervisor started it; a user's shell or pager in the directory is not ours."""
    try:
        if state(process) == "zombie":
            return False
        if str(directory / "etc" / "supervisord.conf") in process.cmdline():
            return True
        if process.name() == "postgres":  # it overwrites its environment with its title
            return Path(process.cwd()).is_relative_to(directory)
        url = process.environ().get("SUPERVISOR_SERVER_URL", "")
        return url == f"unix://{directory}/run/supervisor.sock"
    except (*GONE, psutil.AccessDenied, OSError):
        return False


def end_commands(data: Path) -> None:
    """SIGKILL what pgBackRest does for a member, until none is found: it outlives Patroni."""

    def none_left() -> bool:
        found = [p for p in psutil.process_iter() if _is_about(p, data)]
        for process in found:
            send(process, signal.SIGKILL)
        return not found

    eventually(f"no pgBackRest works on {data}", none_left, within=10, every=0.1)


def _is_about(process: psutil.Process, data: Path) -> bool:
    try:
        return process.name() == "pgbackrest" and (
            process.environ().get("PGBACKREST_PG1_PATH") == str(data)
        )
    except (*GONE, psutil.AccessDenied, OSError):
        return False
