"""The state of what runs at this moment: for people, and for programs."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TypeVar

from rich.table import Table

from pgdrill.engines.base import Member
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.observe.prometheus import Prometheus
from pgdrill.platforms.archive import archive_of
from pgdrill.platforms.base import Platform, health
from pgdrill.progress import Reporter

T = TypeVar("T")


@dataclass(frozen=True)
class Status:
    """One look at an installation; None stands for what is not known, and unknown holds why."""

    platform: str
    up: bool  # `up` has finished, and what keeps the platform answers
    complaints: tuple[str, ...] | None  # (): fully redundant
    members: tuple[Member, ...] | None
    addresses: dict[str, str]
    alerts: tuple[str, ...] | None  # that fire, with their member
    newest_backup: str | None  # when it ended; '' where there is none, or no archive
    restored: str | None  # the target of the restored cluster; '' where there is none
    unknown: tuple[str, ...]

    def json(self) -> str:
        """Return it as one JSON object."""
        return json.dumps(asdict(self), indent=1)


def look(platform: Platform) -> Status:
    """Collect the state from every source that may have it.

    Raises:
        BrokenEnvironmentError: there is no installation.
    """
    cluster = platform.cluster()
    unknown: list[str] = []

    def ask(what: str, question: Callable[[], T]) -> T | None:
        try:
            return question()
        except BrokenEnvironmentError as error:
            unknown.append(f"{what}: {error}")
            return None

    return Status(
        platform=platform.name,
        up=platform.is_up(),
        members=ask("members", platform.engine.members),
        complaints=ask("redundancy", lambda: health(platform.engine).complaints),
        addresses={
            "read-write": str(cluster.read_write),
            "read-only": str(cluster.read_only),
            "Prometheus": platform.prometheus_url,
            "Alertmanager": platform.alertmanager_url,
        },
        alerts=ask("alerts", lambda: _firing(platform)),
        newest_backup=ask("backups", lambda: _newest_backup(platform)),
        restored=ask("restored cluster", lambda: _restored(platform)),
        unknown=tuple(unknown),
    )


def _firing(platform: Platform) -> tuple[str, ...]:
    if not platform.prometheus_url:
        return ()
    found = Prometheus(platform.prometheus_url).alerts()
    return tuple(sorted(f"{a.name} {a.member}".strip() for a in found if a.state == "firing"))


def _newest_backup(platform: Platform) -> str:
    archive = archive_of(platform)
    backups = archive.backups() if archive else ()
    return backups[-1].ended.isoformat() if backups else ""


def _restored(platform: Platform) -> str:
    archive = archive_of(platform)
    found = archive.restored() if archive else None
    return found.target if found else ""


def show(status: Status, reporter: Reporter) -> None:
    """Print it as a table of members and a line for each other fact."""
    if status.members is not None:
        reporter.console.print(_table(status.members))
    facts = {
        "state": _state(status),
        **status.addresses,
        "alerts": _said(status.alerts, "none fires"),
        "newest backup": _said(status.newest_backup, "none"),
    }
    if status.restored:
        facts["restored"] = f"a cluster as of {status.restored}; `make discard` removes it"
    for name, fact in facts.items():
        reporter.line(f"{name:<14} {fact}")
    for line in status.unknown:
        reporter.line(f"unknown: {line}")


def _table(members: tuple[Member, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("member", "role", "timeline", "streams", "synchronous", "lag"):
        table.add_column(column, justify="right" if column in ("timeline", "lag") else "left")
    for m in members:
        table.add_row(
            m.name,
            m.role if m.running else "not running",
            str(m.timeline or "-"),
            "-" if m.role != "standby" else "yes" if m.streaming else "no",
            "-" if m.role != "standby" else "yes" if m.synchronous else "no",
            "-" if m.lag is None else f"{m.lag:,} bytes",
        )
    return table


def _state(status: Status) -> str:
    if status.complaints is None:
        return "unknown"
    said = "; ".join(status.complaints) or "fully redundant"
    return said if status.up else f"{said}; not all of it is up: `make up` mends it"


def _said(found: str | tuple[str, ...] | None, nothing: str) -> str:
    if found is None:
        return "unknown"
    text = found if isinstance(found, str) else ", ".join(found)
    return text or nothing
