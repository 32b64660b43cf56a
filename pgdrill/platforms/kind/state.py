"""The facts of one kind installation: fixed when `up` begins, read by every later command."""

import json
import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pgdrill import process_environment
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.base import Cluster, Endpoint
from pgdrill.platforms.kubernetes.platform import Names
from pgdrill.provision.components import KUBERNETES, OPERATORS, POSTGRES

WRITTEN, DRAFT = "installation.json", "installation.json.part"
NAME = "pgdrill"
CONTROL_PLANE = f"{NAME}-control-plane"  # the container that is this node
NAMESPACE = "pgdrill"
MONITORING = "pgdrill-monitoring"  # the namespace of what watches
ARCHIVE = "pgdrill-archive"  # the namespace of the store that backups and WAL go to
RESTORED = "pgdrill-restored"  # the namespace of a restored cluster, and the beginning of its label
RESTORED_NAME = "restored"
MEMBERS = tuple(f"{NAME}-{number}" for number in (1, 2, 3))
POOLER = f"{NAME}-pooler"
NAMES = Names(NAMESPACE, NAME, f"{NAME}-rw-lb", POOLER, MONITORING)
SERVICES = ("rw", "ro", "pooler", *MEMBERS)
RESTORED_MEMBERS = tuple(f"{RESTORED_NAME}-{number}" for number in (1, 2, 3))
RESTORED_SERVICES = ("restored-rw", "restored-ro", *RESTORED_MEMBERS)
MONITORS = {"prometheus": 9090, "alertmanager": 9093, "pushgateway": 9091}
PORTS = dict.fromkeys(SERVICES, 5432) | MONITORS  # of every service that this host talks to
VOLUME_MB = 4096
# One in use, one spare for an instance that lost its claim, one for a member of a restored cluster.
VOLUMES_PER_NODE = 3
ARCHIVE_VOLUME = "archive"
ARCHIVE_MB = (
    8192  # a backup of the shop is 100 MB, its WAL in a long drill 100 MB and more a minute
)
ARCHIVE_TIMEOUT = 60  # seconds after which a WAL file is stored, full or not
MANY_CORES = 4  # from here on a third worker


def state_dir() -> Path:
    """Directory of everything that `up` makes.

    Below the home directory on macOS too: no other directory of a Mac is certainly shared with the
    virtual machine of its container engine.
    """
    chosen = os.environ.get("PGDRILL_STATE_DIR")
    if chosen:
        return Path(chosen).resolve()
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "pgdrill" / "kind"


@dataclass(frozen=True)
class Installation:
    """Names, ports and the owner's password of one installation."""

    directory: str
    image: str
    built: bool
    workers: int
    node_ports: dict[str, int]
    webhook: int  # where a run listens for the pages of Alertmanager
    password: str
    timing: str = "tuned"
    operator: str = "1.25.4"  # that of installations from before there was a choice
    postgres: str = "15"  # likewise
    kubernetes: str = "1.29"  # likewise
    mirrors: str = ""  # where its nodes pull from, as settings write it
    archive_secret: str = ""  # of the store; empty where nothing is kept

    @classmethod
    def load(cls, directory: Path) -> "Installation | None":
        """Return the installation in a directory, if there is one.

        Raises:
            BrokenEnvironmentError: its record cannot be understood.
        """
        file = directory / WRITTEN
        try:
            return cls(**json.loads(file.read_text())) if file.exists() else None
        except (TypeError, ValueError):
            raise BrokenEnvironmentError(
                f"{file} is of another version of pgdrill: take that cluster down with it, or by"
                f" `kind delete cluster --name {NAME}` and `rm -r {directory}`"
            ) from None

    def with_timing(self, timing: str) -> "Installation":
        """Return the same installation with other failover settings."""
        return replace(self, timing=timing)

    def mirrored(self, mirrors: str) -> "Installation":
        """Return the same installation with other mirrors."""
        return replace(self, mirrors=mirrors)

    def archived(self) -> "Installation":
        """Return the same installation with an archive; one that it has stays as it is."""
        secret = self.archive_secret or secrets.token_urlsafe(18)
        return replace(self, archive_secret=secret)

    def save(self) -> None:
        """Write it down, readable by this user alone; whole, or not at all."""
        self.path.mkdir(parents=True, exist_ok=True)
        draft = self.path / DRAFT
        private(draft, json.dumps(asdict(self)))
        draft.replace(self.path / WRITTEN)
        private(self.passfile, f"*:*:*:pgdrill:{self.password}\n")

    @property
    def path(self) -> Path:
        """Directory of its files."""
        return Path(self.directory)

    @property
    def origin(self) -> str:
        """The image of its nodes, and whether it was pulled: patch levels may differ."""
        return f"{self.image}, {'built here' if self.built else 'pulled'}"

    @property
    def kubeconfig(self) -> Path:
        """Its own; the user's is never touched."""
        return self.path / "kubeconfig"

    @property
    def passfile(self) -> Path:
        """Password file of libpq."""
        return self.path / "passfile"

    @property
    def endpoints(self) -> Path:
        """The addresses at which this host reaches the services, found by `up`."""
        return self.path / "endpoints.json"

    @property
    def inside(self) -> Path:
        """The addresses at which a container in the docker network reaches them."""
        return self.path / "endpoints-inside.json"

    @property
    def restored_endpoints(self) -> Path:
        """The addresses at which this host reaches a restored cluster."""
        return self.path / "endpoints-restored.json"

    @property
    def restored(self) -> Path:
        """The target of a restore, and the time of each step."""
        return self.path / "restored.json"

    @property
    def created(self) -> Path:
        """Exists from the moment that kind has finished, until the cluster is deleted."""
        return self.path / "created"

    @property
    def ready(self) -> Path:
        """Exists from the moment `up` has finished."""
        return self.path / "ready"


