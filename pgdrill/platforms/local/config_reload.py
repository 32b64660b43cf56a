"""Changed files of the playbook, reloaded by the processes that read them.

A process that started before a file was written runs with the older content. Which content each has
loaded is recorded, so that an `up` that was interrupted in between continues.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import requests
import yaml

from pgdrill.engines.patroni import PatroniEngine
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.base import wait_healthy
from pgdrill.platforms.local import logs
from pgdrill.platforms.local.layout import MEMBERS, Layout
from pgdrill.platforms.local.supervisor import Supervisor
from pgdrill.progress import Update
from pgdrill.waiting import DeadlineError, eventually

RELOADED_WITHIN = 15.0  # seconds for a program to report how a reload went
RESTARTED_WITHIN = 90.0  # seconds for a member to be back, and all redundant
SUPERVISOR = "supervisord"  # reads the command lines of all


@dataclass(frozen=True)
class Reader:
    """A program, the files below etc/ that it reads, and whether it can reload them.

    says: the prefix of its metrics about the last reload; '' of a program that is
    restarted instead.
    """

    program: str
    files: tuple[str, ...]
    says: str = ""


READERS = (
    Reader("prometheus", ("prometheus.yml", "rules/*"), "prometheus_config_last_reload_success"),
    Reader("alertmanager", ("alertmanager.yml",), "alertmanager_config_last_reload_success"),
    Reader("haproxy", ("haproxy.cfg",)),
    *(Reader(f"exporter-{member}", ("exporter-queries.yaml",)) for member in MEMBERS),
    Reader("process-exporter", ("process-exporter.yml",)),
    Reader("archive-metrics", ("archive-metrics.py",)),
    Reader("session-probe", ("session-probe.py",)),
)


def difference(wanted: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, Any]:
    """Return the patch that turns settings into others: what is not wanted any more is None."""
    patch: dict[str, Any] = {key: None for key in there if key not in wanted}
    for key, value in wanted.items():
        other = there.get(key)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            inner = difference(value, other)
            if inner:
                patch[key] = inner
        elif value != other:
            patch[key] = value
    return patch


class ConfigReload:
    """The files of one installation, and the programs that read them."""

    def __init__(self, layout: Layout, supervisor: Supervisor, engine: PatroniEngine) -> None:
        self._layout = layout
        self._supervisor = supervisor
        self._engine = engine
        self._record = layout.path / "applied.json"

    def remember(self) -> None:
        """Note that every program has just been started with the files as they are."""
        self._write({name: self._digest(files) for name, files in self._wanted().items()})

    def apply(self, update: Update) -> list[str]:
        """Reload every program whose files have changed; return the programs' names.

        Raises:
            BrokenEnvironmentError: one refused them, with its reason; or it did not come back.
        """
        known = self._read()
        changed: list[str] = []
        for number, (name, files) in enumerate(self._wanted().items()):
            digest = self._digest(files)
            if known.get(name) == digest:
                continue
            update(number, f"{name} reads what has changed")
            changed += self._take_over(name)
            known[name] = digest
            self._write(known)
        if self._settings(update):
            changed.append("patroni")
        return changed

    def _wanted(self) -> dict[str, tuple[str, ...]]:
        readers = {reader.program: reader.files for reader in READERS}
        return {SUPERVISOR: ("supervisord.conf",), **readers, "patroni": ("patroni.yml",)}

    def _take_over(self, name: str) -> list[str]:
        if name == SUPERVISOR:
            return self._command_lines()
        if name == "patroni":
            for member in MEMBERS:
                self._supervisor.signal(f"patroni-{member}", "HUP")
            return []  # found by what differs in its settings
        reader = next(reader for reader in READERS if reader.program == name)
        if reader.says:
            self._reload(reader)
        else:
            self._supervisor.stop(name)
            self._supervisor.start(name)
        return [name]

    def _command_lines(self) -> list[str]:
        """Restart programs whose command line changed; members one by one, standbys first."""
        changed = self._supervisor.changed()
        members = self._standbys_first([p for p in changed if p.startswith("patroni-")])
        for program in [*(p for p in changed if p not in members), *members]:
            self._supervisor.restart_changed(program)
            if program in members:
                wait_healthy(self._engine, within=RESTARTED_WITHIN)
        return changed

    def _standbys_first(self, programs: Iterable[str]) -> list[str]:
        primary = self._engine.lock_holder()
        return sorted(programs, key=lambda program: program == f"patroni-{primary}")

    def _reload(self, reader: Reader) -> None:
        """Reload a program's files, and check how that went.

        Raises:
            BrokenEnvironmentError: it continues with its old settings; with its reason.
        """
        url = f"http://{self._layout.endpoint(reader.program)}/metrics"
        before = time.time()
        self._supervisor.signal(reader.program, "HUP")

        def told() -> str:
            said = _metrics(url)
            if said.get(f"{reader.says}ful") == 0:
                return "refused"
            # In whole seconds, or with fractions of them.
            return "read" if said.get(f"{reader.says}_timestamp_seconds", 0) >= before - 1 else ""

        log = self._layout.path / "log" / f"{reader.program}.log"
        try:
            answer = eventually(f"{reader.program}'s word", told, bool, within=RELOADED_WITHIN)
        except DeadlineError as error:
            raise BrokenEnvironmentError(f"{error}: {logs.last_complaint(log)}") from None
        if answer == "refused":
            raise BrokenEnvironmentError(
                f"{reader.program} refuses its new configuration: {logs.last_complaint(log)}"
            )

    def _settings(self, update: Update) -> bool:
        """Set Patroni's dynamic settings from its file; restart members that need it.

        Raises:
            BrokenEnvironmentError: no member took them, or one did not come back.
        """
        wanted = yaml.safe_load((self._layout.path / "etc/patroni.yml").read_text())
        patch = difference(wanted["bootstrap"]["dcs"], self._engine.configuration())
        if not patch:
            return False
        update(0, "Patroni takes over its settings")
        self._engine.configure(patch)
        eventually(
            "every member to have seen them",
            lambda: self._engine.configuration() == wanted["bootstrap"]["dcs"],
            within=RELOADED_WITHIN,
        )
        # A member looks once in loop_wait (1 s), and then reports whether it needs a restart.
        waiting = self._engine.restarts_pending(after=3.0)
        for program in self._standbys_first(f"patroni-{member}" for member in waiting):
            member = program.removeprefix("patroni-")
            update(0, f"{member} is restarted: a setting needs it")
            self._engine.restart(member)
            wait_healthy(self._engine, within=RESTARTED_WITHIN)
        return True

    def _digest(self, files: Sequence[str]) -> str:
        found = hashlib.sha256()
        for pattern in files:
            for file in sorted((self._layout.path / "etc").glob(pattern)):
                found.update(f"{file.name}\0".encode() + file.read_bytes())
        return found.hexdigest()

    def _read(self) -> dict[str, str]:
        try:
            return dict(json.loads(self._record.read_text()))
        except (FileNotFoundError, ValueError):
            return {}  # of an earlier version: everything is reloaded once

    def _write(self, known: Mapping[str, str]) -> None:
        draft = self._record.with_suffix(".part")
        draft.write_text(json.dumps(known))
        draft.replace(self._record)


def _metrics(url: str) -> dict[str, float]:
    """Return metrics without labels by name; none where the program does not answer."""
    try:
        text = requests.get(url, timeout=2).text
    except requests.RequestException:
        return {}
    pairs = (line.split() for line in text.splitlines() if not line.startswith("#"))
    return {pair[0]: float(pair[1]) for pair in pairs if len(pair) == 2 and "{" not in pair[0]}
