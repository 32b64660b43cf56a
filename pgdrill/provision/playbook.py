"""Running playbooks of infra/ansible with the collection and the files that it needs."""

import hashlib
import json
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.progress import Update
from pgdrill.provision import wheels
from pgdrill.provision.commands import Say, TimeUpError, logged
from pgdrill.settings import ROOT, cache_dir

LOCK = ROOT / "requirements/collections.lock"  # why this package: see collections.in
COLLECTION = "ansible_collections/kubernetes/core/"
PLAY_WITHIN = 900.0  # seconds; 60 were seen
# Ansible demands a UTF-8 locale, and macOS has no C.UTF-8. It also forks, after which macOS kills
# any process that touches Objective-C, as reading the system's proxies does: no proxy is needed.
LOCALE = (
    {"LC_ALL": "en_US.UTF-8", "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES", "no_proxy": "*"}
    if sys.platform == "darwin"
    else {"LC_ALL": "C.UTF-8"}
)


def collections(say: Say) -> Path:
    """Return a directory that holds kubernetes.core, fetched by its hash on first use.

    Only the collection (1 MB) is kept of the package that contains it.
    """
    locked = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    target = cache_dir() / "collections" / locked
    if target.exists():
        return target
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        say("fetching the Ansible collection kubernetes.core")
        wheels.fetch(LOCK, partial)
        wheel = next(partial.glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            members = [name for name in archive.namelist() if name.startswith(COLLECTION)]
            archive.extractall(partial, members)
        wheel.unlink()
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def command(book: str, variables: Path, *options: str) -> list[str | Path]:
    """Return the command line of a playbook of infra/ansible with a file of variables."""
    return [
        Path(sys.executable).with_name("ansible-playbook"),
        ROOT / "infra/ansible" / book,
        "--inventory=localhost,",
        f"--extra-vars=@{variables}",
        *options,
    ]


def play(
    book: str,
    variables: Path,
    log: Path,
    say: Say,
    *options: str,
    environment: Mapping[str, str],
    within: float = PLAY_WITHIN,
    update: Update | None = None,
    end: Callable[[], object] | None = None,
    remedy: str = "",
) -> str:
    """Run a playbook for at most within seconds; return its output.

    update is called with the number of tasks that have begun and the name of the latest. end
    is called when the playbook is ended early (see `logged`). remedy ends the text of an error.

    Raises:
        BrokenEnvironmentError: a task failed, with the first complaint in the log; or time is up.
    """
    try:
        logged(
            "ansible-playbook",
            command(book, variables, *options),
            log,
            say,
            within=within,
            environment=environment,
            poll=None if update is None else partial(_show_task, log, update),
            end=end,
        )
    except BrokenEnvironmentError as error:
        why = complaint(log.read_text())
        if not why and isinstance(error, TimeUpError):
            raise
        raise BrokenEnvironmentError(
            f"the playbook failed: {why or 'no reason given'} (log: {log}){remedy}"
        ) from None
    return log.read_text()


def _show_task(log: Path, update: Update) -> None:
    tasks = re.findall(r"^TASK \[(?:\w+ : )?(.*?)\]", log.read_text(), re.M)
    update(len(tasks), tasks[-1] if tasks else "")


def play_environment(say: Say, *, collection: bool = True) -> dict[str, str]:
    """Return the environment of ansible-playbook, which needs nothing else."""
    ours = {
        "ANSIBLE_CONFIG": str(ROOT / "infra/ansible/ansible.cfg"),
        "ANSIBLE_HOME": str(cache_dir() / "ansible"),
        "ANSIBLE_FORCE_COLOR": "0",
    }
    if collection:
        ours["ANSIBLE_COLLECTIONS_PATH"] = str(collections(say))
    return os.environ | LOCALE | ours


def changed(recap: str) -> int:
    """Return how many tasks changed something, from the play's last line."""
    found = re.search(r"^localhost\s*:.*\bchanged=(\d+)", recap, re.M)
    if found is None:
        raise BrokenEnvironmentError("the playbook ended without a recap")
    return int(found.group(1))


def complaint(log: str) -> str:
    """Return why a playbook failed, by its log, in one line; '' where no task has.

    Of a command that is the first line of its stderr: Ansible's own message is only that the
    exit status was not 0.
    """
    found = re.search(r"^(?:fatal|failed): .*?(?:=> )?(\{.*\})$", log, re.M)
    if found:
        try:
            result = json.loads(found[1])
        except ValueError:
            result = {}
        # module_stderr: of a module that could not be run at all.
        for name in ("stderr", "module_stderr", "msg"):
            if lines := str(result.get(name, "")).strip().splitlines():
                return lines[0][:400]
    first = re.search(r"^(?:fatal|failed|\[?ERROR)\W.*", log, re.M)
    return first[0][:400] if first else ""
