"""pgbench in a container of the database's own image, where this machine has none that will do.

It is in the docker network of the nodes and sees the files of a load under their own names, so a
command line means the same inside and outside. Its clock, that of the log, is the engine's: this
machine's own on Linux, that of the virtual machine elsewhere.
"""

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.base import Endpoint
from pgdrill.provision.commands import Say, output, succeeds
from pgdrill.waiting import DeadlineError, eventually
from pgdrill.workload.pgbench_program import (
    OLDEST,
    Launch,
    read_version,
    threads_here,
    without_password,
)

LABEL = "io.pgdrill.load"  # of every such container; its value is the installation's directory
VERSION_WITHIN = 60.0  # seconds for a first container to start; 1 was seen
GONE_WITHIN = 30.0  # seconds for the engine to kill and remove one
# A container takes its time to start, which must not count as load time: it prints when
# pgbench begins (pgbench_process.BEGINS). Debian's wrapper is passed over as on this machine.
_START = """\
kept=$(ls -dv /usr/lib/postgresql/*/bin/pgbench 2>/dev/null | tail -n 1)
date +'pgbench begins at %s.%6N' >&2
exec "${kept:-pgbench}" "$@"
"""


@dataclass(frozen=True)
class ContainerProgram:
    """pgbench in a new container for each start.

    routes maps the addresses that this machine uses to those inside the docker network.
    """

    image: str
    version: str
    network: str
    state: Path
    user: tuple[str, ...]
    routes: Mapping[Endpoint, Endpoint]
    because: str
    say: Say = field(compare=False)

    @property
    def place(self) -> str:
        """Image and network, and why not this machine's own."""
        return f"in a container of {self.image} on network {self.network}, because {self.because}"

    def threads(self, clients: int) -> int:
        """Return those of this machine, which the container shares."""
        return threads_here(clients)

    def launch(
        self, arguments: Sequence[str], conninfo: str, *, reads: Path, logs: Path | None
    ) -> Launch:
        """Return a `docker run` with these directories and the password file mounted."""
        given = {name: str(value) for name, value in conninfo_to_dict(conninfo).items()}
        at = Endpoint(given.get("host", ""), int(given.get("port", 5432)))
        inside = self.routes.get(at, at)
        routed = make_conninfo(conninfo, host=inside.host, port=inside.port)
        target, secret = without_password(routed)
        mounts = [_mount(reads, ",readonly"), *([_mount(logs)] if logs else [])]
        if "passfile" in given:
            mounts.append(_mount(Path(given["passfile"]), ",readonly"))
        name = _name()
        command = _run(
            name, self.image, self.network, self.state, self.user, [*mounts, *_by(secret)]
        )
        return Launch(
            (*command, *arguments, target), os.environ | secret, lambda: _remove(name, self.say)
        )


def provide(
    image: str,
    network: str,
    state: Path,
    routes: Mapping[Endpoint, Endpoint],
    because: str,
    say: Say,
) -> ContainerProgram:
    """Return the pgbench of an image that the engine has; because is what this machine lacks.

    Raises:
        BrokenEnvironmentError: it does not start, or is too old.
    """
    name, user = _name(), _user()
    command = _run(name, image, network, state, user, [])
    try:
        told = read_version([*command, "--version"], within=VERSION_WITHIN)
    except BaseException:
        _remove(name, say)
        raise
    if told.major < OLDEST:
        _remove(name, say)
        raise BrokenEnvironmentError(
            f"the load needs pgbench {OLDEST} or newer, and {because}; the one in a container of"
            f" {image} {told.trouble or f'is {told.version}'}"
        )
    return ContainerProgram(image, told.version, network, state, user, routes, because, say)


def remove_left(state: Path) -> None:
    """Remove what a killed run on an installation left; the caller holds that installation.

    Raises:
        BrokenEnvironmentError: the engine does not answer, or keeps them.
    """
    ours = f"--filter=label={LABEL}={state}"
    left = output("docker", "ps", "--all", "--quiet", ours, within=20).split()
    if left:
        output("docker", "rm", "--force", "--volumes", *left, within=GONE_WITHIN)


def _name() -> str:
    return f"pgdrill-load-{secrets.token_hex(4)}"


def _run(
    name: str, image: str, network: str, state: Path, user: Sequence[str], options: Sequence[str]
) -> list[str]:
    return [
        *("docker", "run", "--rm", f"--name={name}", f"--label={LABEL}={state}"),
        f"--network={network}",
        "--pull=never",  # nothing is waited for here that has no bound
        "--log-driver=none",  # the engine need not keep what we read
        "--stop-signal=SIGKILL",  # as the first process it would not obey SIGTERM
        "--security-opt=label=disable",  # SELinux would keep it from the mounts
        *user,
        f"--workdir={Path.cwd()}",  # what the arguments name may be relative
        "--env=LC_ALL=C",
        *options,
        *("--entrypoint=sh", image, "-c", _START, "pgbench"),
    ]


def _by(secret: Mapping[str, str]) -> list[str]:
    """Pass variables by their names: the process list shows no value."""
    return [f"--env={name}" for name in secret]


def _mount(path: Path, mode: str = "") -> str:
    """Mount under the same name; quoted, because a path may hold the comma that parts fields."""
    quoted = str(path.absolute()).replace('"', '""')
    return f'--mount=type=bind,"source={quoted}","target={quoted}"{mode}'


def _user() -> tuple[str, ...]:
    """Options with which files in mounts are the invoking user's, to be read and to be written."""
    try:
        told = output("docker", "info", "--format={{json .SecurityOptions}}", within=20)
    except BrokenEnvironmentError:
        told = ""
    if "name=rootless" in told:  # root of its containers is the user who runs the engine
        return ("--user=0:0",)
    remapped = ("--userns=host",) if "name=userns" in told else ()
    return (*remapped, f"--user={os.getuid()}:{os.getgid()}")


def _remove(name: str, say: Say) -> None:
    """Kill and remove a container whose client was killed; it may be starting at this moment."""

    def there() -> str:
        succeeds("docker", "rm", "--force", "--volumes", name, within=20)
        return output("docker", "ps", "--all", "--quiet", f"--filter=name=^/{name}$", within=20)

    try:
        eventually(
            f"the end of container {name}",
            there,
            lambda found: not found.strip(),
            within=GONE_WITHIN,
            not_yet=(BrokenEnvironmentError,),
        )
    except DeadlineError:
        say(f"container {name} does not end; the next load, or `make down`, removes it")
