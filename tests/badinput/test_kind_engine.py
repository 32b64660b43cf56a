"""An engine of ours, killed and ended for real, on a machine of its own made of namespaces."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pgdrill.settings import ROOT

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("dockerd"), reason="needs root and an installed dockerd"
)


def test_a_killed_engine_is_started_again_and_leaves_nothing(tmp_path: Path) -> None:
    """After SIGKILL, another start and a stop, no process, bridge or packet filter rule is left."""
    alone = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc"]
    own_run = ["sh", "-c", 'mount -t tmpfs none /run && exec "$@"', "sh"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DOCKER_")}
    done = subprocess.run(
        [*alone, *own_run, sys.executable, "-m", "tests.badinput.engine_life"],
        env=environment | {"PGDRILL_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "programs left: []" in done.stdout, done.stdout
    assert done.stdout.count("network: as before") == 4, done.stdout
