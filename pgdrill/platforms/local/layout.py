"""The files and addresses of the embedded platform."""

import hashlib
import json
import os
import pwd
import re
import secrets
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.base import Endpoint
from pgdrill.platforms.local.member_network import MemberNetwork, cgroups
from pgdrill.platforms.local.writeback_limit import WRITEBACK_LIMIT
from pgdrill.settings import ROOT, cache_dir

MEMBERS = {"pg1": "127.0.10.1", "pg2": "127.0.10.2", "pg3": "127.0.10.3"}
# Members of a restored cluster, in addition to the first cluster's.
RESTORED = {"restored1": "127.0.10.11", "restored2": "127.0.10.12", "restored3": "127.0.10.13"}
ADDRESSES = {
    "balancer": "127.0.10.10",
    "restored": "127.0.10.14",
    "etcd": "127.0.10.20",
    "monitor": "127.0.10.30",
}
MEMBER_PORTS = {"postgres": 5432, "rest": 8008, "postgres_exporter": 9187}
OTHER_PORTS = {  # port name -> (address name, port)
    "rw": ("balancer", 5432),
    "ro": ("balancer", 5433),
    "haproxy_stats": ("balancer", 8404),
    "etcd": ("etcd", 2379),
    "etcd_peer": ("etcd", 2380),
    "prometheus": ("monitor", 9090),
    "alertmanager": ("monitor", 9093),
    "node_exporter": ("monitor", 9100),
    "process_exporter": ("monitor", 9256),
    "session_probe": ("monitor", 9188),
    "pushgateway": ("monitor", 9091),
    "webhook": ("monitor", 9199),
}
OFFSETS = range(0, 50_001, 10_000)

# A volume holds the default shop, a pgbench scale of 16 and 768 MB of WAL twice over. The files
# are sparse: the required space is what a laptop run was seen to write, with a margin.
VOLUME_MB = 4096
NEEDED_DISK_MB = 6144
NEEDED_MEMORY_MB = 2048

PACKAGES = {  # program -> its Debian package
    "/usr/bin/etcd": "etcd-server",
    "/usr/sbin/haproxy": "haproxy",
    "/usr/bin/prometheus": "prometheus",
    "/usr/bin/promtool": "prometheus",
    "/usr/bin/prometheus-alertmanager": "prometheus-alertmanager",
    "/usr/bin/prometheus-node-exporter": "prometheus-node-exporter",
    "/usr/bin/prometheus-postgres-exporter": "prometheus-postgres-exporter",
    "/usr/bin/prometheus-process-exporter": "prometheus-process-exporter",
    "/usr/bin/prometheus-pushgateway": "prometheus-pushgateway",
    "/usr/bin/pgbackrest": "pgbackrest",
    "/usr/lib/postgresql/15/bin/postgres": "postgresql-15",
    "/usr/lib/postgresql/15/bin/pgbench": "postgresql-15",
    "/usr/sbin/mkfs.ext4": "e2fsprogs",
    "/usr/bin/python3": "python3",
}
# Seconds after which a WAL file is stored although it is not full: what is lost with every volume.
ARCHIVE_TIMEOUT = 60
# The longest path of a socket below a state directory, and what the system has room for.
SOCKET = "/run/restored1/.s.PGSQL.65535.lock"
SOCKET_MOST = 107
# What only root makes use of.
NFTABLES = ("/usr/sbin/nft", "nftables")
ROLES = ("superuser", "replication", "rewind", "pgdrill", "exporter", "backup")
POSTGRES_BIN = "/usr/lib/postgresql/15/bin"
SYSTEM_PYTHON = "/usr/bin/python3"


def state_dir() -> Path:
    """Directory of everything that `up` makes.

    As root it lies outside any home, because the members run as `postgres`, which must be able to
    reach its data and its interpreter.
    """
    chosen = os.environ.get("PGDRILL_STATE_DIR")
    if chosen:
        return Path(chosen).resolve()
    if os.geteuid() == 0:
        return Path("/var/lib/pgdrill/local")
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "pgdrill" / "local"


