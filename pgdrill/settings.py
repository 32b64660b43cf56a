"""Every option of the suite, in one table, resolved into one frozen Settings.

Command line beats PGDRILL_* variables beats pgdrill.toml beats the profile's default.
"""

import os
import re
import secrets
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from pgdrill.errors import BadUsageError
from pgdrill.timeouts import FACTOR_VARIABLE, wait_factor

PACKAGE = Path(__file__).resolve().parent
IN_CHECKOUT = (PACKAGE.parent / "infra").is_dir()
# Where infra/ and requirements/ are: beside the package in a checkout, inside it where it is
# installed (pyproject.toml puts them there).
ROOT = PACKAGE.parent if IN_CHECKOUT else PACKAGE / "data"
PROFILES = ("quick", "laptop", "full")
# What may be done to an existing cluster; each level includes those before it.
LEVELS = ("observe", "load", "fault", "node")
EXISTING = ("kube", "patroni")  # platforms that are clusters of the user's own
MIN_ROWS = 1_000  # fewer cannot fill twelve linked tables in believable proportions


def _reports() -> Path:
    return (ROOT if IN_CHECKOUT else Path.cwd()) / "reports"


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return text

    return parse


def _whole(least: int, most: int | None = None) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = int(text) if re.fullmatch(r"[+-]?\d+", text) else None
        if number is None or number < least or (most is not None and number > most):
            upper = "" if most is None else f" and at most {most}"
            raise ValueError(f"must be a whole number, at least {least}{upper}")
        return number

    return parse


def _rate(text: str) -> float:
    """Transactions per second; 0 means: find it by calibration."""
    if text == "auto":
        return 0.0
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number < 1e6:
        raise ValueError("must be 'auto' or a number of transactions per second above 0")
    return number


