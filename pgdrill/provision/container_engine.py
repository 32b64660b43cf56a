"""The container engine: used when one answers, started on a Debian machine where none is.

A machine that cannot run it as it is (a reduced virtual machine, a container) gets three
adjustments. Each is detected; on an ordinary machine none of them has an effect.
"""

import atexit
import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.provision import debian, host
from pgdrill.provision.commands import Say, output, unmarked
from pgdrill.settings import ROOT, cache_dir
from pgdrill.waiting import DeadlineError, eventually

CAP_SYS_RESOURCE = 24  # bit number, linux/capability.h
PACKAGES = {"docker": "docker.io", "dockerd": "docker.io", "iptables": "iptables"}
LOOK_WITHIN = 10.0  # seconds; a busy machine's engine took 3
SOCKET = "unix:///var/run/docker.sock"  # where an engine that we start listens
ANSWERS_WITHIN = 60.0  # seconds after its start; 2 were seen
ENDS_WITHIN = 30.0  # seconds after SIGTERM; with no container left it takes one


@dataclass(frozen=True)
class ContainerEngine:
    """An engine that answers, by its own description; memory in bytes, kind a text for people.

    With Docker Desktop, memory, cores and data are those of its virtual machine.
    """

    memory: int
    cores: int
    system: str
    data: Path
    kind: str = "Docker"


def look() -> ContainerEngine | str:
    """Return the engine's description, or why there is none, in one line."""
    if not shutil.which("docker"):
        return "there is no docker client"
    try:
        told = json.loads(output("docker", "info", "--format={{json .}}", within=LOOK_WITHIN))
    except BrokenEnvironmentError as error:
        return str(error).split(" failed: ")[-1].strip()
    if "host" in told and "store" in told:  # podman under the name of docker
        host, store = told["host"], told["store"]
        cores, data = host.get("cpus") or 1, Path(store["graphRoot"])
        return ContainerEngine(host["memTotal"], cores, host["os"], data, "podman")
    if not told.get("ServerVersion"):  # some clients end well without one
        return " ".join(told.get("ServerErrors") or ["the docker client sees no engine"])
    rootless = any("rootless" in option for option in told.get("SecurityOptions") or ())
    kind = "rootless Docker" if rootless else "Docker"
    data = Path(told["DockerRootDir"])
    return ContainerEngine(told["MemTotal"], told.get("NCPU") or 1, told["OSType"], data, kind)


def answers() -> bool:
    """Whether a container engine is there and answers."""
    return isinstance(look(), ContainerEngine)


def cores() -> int:
    """Return the number of the engine's cores; on a Mac they are fewer than the machine's own.

    Raises:
        BrokenEnvironmentError: it does not answer.
    """
    seen = look()
    if isinstance(seen, str):
        raise BrokenEnvironmentError(f"the container engine does not answer any more: {seen}")
    return seen.cores


def ensure(say: Say) -> None:
    """Find a container engine answering, or install and start one.

    Raises:
        BrokenEnvironmentError: there is one that does not answer, or none can be started here.
    """
    seen = look()
    if isinstance(seen, str):
        require_startable(seen)
        debian.provide(PACKAGES, "platform kind", say)
        _start(say)
    host.raise_inotify(say)


def resume(say: Say) -> None:
    """Find the engine of an earlier ensure() answering, or start it again; never another.

    It was killed, or the machine was restarted.

    Raises:
        BrokenEnvironmentError: it was not ours, or it does not start.
    """
    seen = look()
    if isinstance(seen, ContainerEngine):
        return
    if not (_home() / "data").exists() or not shutil.which("dockerd"):
        raise BrokenEnvironmentError(
            f"the container engine that holds the nodes does not answer ({seen}):"
            " start it, and repeat the command"
        )
    require_startable(seen)
    _start(say)


def left_behind() -> bool:
    """Whether an engine of ours was killed, or cut off by a reboot, instead of stopped."""
    return _pid_file().exists() and _ours() is None


def stop() -> None:
    """End the engine that ensure() started, if it did; images stay in the cache."""
    process = _ours()
    if process is None:
        return
    family = [process, *process.children(recursive=True)]  # its containerd
    process.send_signal(signal.SIGTERM)
    try:
        eventually("the end of dockerd", lambda: _ours() is None, within=ENDS_WITHIN, every=0.1)
    except DeadlineError:
        for one in family:
            if one.is_running():
                one.kill()
    host.restore(_home() / "before.json")
    _pid_file().unlink(missing_ok=True)


