"""The differences between a running platform and its playbook, found by a dry run."""

import json
import subprocess
import sys
from pathlib import Path

from pgdrill.errors import BadUsageError, BrokenEnvironmentError
from pgdrill.platforms.local import layout as local
from pgdrill.progress import Reporter
from pgdrill.provision import playbook

# Only what differs is printed.
QUIET = {"ANSIBLE_DISPLAY_OK_HOSTS": "false", "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "false"}


def show(platform: str, reporter: Reporter) -> int:
    """Print the differences and return how many things differ; nothing is changed.

    Raises:
        BadUsageError: the platform is the user's own cluster.
        BrokenEnvironmentError: nothing is running, or the playbook cannot look.
    """
    if platform == "kube":
        raise BadUsageError("pgdrill declares no existing cluster: drift works on kind and local")
    on_kind = platform == "kind"
    variables = _state_dir(on_kind) / "vars.json"
    if not variables.exists():
        raise BrokenEnvironmentError("nothing is running here: `make up` first")
    # Of when it was brought up: what was missing then is installed now.
    more = {} if on_kind else {"pgdrill_missing_packages": local.missing_packages()}
    command = playbook.command(
        "kubernetes.yml" if on_kind else "site.yml",
        variables,
        f"--extra-vars={json.dumps(more)}",
        "--check",
        "--diff",
    )
    environment = playbook.play_environment(reporter.line, collection=on_kind) | QUIET
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=playbook.PLAY_WITHIN
        )
    except subprocess.TimeoutExpired:
        raise BrokenEnvironmentError(
            f"the playbook still looked after {playbook.PLAY_WITHIN:g} s"
        ) from None
    sys.stdout.write(done.stdout)
    if done.returncode:
        raise BrokenEnvironmentError(f"the playbook cannot look: {done.stderr.strip()[-400:]}")
    return playbook.changed(done.stdout)


def _state_dir(on_kind: bool) -> Path:
    if not on_kind:
        return local.state_dir()
    from pgdrill.platforms.kind import state  # noqa: PLC0415  # it brings the client of Kubernetes

    return state.state_dir()