@dataclass(frozen=True)
class Layout:
    """One installation: fixed when `up` begins, read back by every later command."""

    state: str
    offset: int
    mounts: bool  # each member's data on a loop-mounted file system of its own
    user: str  # the system user of the members
    secrets: Mapping[str, str]

    @classmethod
    def load(cls, state: Path) -> "Layout | None":
        """Read the installation under state; None where `up` never began."""
        try:
            return cls(**json.loads((state / "state.json").read_text()))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def save(self) -> None:
        """Write state.json, readable by its owner only: it holds the passwords."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o755)
        draft = self.path / "state.json.part"
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(asdict(self)))
        draft.replace(self.path / "state.json")

    @property
    def path(self) -> Path:
        """The state directory."""
        return Path(self.state)

    @property
    def outdated(self) -> bool:
        """Whether an earlier version made it, which knew fewer roles."""
        return not set(ROLES) <= set(self.secrets)

    @property
    def ready(self) -> Path:
        """Exists once `up` has finished."""
        return self.path / "ready"

    def port(self, name: str) -> int:
        """Port by name, offset applied."""
        base = MEMBER_PORTS[name] if name in MEMBER_PORTS else OTHER_PORTS[name][1]
        return base + self.offset

    def endpoint(self, name: str) -> Endpoint:
        """Address of a process that is no member."""
        return Endpoint(ADDRESSES[OTHER_PORTS[name][0]], self.port(name))

    def member_endpoint(self, member: str, port: str = "postgres") -> Endpoint:
        """Address of a member's PostgreSQL, Patroni REST or exporter."""
        return Endpoint((MEMBERS | RESTORED)[member], self.port(port))

    def volume(self, member: str) -> Path:
        """Mount point (or plain directory) of a member."""
        return self.path / "members" / member

    def data(self, member: str) -> Path:
        """PostgreSQL's data directory of a member."""
        return self.volume(member) / "data"

    def cgroup(self, name: str) -> str:
        """Control group of a member, or of another program; '' where none can be made."""
        place = cgroups()
        return f"{place}/pgdrill-{self.offset}-{name}" if place else ""

    def network(self, member: str) -> MemberNetwork:
        """The network of a member; its peers are the other members and etcd."""
        peers = [name for name in (*MEMBERS, "etcd") if name != member]
        return MemberNetwork(
            Path(self.cgroup(member)),
            [Path(self.cgroup(peer)) for peer in peers],
            f"pgdrill_{self.offset}",
            self.path / "run" / "cut-off",
        )

    def _described(self, members: Mapping[str, str]) -> list[dict[str, str]]:
        return [
            {
                "name": name,
                "address": address,
                "volume": str(self.volume(name)),
                "data": str(self.data(name)),
                "cgroup": self.cgroup(name) if name in MEMBERS else "",
            }
            for name, address in members.items()
        ]

    @property
    def repository(self) -> Path:
        """The directory of backups and WAL: a volume of its own, or a plain directory."""
        return self.path / "repository"

    def pgbackrest(self) -> list[str]:
        """Begin a command line of pgBackRest; the member that it is about is in the environment."""
        return ["pgbackrest", f"--config={self.path}/etc/pgbackrest.conf", "--stanza=pgdrill"]

    def variables(self) -> dict[str, Any]:
        """All variables of the playbook."""
        lock = (ROOT / "requirements" / "members.lock").read_bytes()
        rules = [
            ROOT / "infra/alerts/recording.patroni.yaml",
            *sorted((ROOT / "infra/alerts/rules").glob("*.yaml")),
        ]
        return {
            "pgdrill_state": self.state,
            "pgdrill_root": str(ROOT),
            "pgdrill_cache": str(cache_dir()),
            "pgdrill_user": self.user,
            "pgdrill_user_switch": os.geteuid() == 0,
            "pgdrill_mounts": self.mounts,
            "pgdrill_volume_mb": VOLUME_MB,
            "pgdrill_unflushed": WRITEBACK_LIMIT,
            "pgdrill_repository": str(self.repository),
            "pgdrill_archive_timeout": ARCHIVE_TIMEOUT,
            "pgdrill_pgbackrest": " ".join(self.pgbackrest()),
            "pgdrill_members": self._described(MEMBERS),
            "pgdrill_restored": self._described(RESTORED),
            "pgdrill_ports": {name: self.port(name) for name in (*MEMBER_PORTS, *OTHER_PORTS)},
            "pgdrill_addresses": ADDRESSES,
            "pgdrill_etcd_cgroup": self.cgroup("etcd"),
            "pgdrill_secrets": dict(self.secrets),
            "pgdrill_postgres_bin": POSTGRES_BIN,
            "pgdrill_python": SYSTEM_PYTHON,
            "pgdrill_uv": shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv",
            "pgdrill_members_lock_digest": hashlib.sha256(lock).hexdigest()[:16],
            "pgdrill_missing_packages": missing_packages(),
            "pgdrill_exporter_flags": (
                "--disable-default-metrics --disable-settings-metrics --no-collector.database"
                " --no-collector.bgwriter --log.level=warn"
            ),
            "pgdrill_rules": f"{self.state}/etc/rules",
            "pgdrill_rule_sources": [str(rule) for rule in rules],
        }


