"""The archive of the embedded platform: pgBackRest, and a cluster restored by Patroni."""

import json
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgdrill import timeouts
from pgdrill.engines.patroni import PatroniEngine
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.archive import Backup, Target, accepts_writes, redundant
from pgdrill.platforms.base import Cluster, Endpoint
from pgdrill.platforms.local import layout as layouts
from pgdrill.platforms.local.layout import RESTORED, Layout
from pgdrill.platforms.local.processes import MemberProcesses, end_commands
from pgdrill.platforms.local.volume import DirectoryVolume
from pgdrill.platforms.local.writeback_limit import release
from pgdrill.platforms.restoring import Over, RestoringArchive, demand_all_wal
from pgdrill.progress import Update

if TYPE_CHECKING:
    from pgdrill.platforms.local import LocalPlatform

LOOK_WITHIN = 30.0  # seconds for a question about the repository
SPARE_MB = 512  # free disk that a restored cluster needs in addition to the backup's size


class LocalArchive(RestoringArchive):
    """One repository for all members, and room for one restored cluster."""

    promised_loss = layouts.ARCHIVE_TIMEOUT + 10.0
    look_every = 0.1

    def __init__(self, platform: "LocalPlatform") -> None:
        self._platform = platform
        super().__init__(platform.cluster, platform.layout.path / "restored.json")

    @property
    def _layout(self) -> Layout:
        return self._platform.layout

    def backups(self) -> tuple[Backup, ...]:
        """Every good backup that is kept, oldest first.

        Raises:
            BrokenEnvironmentError: the repository cannot be read.
        """
        kept = [b for stanza in self._info() for b in stanza.get("backup", ())]
        good = [backup for backup in kept if not backup.get("error")]
        return tuple(sorted(map(_backup, good), key=lambda backup: backup.ended))

    @property
    def volume(self) -> DirectoryVolume:
        """The file system of the repository."""
        return DirectoryVolume(self._layout.repository)

    def labels(self) -> tuple[str, ...]:
        """Return the names of all backups, good or not, as directories of the repository."""
        found = self._layout.repository.glob("backup/pgdrill/*/backup.manifest")
        return tuple(sorted(manifest.parent.name for manifest in found))

    def places(self) -> tuple[tuple[Path, Path], ...]:
        """Return the repository's directories, each with the name that it is moved aside to."""
        names = ("archive", "backup")
        return tuple(
            (self._layout.repository / n, self._layout.repository / f".{n}") for n in names
        )

    def repair_store(self) -> None:
        """Undo what a drill has done to the repository: it may have been killed before it could."""
        self.volume.release()
        for directory, aside in self.places():
            if aside.exists():
                shutil.rmtree(directory, ignore_errors=True)
                aside.rename(directory)
        closed = self._layout.repository / "archive"
        if closed.exists():
            closed.chmod(0o750)

    def back_up(self, update: Update, *, differential: bool = False) -> Backup:
        """Take a backup of the primary and return it; a first one is full in any case.

        Raises:
            BrokenEnvironmentError: it failed, with the reason.
        """
        try:
            return self._take(update, "diff" if differential else "full")
        except BrokenEnvironmentError:
            self._remember_failure()
            raise

    def _take(self, update: Update, kind: str) -> Backup:
        before = {backup.label for backup in self.backups()}
        if not before:
            # Known to the repository already, unless the first primary's own attempt was cut off.
            self._run("stanza-create", within=LOOK_WITHIN)
        update(0, "copying")
        self._run(f"--type={kind}", "backup", within=timeouts.BACKUP_TAKEN)
        made = [backup for backup in self.backups() if backup.label not in before]
        if not made:
            raise BrokenEnvironmentError("pgBackRest ended well, and there is no new backup")
        return made[-1]

    def _remember_failure(self) -> None:
        """Export by node-exporter when a backup last failed: pgBackRest keeps only good ones."""
        file = self._layout.path / "run" / "metrics" / "backup-failed.prom"
        draft = file.with_suffix(".part")  # the collector reads *.prom
        draft.write_text(f"pgdrill_archive_failed_backup_seconds {time.time():.0f}\n")
        draft.replace(file)

    def _run(self, *arguments: str, within: float) -> str:
        """Run pgBackRest on the primary, as the members' user.

        Raises:
            BrokenEnvironmentError: it failed, with its own reason.
        """
        try:
            done = subprocess.run(
                [*self._layout.pgbackrest(), *arguments],
                capture_output=True,
                text=True,
                timeout=within,
                cwd=self._layout.path,
                env=self._environment(),
                user=self._layout.user if os.geteuid() == 0 else None,
                group=self._layout.user if os.geteuid() == 0 else None,
                extra_groups=[] if os.geteuid() == 0 else None,
            )
        except subprocess.TimeoutExpired:
            raise BrokenEnvironmentError(
                f"pgBackRest did not end within {within:g} s: is the repository's disk stuck?"
            ) from None
        if done.returncode:
            raise BrokenEnvironmentError(f"pgBackRest: {_reason(done.stdout + done.stderr)}")
        return done.stdout

    def _environment(self) -> dict[str, str]:
        member = self._platform.engine.promoted().partition(",")[0] or next(iter(layouts.MEMBERS))
        return {
            "PATH": os.defpath,
            "LC_ALL": "C.UTF-8",
            "PGHOST": layouts.MEMBERS[member],
            "PGPORT": str(self._layout.port("postgres")),
            "PGPASSFILE": str(self._layout.path / "etc" / "backup-passfile"),
            "PGBACKREST_PG1_PATH": str(self._layout.data(member)),
            "PGBACKREST_PG1_PORT": str(self._layout.port("postgres")),
        }

    def _info(self) -> list[dict[str, Any]]:
        """Return pgBackRest's description of every stanza."""
        return list(json.loads(self._run("info", "--output=json", within=LOOK_WITHIN)))

    def _last_file(self) -> str:
        """Return the name of the last WAL file that the archive holds, '' where it holds none."""
        return max(
            (a["max"] or "" for stanza in self._info() for a in stanza["archive"]), default=""
        )

    def _holds(self, file: str) -> bool:
        """Whether a WAL file is in the repository."""
        found = self._layout.repository.glob(f"archive/pgdrill/*/*/{file}-*")
        return next(found, None) is not None

    def _demand_room(self, backup: Backup) -> None:
        """Refuse where three members of a restored cluster would not fit.

        Raises:
            BrokenEnvironmentError: with what is free and what is needed.
        """
        free = shutil.disk_usage(self._layout.path).free // 2**20
        needed = 3 * backup.size // 2**20 + SPARE_MB
        if free < needed:
            raise BrokenEnvironmentError(
                f"only {free} MB free under {self._layout.path}, {needed} needed for three members"
                " of a restored cluster: free some"
            )

    def _make(self, target: Target, backup: Backup, over: Over, update: Update) -> None:
        """Let the first member come from the archive, and the others from the first.

        Raises:
            BrokenEnvironmentError: it failed, with the reason.
        """
        stored = self._last_file()
        self._platform.play(
            "restore.yml", {"pgdrill_restore": self._command(target, backup)}, update
        )
        over("prepared")
        supervisor = self._platform.supervisor
        supervisor.load()
        first, *others = RESTORED
        supervisor.start("haproxy-restored")
        supervisor.start(f"patroni-{first}")
        data = self._layout.data(first)
        cluster, engine = self._beside()
        self._await("base copy", lambda: (data / "global" / "pg_control").exists(), update)
        over("base copy")
        self._await("replay", lambda: recovered(data, stored), update)
        over("replay")
        if target.kind == "latest":
            history = max((data / "pg_wal").glob("*.history")).read_text()
            demand_all_wal(history, stored, backup.segment)
        self._await("a primary", lambda: engine.promoted() == first, update)
        over("promotion")
        for other in others:
            supervisor.start(f"patroni-{other}")
        self._await("the first write", lambda: accepts_writes(cluster), update)
        over("first write")
        self._await("full redundancy", lambda: redundant(cluster, engine), update)
        over("redundancy")

    def _failure(self) -> str:
        """Why recovery ended early; '' while it continues."""
        return _failure(self._layout.path / "log" / f"patroni-{next(iter(RESTORED))}.log")

    def _command(self, target: Target, backup: Backup) -> str:
        words = [*self._layout.pgbackrest(), f"--set={backup.label}", "--log-level-console=info"]
        if target.kind == "latest":
            words.append("--type=default")
        else:
            words += [f"--type={target.kind}", f"--target={target.text}", "--target-action=promote"]
        return shlex.join([*words, "restore"])

    def _beside(self) -> tuple[Cluster, PatroniEngine]:
        """Return the restored cluster's handle and engine, whether or not it is there."""
        layout, address = self._layout, layouts.ADDRESSES["restored"]
        cluster = Cluster(
            name="restored",
            read_write=Endpoint(address, layout.port("rw")),
            read_only=Endpoint(address, layout.port("ro")),
            members={m: layout.member_endpoint(m) for m in RESTORED},
            database="shop",
            user="pgdrill",
            passfile=layout.path / "etc" / "passfile",
        )
        engine = PatroniEngine(
            rest={m: f"http://{layout.member_endpoint(m, 'rest')}" for m in RESTORED},
            etcd=f"http://{layout.endpoint('etcd')}",
            incarnation=lambda m: MemberProcesses(m, layout.data(m)).incarnation(),
            scope="restored",
        )
        return cluster, engine

    def discard(self) -> None:
        """Remove the restored cluster; safe to repeat, and after an interrupted restore.

        Raises:
            BrokenEnvironmentError: a process uses one of its volumes.
        """
        layout = self._layout
        supervisor = self._platform.supervisor
        for name in supervisor.states():
            if name == "haproxy-restored" or name.removeprefix("patroni-") in RESTORED:
                supervisor.remove(name)
        for member in RESTORED:
            MemberProcesses(member, layout.data(member)).kill()
            end_commands(layout.data(member))
        self._beside()[1].forget()
        (layout.path / "etc" / "programs" / "restored.conf").unlink(missing_ok=True)
        (layout.path / "etc" / "haproxy-restored.cfg").unlink(missing_ok=True)
        for member in RESTORED:
            self._platform.unmount(layout.volume(member))
            shutil.rmtree(layout.volume(member), ignore_errors=True)
            shutil.rmtree(layout.path / "run" / member, ignore_errors=True)
            (layout.path / "volumes" / f"{member}.img").unlink(missing_ok=True)
            (layout.path / "etc" / f"patroni-{member}.yml").unlink(missing_ok=True)
            (layout.path / "log" / f"patroni-{member}.log").unlink(missing_ok=True)
        release()
        self._record.unlink(missing_ok=True)