def lacks_sys_resource() -> bool:
    """Whether this machine was started without CAP_SYS_RESOURCE.

    A virtual machine that Docker Desktop starts has it.
    """
    if sys.platform != "linux":
        return False
    bounding = re.search(r"^CapBnd:\s*(\w+)", Path("/proc/self/status").read_text(), re.M)
    return bounding is not None and not int(bounding.group(1), 16) >> CAP_SYS_RESOURCE & 1


def require_startable(complaint: str) -> None:
    """Refuse an engine that pgdrill did not set up; complaint is what look() returned.

    Raises:
        BrokenEnvironmentError: there is one that does not answer, or none can be started here.
    """
    where = _endpoint() if shutil.which("docker") else SOCKET
    if where != SOCKET:
        raise BrokenEnvironmentError(
            f"no container engine answers at {where}, where the docker client looks ({complaint}):"
            " start it, or unset DOCKER_HOST and DOCKER_CONTEXT"
        )
    if sys.platform == "linux" and _alive("dockerd"):
        raise BrokenEnvironmentError(
            f"dockerd runs but does not answer ({complaint}): mend that, or use --platform=local"
        )
    if debian.can_install():
        return
    needs = f"platform kind needs a container engine and none answers ({complaint}): start Docker"
    if sys.platform == "linux":
        needs += " (on Debian as root pgdrill does it by itself), or use --platform=local"
    raise BrokenEnvironmentError(needs)


def _endpoint() -> str:
    """The address that the docker client uses for an engine: DOCKER_HOST, or its context's."""
    asked = ("docker", "context", "inspect", "--format={{.Endpoints.docker.Host}}")
    try:
        return output(*asked, within=10).strip()
    except BrokenEnvironmentError:
        return SOCKET  # a client too old for contexts


def _leave_running(process: "subprocess.Popen[bytes]") -> None:
    """Let this process end without the warning that a child of it runs on."""
    process.returncode = 0


def _start(say: Say) -> None:
    """Start dockerd as an ordinary process: there may be no systemd here."""
    home = _home()
    home.mkdir(parents=True, exist_ok=True)
    host.remember(home / "before.json")
    host.mount_cgroups(say)
    _forget_dead("dockerd", _pid_file())
    _forget_dead("containerd", Path("/var/run/docker/containerd/containerd.pid"))
    command = ["dockerd", _data_root(), f"--pidfile={_pid_file()}"]
    if lacks_sys_resource():
        say("this machine lacks CAP_SYS_RESOURCE: containers will run without it")
        shim = ROOT / "infra/kind/runc-shim.py"
        command += ["--add-runtime", f"reduced={shim}", "--default-runtime", "reduced"]
    log = home / "dockerd.log"
    with log.open("a") as file:
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=unmarked(),
        )
    atexit.register(_leave_running, process)

    def ready() -> bool:
        if process.poll() is not None:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise BrokenEnvironmentError(f"dockerd ended at once: {last} (log: {log})")
        return answers()

    try:
        eventually("the container engine", ready, within=ANSWERS_WITHIN)
    except DeadlineError:
        raise BrokenEnvironmentError(
            f"dockerd (pid {process.pid}) does not answer after {ANSWERS_WITHIN:g} s: see {log};"
            " `make down PLATFORM=kind` ends it"
        ) from None
    say(f"started dockerd (pid {process.pid}, log {log})")


def _forget_dead(name: str, pid_file: Path) -> None:
    """Remove the pid file of a program that was killed.

    A new dockerd trusts it: where the process is a zombie, or a later one of the same number, it
    waits for an answer, and fails.
    """
    living = [str(p.pid) for p in _alive(name)]
    if pid_file.exists() and pid_file.read_text().strip() not in living:
        pid_file.unlink()


def _home() -> Path:
    return cache_dir() / "engine"


def _pid_file() -> Path:
    """Written by dockerd, removed by it when it ends in order."""
    return _home() / "docker.pid"


def _data_root() -> str:
    return f"--data-root={_home() / 'data'}"


def _ours() -> psutil.Process | None:
    """Return the engine that works on our data, if it runs."""
    return next((p for p in _alive("dockerd") if _data_root() in _words(p)), None)


def _alive(name: str) -> list[psutil.Process]:
    """Return the processes of a name, without zombies."""
    found = psutil.process_iter(["name", "status"])
    return [p for p in found if p.info["name"] == name and p.info["status"] != psutil.STATUS_ZOMBIE]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
        return []
