"""Running playbooks of infra/ansible with the collection and the files that it needs."""

import hashlib
import os
import re
import shutil
import sys
import zipfile
from pathlib import Path

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.provision import wheels
from pgdrill.provision.commands import Say, logged
from pgdrill.settings import ROOT, cache_dir

LOCK = ROOT / "requirements/collections.lock"  # why this package: see collections.in
COLLECTION = "ansible_collections/kubernetes/core/"
PLAY_WITHIN = 900.0  # seconds; 60 were seen
# Ansible demands a UTF-8 locale, and macOS has no C.UTF-8. It also forks, after which macOS kills
# whoever touches Objective-C, as a look at the system's proxies does: the play needs no proxy.
SURROUNDINGS = (
    {"LC_ALL": "en_US.UTF-8", "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES", "no_proxy": "*"}
    if sys.platform == "darwin"
    else {"LC_ALL": "C.UTF-8"}
)


def collections(say: Say) -> Path:
    """Return a directory that holds kubernetes.core, fetched by its hash on first use.

    Only the collection (1 MB) is kept of the package that brings it.
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


def play(variables: Path, log: Path, say: Say, *options: str, book: str = "kubernetes.yml") -> str:
    """Run a playbook; return its output.

    Raises:
        BrokenEnvironmentError: a task failed; with its first complaint.
    """
    command: list[str | Path] = [
        Path(sys.executable).with_name("ansible-playbook"),
        ROOT / "infra/ansible" / book,
        "--extra-vars",
        f"@{variables}",
        "--inventory=localhost,",
        *options,
    ]
    try:
        logged(
            "ansible-playbook",
            command,
            log,
            say,
            within=PLAY_WITHIN,
            environment=environment(say),
        )
    except BrokenEnvironmentError:
        complaints = re.findall(r"^(?:fatal|failed|ERROR|\[ERROR).*", log.read_text(), re.M)
        why = complaints[0][:400] if complaints else "see its log"
        raise BrokenEnvironmentError(f"the playbook failed: {why} (log: {log})") from None
    return log.read_text()


def environment(say: Say, *, collection: bool = True) -> dict[str, str]:
    """Return what ansible-playbook needs to find everything by itself."""
    ours = {
        "ANSIBLE_CONFIG": str(ROOT / "infra/ansible/ansible.cfg"),
        "ANSIBLE_HOME": str(cache_dir() / "ansible"),
        "ANSIBLE_FORCE_COLOR": "0",
    }
    if collection:
        ours["ANSIBLE_COLLECTIONS_PATH"] = str(collections(say))
    return os.environ | SURROUNDINGS | ours


def changed(recap: str) -> int:
    """Return how many tasks changed something, from the play's last line."""
    found = re.search(r"^localhost\s*:.*\bchanged=(\d+)", recap, re.M)
    if found is None:
        raise BrokenEnvironmentError("the playbook ended without a recap")
    return int(found.group(1))
