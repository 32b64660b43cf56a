"""The container engine: used when one answers, started on a Debian machine where none is.

A machine that cannot run it as it is (a reduced virtual machine, a container) gets three
adjustments. Each is detected; on an ordinary machine none of them does anything.
"""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import psutil

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.provision.commands import Say, logged, output, succeeds
from pgdrill.settings import ROOT, cache_dir
from pgdrill.waiting import eventually

CAP_SYS_RESOURCE = 24  # bit number, linux/capability.h
INOTIFY = {"max_user_instances": 1024, "max_user_watches": 1_048_576}  # several kubelets, 1 kernel
PACKAGES = ("docker.io", "iptables")


def answers() -> bool:
    """Whether a container engine is there and answers."""
    return bool(shutil.which("docker")) and succeeds("docker", "info", within=15)


def ensure(say: Say) -> None:
    """Find a container engine answering, or install and start one.

    Raises:
        BrokenEnvironmentError: there is one that does not answer, or none can be started here.
    """
    if not answers():
        _refuse_if_not_ours_to_start()
        if not shutil.which("dockerd") or not shutil.which("iptables"):
            _install(say)
        _mount_cgroups(say)
        _start(say)
    _raise_inotify(say)


def stop() -> None:
    """End the engine that ensure() started, if it did; images stay in the cache."""
    process = _ours()
    if process:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except psutil.TimeoutExpired:
            process.kill()
        succeeds("ip", "link", "delete", "docker0")  # dockerd leaves its own bridge behind
    _pid_file().unlink(missing_ok=True)


def lacks_sys_resource() -> bool:
    """Whether this machine was started without CAP_SYS_RESOURCE."""
    bounding = re.search(r"^CapBnd:\s*(\w+)", Path("/proc/self/status").read_text(), re.M)
    return bounding is not None and not int(bounding.group(1), 16) >> CAP_SYS_RESOURCE & 1


def _refuse_if_not_ours_to_start() -> None:
    """Never touch an engine that somebody else set up."""
    if os.environ.get("DOCKER_HOST"):
        raise BrokenEnvironmentError(
            f"no container engine answers at DOCKER_HOST={os.environ['DOCKER_HOST']}: start it,"
            " or unset the variable"
        )
    if any(p.info["name"] == "dockerd" for p in psutil.process_iter(["name"])):
        raise BrokenEnvironmentError(
            "dockerd runs but does not answer: see `docker info`, or use --platform=local"
        )
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise BrokenEnvironmentError(
            "platform kind needs a container engine and none answers: start Docker"
            " (on Debian as root pgdrill does it by itself), or use --platform=local"
        )


def _install(say: Say) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    logs = cache_dir() / "logs"
    update = ["apt-get", "-qq", "update"]
    logged("package lists", update, logs / "apt-update.log", say, within=300)
    install = ["apt-get", "-qq", "install", "--yes", "--no-install-recommends", *PACKAGES]
    logged(
        "installing " + ", ".join(PACKAGES),
        install,
        logs / "apt-install.log",
        say,
        within=900,
        environment=environment,
    )


def _start(say: Say) -> None:
    """Start dockerd as an ordinary process: there may be no systemd here."""
    home = cache_dir() / "engine"
    home.mkdir(parents=True, exist_ok=True)
    command = ["dockerd", f"--data-root={home / 'data'}", f"--pidfile={home / 'docker.pid'}"]
    if lacks_sys_resource():
        say("this machine lacks CAP_SYS_RESOURCE: containers will run without it")
        shim = ROOT / "infra/kind/runc-shim.py"
        command += ["--add-runtime", f"reduced={shim}", "--default-runtime", "reduced"]
    log = home / "dockerd.log"
    with log.open("a") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    _pid_file().write_text(str(process.pid))

    def ready() -> bool:
        if process.poll() is not None:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise BrokenEnvironmentError(f"dockerd ended at once: {last} (log: {log})")
        return answers()

    eventually("the container engine", ready, within=60)
    say(f"started dockerd (pid {process.pid}, log {log})")


def _mount_cgroups(say: Say) -> None:
    """Mount the version 1 controllers that nobody mounted.

    Otherwise systemd inside a node mounts them at their root, outside Docker's scope, and kubelet
    refuses to start.
    """
    mounts = Path("/proc/mounts").read_text()
    if not re.search(r"^\S+ /sys/fs/cgroup tmpfs ", mounts, re.M):
        return
    rows = [line.split() for line in Path("/proc/cgroups").read_text().splitlines()[1:]]
    free = [name for name, hierarchy, _, enabled in rows if hierarchy == "0" and enabled == "1"]
    together = [name for name in ("net_cls", "net_prio") if name in free]
    alone = [name for name in free if name not in together]
    for name in filter(None, [*alone, ",".join(together)]):
        at = Path("/sys/fs/cgroup") / name
        at.mkdir(exist_ok=True)
        output("mount", "-t", "cgroup", "-o", name, "cgroup", at)
        say(f"mounted the unused cgroup controller {name}")


def _raise_inotify(say: Say) -> None:
    for name, wanted in INOTIFY.items():
        file = Path("/proc/sys/fs/inotify") / name
        if int(file.read_text()) < wanted and os.access(file, os.W_OK) and os.geteuid() == 0:
            file.write_text(str(wanted))
            say(f"raised fs.inotify.{name} to {wanted}")


def _pid_file() -> Path:
    return cache_dir() / "engine" / "pgdrill.pid"


def _ours() -> psutil.Process | None:
    """Return the engine that we started, never a later process of the same number."""
    try:
        process = psutil.Process(int(_pid_file().read_text()))
        return process if process.name() == "dockerd" else None
    except (OSError, ValueError, psutil.NoSuchProcess):
        return None