def plan(
    directory: Path,
    image: str,
    built: bool,
    cores: int,
    operator: str = OPERATORS[0],
    postgres: str = POSTGRES[0],
    kubernetes: str = KUBERNETES[0],
) -> Installation:
    """Choose the parts of an installation; cores are the container engine's.

    Raises:
        BrokenEnvironmentError: no ports are free.
    """
    services = (*PORTS, *RESTORED_SERVICES)
    *ports, webhook = _free_ports(len(services) + 1)
    return Installation(
        directory=str(directory),
        image=image,
        built=built,
        workers=3 if cores >= MANY_CORES else 2,
        node_ports=dict(zip(services, ports, strict=True)),
        webhook=webhook,
        password=secrets.token_urlsafe(18),
        operator=operator,
        postgres=postgres,
        kubernetes=kubernetes,
    )


def addresses(file: Path) -> dict[str, Endpoint]:
    """Read addresses by service; from now on they are reached without a proxy.

    Raises:
        BrokenEnvironmentError: they were not written yet.
    """
    if not file.exists():
        raise BrokenEnvironmentError("the database has no addresses yet: `make up` first")
    found = {name: Endpoint(*at) for name, at in json.loads(file.read_text()).items()}
    process_environment.bypass_proxies(*{at.host for at in found.values()})
    return found


def handle(
    found: Installation,
    name: str,
    at: Mapping[str, Endpoint],
    members: tuple[str, ...],
    prefix: str = "",
) -> Cluster:
    """Return the handle of a cluster with the shop; prefix begins its services' names."""
    return Cluster(
        name=name,
        read_write=at[f"{prefix}rw"],
        read_only=at[f"{prefix}ro"],
        members={member: at[member] for member in members},
        database="shop",
        user="pgdrill",
        passfile=found.passfile,
    )


def service(name: str) -> str:
    """Return the name of the service object behind a short name."""
    if name in MONITORS:
        return name
    return f"{name}-lb" if name in (*MEMBERS, *RESTORED_SERVICES) else f"{NAME}-{name}-lb"


def private(file: Path, text: str) -> None:
    """Write a file that only this user may read."""
    file.touch(mode=0o600)
    file.chmod(0o600)
    file.write_text(text)


def _free_ports(count: int) -> list[int]:
    """Return free ports of this machine inside Kubernetes' range of node ports."""
    found: list[int] = []
    for port in range(30432, 32768):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
        if len(found) == count:
            return found
    raise BrokenEnvironmentError("no free ports between 30432 and 32767 on 127.0.0.1")