def _backup(said: Mapping[str, Any]) -> Backup:
    return Backup(
        label=said["label"],
        began=datetime.fromtimestamp(said["timestamp"]["start"], UTC),
        ended=datetime.fromtimestamp(said["timestamp"]["stop"] + 1, UTC),  # in whole seconds
        first_lsn=said["lsn"]["start"],
        last_lsn=said["lsn"]["stop"],
        size=said["info"]["size"],
        stored=said["info"]["repository"]["delta"],
    )


def recovered(data: Path, stored: str) -> bool:
    """Whether recovery is over: a timeline has begun that the archive does not hold.

    stored: the last WAL file in the archive. The absence of a recovery request is not enough:
    PostgreSQL removes the request a moment before it writes the new timeline's history,
    and the archive's own histories are in the same directory.
    """
    timelines = (int(file.stem, 16) for file in (data / "pg_wal").glob("*.history"))
    return max(timelines, default=0) > int(stored[:8] or "0", 16)


def _reason(said: str) -> str:
    """Return pgBackRest's error message, in one line."""
    errors = re.findall(r"(?:ERROR|WARN): (.*)", said)
    return "; ".join(errors)[:400] or said.strip().splitlines()[-1][:400] if said.strip() else "?"


def _failure(log: Path) -> str:
    """Return why a recovery ended early; '' while it continues."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    for line in lines:
        if "recovery ended before configured" in line or re.search(r"ERROR: \[\d+\]", line):
            return line.partition("FATAL: ")[2].strip() or line.partition("ERROR: ")[2].strip()
    return ""