def _flag(text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if text.lower() not in words:
        raise ValueError("must be true or false")
    return words[text.lower()]


def _run_id(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", text):
        raise ValueError("may hold letters, digits, dot, dash and underscore only (80 at most)")
    return text


@dataclass(frozen=True)
class Mirrors:
    """The mirrors of registries: one for all, or one for each host.

    {host} in a URL is replaced by the registry's own name.
    """

    everywhere: str = ""
    hosts: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Mirrors":
        """Read 'URL' or 'HOST=URL', several separated by commas.

        Raises:
            ValueError: a part is no URL.
        """
        everywhere, hosts = "", []
        for part in filter(None, map(str.strip, text.split(","))):
            host, _, url = part.rpartition("=")
            if host:
                hosts.append((host, _url(url)))
            else:
                everywhere = _url(url)
        return cls(everywhere, tuple(hosts))

    def of(self, host: str) -> str:
        """Return the mirror of a registry, '' where the registry itself is used."""
        return dict(self.hosts).get(host, self.everywhere).replace("{host}", host)

    def __str__(self) -> str:
        parts = [self.everywhere] if self.everywhere else []
        return ",".join([*parts, *(f"{host}={url}" for host, url in self.hosts)])


def _url(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", text) or "@" in text:
        raise ValueError("must be a URL, such as http://mirror.example:5000, without a password")
    return text.rstrip("/")


def _urls(text: str) -> str:
    return ",".join(_url(part) for part in filter(None, map(str.strip, text.split(","))))


@dataclass(frozen=True)
class Limits:
    """Limits of the user's own, by the key of the promise that each is of."""

    own: tuple[tuple[str, float], ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Limits":
        """Read 'KEY=NUMBER', several separated by commas.

        Raises:
            ValueError: a part is no such thing.
        """
        found = []
        for part in filter(None, map(str.strip, text.split(","))):
            key, _, number = part.rpartition("=")
            if not key or not re.fullmatch(r"\d+(\.\d+)?", number):
                raise ValueError(
                    "must be a promise and its limit, such as primary_kill.write-gap=5"
                )
            found.append((key, float(number)))
        return cls(tuple(found))

    def __str__(self) -> str:
        return ",".join(f"{key}={limit:g}" for key, limit in self.own)


@dataclass(frozen=True)
class Pairs:
    """Names, each with a value; a name may have several."""

    pairs: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, what: str) -> Callable[[str], "Pairs"]:
        """Return what reads 'NAME=VALUE', several separated by commas.

        what: the words for it, with an example; that function raises ValueError with them.
        """

        def parse(text: str) -> "Pairs":
            parts = [part.partition("=") for part in filter(None, map(str.strip, text.split(",")))]
            if not all(name and sign for name, sign, _ in parts):
                raise ValueError(f"must be {what}")
            return cls(tuple((name, value) for name, _, value in parts))

        return parse

    def values(self, name: str) -> tuple[str, ...]:
        """Return every value of a name."""
        return tuple(value for one, value in self.pairs if one == name)

    def __str__(self) -> str:
        return ",".join(f"{name}={value}" for name, value in self.pairs)


_labels = Pairs.of("labels with a value, such as environment=production")
_alerts = Pairs.of("faults with the name of an alert, such as primary_kill=PostgresDown")


def _dsn(text: str) -> str:
    """A connection string of libpq: it is printed and stored, so no password is in it."""
    try:
        given = conninfo_to_dict(text)
    except psycopg.ProgrammingError as error:
        raise ValueError(f"is no connection string of libpq ({str(error).strip()})") from None
    if "password" in given:
        raise ValueError("holds a password, which others would read: name a file, passfile=FILE")
    return text


def _image(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][\w.:/-]*(:[\w.-]+|@sha256:[0-9a-f]{64})", text):
        raise ValueError(
            "must be an image with a tag or a digest, such as registry.example/image:1.2"
        )
    return text


@dataclass(frozen=True)
class Option:
    """One setting: how it is written, read and explained, and its default."""

    name: str
    parse: Callable[[str], Any]
    help: str
    default: Any = None
    by_profile: Mapping[str, Any] | None = None
    is_flag: bool = False

    @property
    def key(self) -> str:
        """The attribute name in Settings."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"PGDRILL_{self.key.upper()}"

    def default_in(self, profile: str) -> Any:  # noqa: ANN401  # values differ in type
        """The option's default in a profile."""
        return self.by_profile[profile] if self.by_profile else self.default


def _per_profile(quick: object, laptop: object, full: object) -> dict[str, Any]:
    return {"quick": quick, "laptop": laptop, "full": full}


OPTIONS: tuple[Option, ...] = (
    Option(
        "platform",
        _one_of("auto", "kind", "kube", "local", "patroni"),
        "where it runs; auto: a given context means kube, a given address patroni, a container"
        " engine kind, else local",
        "auto",
    ),
    Option(
        "engine",
        _one_of("auto", "cnpg", "patroni"),
        "what keeps PostgreSQL available; auto: cnpg on Kubernetes, patroni on local",
        "auto",
    ),
    Option(
        "profile",
        _one_of(*PROFILES),
        "sizes of everything: quick (minutes), laptop (the assignment's), full (hours)",
        "laptop",
    ),
    Option(
        "context", str, "kube platform: the kubeconfig context to use, never the current one", ""
    ),
    Option(
        "namespace",
        str,
        "kube platform: the namespace of the database; default of one that is made: pgdrill",
        "",
    ),
    Option(
        "cluster",
        str,
        "kube platform: the name of its Cluster object, without it one is made; patroni platform:"
        " its scope has to be this",
        "",
    ),
    Option(
        "chart-values",
        str,
        "kube platform without --cluster: a file of values for the chart of the cluster that is"
        " made, infra/helm/postgres-cnpg",
        "",
    ),
    Option(
        "patroni",
        _urls,
        "patroni platform: the addresses of its REST API, URL,..., one of them or all",
        "",
    ),
    Option(
        "patroni-auth",
        str,
        "patroni platform: a file with USER:PASSWORD of its REST API, in one line",
        "",
    ),
    Option(
        "patroni-ca",
        str,
        "patroni platform: a file with the authority behind https; default: those of this system",
        "",
    ),
    Option(
        "ssh",
        str,
        "patroni platform, --level=node: a command that gives a shell on a member's machine, as"
        " 'ssh root@{host}' does; local: the members run on this one",
        "",
    ),
    Option(
        "level",
        _one_of(*LEVELS),
        "your own cluster: what may be done: look (observe), load, break (fault), also from its"
        " machines (node)",
        "observe",
    ),
    Option(
        "node-namespace",
        str,
        "kube platform: the namespace of the privileged pods of --level=node",
        "pgdrill-node",
    ),
    Option(
        "yes-break",
        str,
        "your own cluster: its name once more, to load or break it without being asked",
        "",
    ),
    Option(
        "dsn",
        _dsn,
        "your own cluster: user, database and password file, as libpq writes them; kube: in place"
        " of those in the operator's Secret; patroni: with host and port of what follows the"
        " primary",
        "",
    ),
    Option("rw-host", str, "your own cluster: HOST[:PORT] that leads to the primary", ""),
    Option("ro-host", str, "your own cluster: HOST[:PORT] that leads to standbys", ""),
    Option(
        "production-labels",
        _labels,
        "your own cluster: one with such a label (kube: its namespace, patroni: a tag of a member)"
        " is never touched, LABEL=VALUE,...",
        _labels("environment=production,environment=prod,env=production,env=prod"),
    ),
    Option(
        "prometheus-url",
        _url,
        "your own cluster: the Prometheus whose alerts are watched while a fault is drilled",
        "",
    ),
    Option("alertmanager-url", _url, "your own cluster: the Alertmanager that it notifies", ""),
    Option(
        "monitoring-token",
        str,
        "your own cluster: a file with the bearer token of both; read again for each request",
        "",
    ),
    Option(
        "monitoring-cert",
        str,
        "your own cluster: a file with the client certificate and key for both",
        "",
    ),
    Option(
        "monitoring-ca",
        str,
        "your own cluster: a file with the authority behind https of both; default: those of this"
        " system",
        "",
    ),
    Option(
        "monitoring-labels",
        _labels,
        "your own cluster: alerts with another value of such a label are of something else,"
        " LABEL=VALUE,...; default on kube: namespace=NAMESPACE",
        Pairs(),
    ),
    Option(
        "alert",
        _alerts,
        "your own cluster: the alerts that must see a fault, FAULT=ALERT,...; also [alerts] in"
        " pgdrill.toml",
        Pairs(),
    ),
    Option(
        "duration",
        _whole(5, 7 * 86400),
        "seconds of measured pgbench load",
        by_profile=_per_profile(30, 300, 1800),
    ),
    Option("clients", _whole(1, 1000), "concurrent pgbench clients", 16),
    Option("rate", _rate, "pgbench transactions/s; auto: a share of what calibration reached", 0.0),
    Option(
        "load",
        _one_of("host", "cluster"),
        "kind and kube platforms: where the steady load's pgbench runs, on this machine or in pods"
        " of the database's own image",
        "host",
    ),
    Option("load-workers", _whole(1, 100), "the number of those pods, with --load=cluster", 1),
    Option(
        "prober-image",
        _image,
        "kind and kube platforms: an image with this version of pgdrill, for a second prober in a"
        " pod during each fault",
        "",
    ),
    Option("rows", _whole(MIN_ROWS, 10**9), "rows of the seeded shop, over all tables", 1_000_000),
    Option(
        "reseed",
        _flag,
        "load the dataset anew where its rows are not as they were loaded, which is an error"
        " otherwise",
        False,
        is_flag=True,
    ),
    Option("seed", _whole(0, 2**31 - 1), "seed of the dataset and of the faults' phases", 42),
    Option("trials", _whole(1, 1000), "repeats of each fault", by_profile=_per_profile(1, 3, 9)),
    Option("run-id", _run_id, "name of the run's directory; default: time, platform, profile", ""),
    Option("reports-dir", Path, "where run directories go", _reports()),
    Option(
        "port-offset",
        _whole(-1, 50000),
        "local platform: added to every port; -1 takes the first of 0, 10000, ... that is free",
        -1,
    ),
    Option(
        "require-capabilities",
        _flag,
        "a capability that the platform lacks fails its tests instead of skipping them",
        False,
        is_flag=True,
    ),
    Option(
        "images",
        _one_of("auto", "pull", "build"),
        "kind platform: images pulled, built, or (auto) built where they cannot be pulled",
        "auto",
    ),
    Option(
        "timing",
        _one_of("tuned", "default"),
        "kind platform: the operator's own failover settings (default) or bounded ones (tuned)",
        "tuned",
    ),
    Option(
        "operator",
        _one_of("1.30.0", "1.25.4"),
        "kind platform: the version of CloudNativePG",
        "1.30.0",
    ),
    Option(
        "postgres",
        _one_of("15", "17"),
        "kind platform: the major version of PostgreSQL (local has 15)",
        "15",
    ),
    Option(
        "kubernetes",
        _one_of("1.29", "1.30"),
        "kind platform: the minor version of Kubernetes",
        "1.29",
    ),
    Option(
        "node-image",
        _image,
        "kind platform: the image that its nodes run instead of the one that pgdrill pins",
        "",
    ),
    Option(
        "registry-mirror",
        Mirrors.parse,
        "kind platform: where images are pulled from, URL or HOST=URL,...; also [registry] in"
        " pgdrill.toml",
        Mirrors(),
    ),
    Option(
        "release-mirror",
        _url,
        "kind platform: tools and manifests are fetched from URL/<host>/<path>",
        "",
    ),
    Option(
        "archive",
        _flag,
        "kind platform: keep backups and WAL from now on, until `down` (`local` always does)",
        False,
        is_flag=True,
    ),
    Option(
        "budget",
        Limits.parse,
        "a limit of your own, KEY=NUMBER,...; also [budgets] in pgdrill.toml; `pgdrill budgets`"
        " lists the keys",
        Limits(),
    ),
    Option(
        "slow",
        _flag,
        "a limit in seconds fails nothing before twice that long, and is reported as broken all"
        " the same: for a machine that is slower than the limits are for",
        False,
        is_flag=True,
    ),
    Option("keep", _flag, "leave a cluster running that this command started", False, is_flag=True),
)
# Variables that are no option: places, and connection strings of `watch`.
OTHER_VARIABLES = {
    "PGDRILL_STATE_DIR",
    "PGDRILL_CACHE_DIR",
    "PGDRILL_DSN",
    "PGDRILL_READ_ONLY_DSN",
    FACTOR_VARIABLE,
}
BY_KEY = {option.key: option for option in OPTIONS}


@dataclass(frozen=True)
class Settings:
    """The settings of this run; sources holds where each value came from."""

    platform: str
    engine: str
    profile: str
    context: str
    namespace: str
    cluster: str
    chart_values: str
    patroni: str
    patroni_auth: str
    patroni_ca: str
    ssh: str
    level: str
    node_namespace: str
    yes_break: str
    dsn: str
    rw_host: str
    ro_host: str
    production_labels: Pairs
    prometheus_url: str
    alertmanager_url: str
    monitoring_token: str
    monitoring_cert: str
    monitoring_ca: str
    monitoring_labels: Pairs
    alert: Pairs
    duration: int
    clients: int
    rate: float
    load: str
    load_workers: int
    prober_image: str
    rows: int
    reseed: bool
    seed: int
    trials: int
    run_id: str
    reports_dir: Path
    port_offset: int
    require_capabilities: bool
    images: str
    timing: str
    operator: str
    postgres: str
    kubernetes: str
    node_image: str
    registry_mirror: Mirrors
    release_mirror: str
    archive: bool
    budget: Limits
    slow: bool
    keep: bool
    sources: Mapping[str, str]

    @property
    def run_dir(self) -> Path:
        """Directory of everything this run measured."""
        return self.reports_dir / self.run_id

    @property
    def is_existing(self) -> bool:
        """Whether the platform is a cluster of the user's own."""
        named = self.platform == "auto" and (self.context or self.patroni)
        return self.platform in EXISTING or bool(named)

    def values(self) -> dict[str, str]:
        """Effective settings as text, for the report."""
        return {f.name: str(getattr(self, f.name)) for f in fields(self) if f.name != "sources"}

    def asked_for(self, key: str) -> str:
        """Return an option's value; '' where it is the default."""
        return "" if self.sources[key] == "default" else str(getattr(self, key))

    def repeat_command(self, suite: str) -> str:
        """Return the command that runs the same suite with the same settings again."""
        words = [
            f"--{BY_KEY[key].name}" + ("" if BY_KEY[key].is_flag else f"={getattr(self, key)}")
            for key in BY_KEY
            # Who runs it again confirms it again.
            if self.sources[key] != "default" and key not in ("run_id", "reports_dir", "yes_break")
        ]
        words = [w.replace("--rate=0.0", "--rate=auto") for w in words]
        here = ".venv/bin/python -m pytest" if IN_CHECKOUT else "pytest"
        return " ".join([here, *(["-m", f'"{suite}"'] if suite else []), *words])


def resolve(
    command_line: Mapping[str, str | None],
    environment: Mapping[str, str] = os.environ,
    file: Path | None = None,
    now: datetime | None = None,
) -> Settings:
    """Merge the four sources into Settings.

    Raises:
        BadUsageError: an unknown option in the file or environment, or a value that cannot be.
    """
    file = file or Path.cwd() / "pgdrill.toml"
    written = _read_file(file)
    known = {option.variable for option in OPTIONS} | OTHER_VARIABLES
    for variable in environment:
        if variable.startswith("PGDRILL_") and variable not in known:
            raise BadUsageError(
                f"{variable} is set but is no option; known: {', '.join(sorted(known))}"
            )

    wait_factor(environment.get(FACTOR_VARIABLE) or "1")

    def look_up(option: Option) -> tuple[Any, str]:
        for text, source in (
            (command_line.get(option.key), f"--{option.name}"),
            (environment.get(option.variable) or None, option.variable),
            (written.get(option.key), f"{file.name}: {option.name}"),
        ):
            if text is not None:
                try:
                    return option.parse(text), source
                except ValueError as error:
                    raise BadUsageError(f"{source}={text}: {error}") from None
        return None, "default"

    found = {option.key: look_up(option) for option in OPTIONS}
    profile = found["profile"][0] or BY_KEY["profile"].default
    values = {
        key: value if source != "default" else BY_KEY[key].default_in(profile)
        for key, (value, source) in found.items()
    }
    if not values["run_id"]:
        # The suffix keeps two runs apart that start within the same second.
        stamp = (now or datetime.now(UTC)).strftime("%Y%m%d-%H%M%S")
        values["run_id"] = f"{stamp}-{values['platform']}-{profile}-{secrets.token_hex(2)}"
    return Settings(**values, sources={key: source for key, (_, source) in found.items()})


def _read_file(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    try:
        table = tomllib.loads(file.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise BadUsageError(f"{file} is not readable as TOML: {error}") from None
    tables = ("registry", "budgets", "alerts")
    registry, limits, alerts = (_table(file, table, name) for name in tables)
    keys = {str(name).replace("-", "_"): str(value) for name, value in table.items()}
    if registry:  # mirror = URL for every registry, "quay.io" = URL for that one
        parts = [url if name == "mirror" else f"{name}={url}" for name, url in registry.items()]
        keys.setdefault("registry_mirror", ",".join(parts))
    if limits:  # "primary_kill.write-gap" = 5
        keys.setdefault("budget", ",".join(f"{key}={limit}" for key, limit in limits.items()))
    if alerts:  # primary_kill = "PostgresDown", or a list of them
        listed = [
            f"{fault}={alert}"
            for fault, named in alerts.items()
            for alert in (named if isinstance(named, list) else [named])
        ]
        keys.setdefault("alert", ",".join(listed))
    for key in keys:
        if key not in BY_KEY:
            raise BadUsageError(
                f"{file}: unknown option '{key}'; known: {', '.join(o.name for o in OPTIONS)}"
            )
    return keys


def _table(file: Path, of: dict[str, Any], name: str) -> dict[str, Any]:
    """Take a table out of the file's, {} where it has none.

    Raises:
        BadUsageError: it is something else, or holds tables: a key with a dot needs quotes.
    """
    found = of.pop(name, {})
    if not isinstance(found, dict) or any(isinstance(value, dict) for value in found.values()):
        raise BadUsageError(
            f'{file}: {name} is a table of single values: [{name}], then "KEY" = VALUE, KEY in'
            " quotes where it holds a dot"
        )
    return found


def read_file(file: str, option: str) -> str:
    """Return the text of a file that an option names.

    Raises:
        BadUsageError: it cannot be read, or is no text.
    """
    try:
        return Path(file).expanduser().read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise BadUsageError(f"--{option}={file}: cannot be read ({why})") from None


def below(level: str) -> tuple[str, ...]:
    """Return the levels that a level includes."""
    return LEVELS[: LEVELS.index(level) + 1]


def cache_dir() -> Path:
    """Downloads and builds that outlive a cluster.

    Below the home directory on macOS too: see pgdrill.platforms.kind.state.state_dir.
    """
    chosen = os.environ.get("PGDRILL_CACHE_DIR")
    return Path(chosen) if chosen else Path.home() / ".cache" / "pgdrill"