def plan(port_offset: int) -> Layout:
    """Check that this machine can hold the platform, and decide what is not decided yet.

    Raises:
        BrokenEnvironmentError: in one line, what is missing and what to do.
    """
    state = state_dir()
    root = os.geteuid() == 0
    _check_place(state)
    _check_disk(state)
    memory = psutil.virtual_memory().available // 2**20
    if memory < NEEDED_MEMORY_MB:
        raise BrokenEnvironmentError(
            f"only {memory} MB of memory available, {NEEDED_MEMORY_MB} needed:"
            " end something, or use a bigger machine"
        )
    missing = missing_packages()
    if missing and not root:
        raise BrokenEnvironmentError(
            "platform local lacks programs that only root can install: run `apt-get install"
            f" {' '.join(missing)}` as root, or start Docker and use --platform=kind"
        )
    if missing and not shutil.which("apt-get"):
        raise BrokenEnvironmentError(
            f"platform local lacks programs of {', '.join(missing)}, and there is no apt-get:"
            " install them, or start Docker and use --platform=kind"
        )
    return Layout(
        state=str(state),
        offset=_free_offset(port_offset),
        mounts=root and Path("/dev/loop-control").exists(),
        user="postgres" if root else _user(),
        secrets={role: secrets.token_urlsafe(18) for role in ROLES},
    )


def missing_packages() -> list[str]:
    """Debian packages whose programs are not on this machine."""
    wanted = [*PACKAGES.items(), *([NFTABLES] if os.geteuid() == 0 else [])]
    return sorted({pkg for binary, pkg in wanted if not Path(binary).exists()})


def _check_place(state: Path) -> None:
    """Refuse what command lines, configuration files or sockets of the processes cannot hold.

    Raises:
        BrokenEnvironmentError: with what is wrong with it.
    """
    strange = sorted(set(re.findall(r"[^\w./+-]", str(state), re.ASCII)))
    longest = len(os.fsencode(state)) + len(SOCKET)
    why = ""
    if strange:
        why = f"has {' and '.join(map(repr, strange))} in it, which its processes cannot take"
    elif longest > SOCKET_MOST:
        why = f"is {longest - SOCKET_MOST} bytes too long for a UNIX socket below it"
    if why:
        raise BrokenEnvironmentError(
            f"the state directory {state} {why}: set PGDRILL_STATE_DIR to another one"
        )


def _user() -> str:
    """Return the name of this user; PostgreSQL does not start as one without.

    Raises:
        BrokenEnvironmentError: there is none.
    """
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise BrokenEnvironmentError(
            f"user {os.geteuid()} has no name on this machine, and PostgreSQL does not run as such:"
            " add one to /etc/passwd, or run as another user"
        ) from None


def _check_disk(state: Path) -> None:
    place = state
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free // 2**20
    if free < NEEDED_DISK_MB:
        raise BrokenEnvironmentError(
            f"only {free} MB free under {place}, {NEEDED_DISK_MB} needed:"
            " free some, or set PGDRILL_STATE_DIR to a directory on a larger disk"
        )


def _listeners(offset: int) -> Iterator[tuple[str, int]]:
    for address in (*MEMBERS.values(), *RESTORED.values()):
        for port in MEMBER_PORTS.values():
            yield address, port + offset
    for name in ("rw", "ro", "haproxy_stats"):
        yield ADDRESSES["restored"], OTHER_PORTS[name][1] + offset
    for name, port in OTHER_PORTS.values():
        yield ADDRESSES[name], port + offset


def _taken(offset: int) -> str | None:
    """Describe the first address that cannot be bound; None when all can."""
    for address, port in _listeners(offset):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                return f"{address}:{port} is taken{_owner(address, port)} ({error.strerror})"
    return None


def _owner(address: str, port: int) -> str:
    places = {(address, port), ("0.0.0.0", port), ("::", port)}
    for connection in psutil.net_connections("tcp"):
        if connection.laddr and tuple(connection.laddr) in places and connection.pid:
            try:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.NoSuchProcess:
                break
    return ""


def _free_offset(wanted: int) -> int:
    offsets = OFFSETS if wanted < 0 else (wanted,)
    complaint = None
    for offset in offsets:
        complaint = _taken(offset)
        if complaint is None:
            return offset
    raise BrokenEnvironmentError(
        f"{complaint}: end that process, or choose other ports with --port-offset"
    )
