"""A load that is cut off leaves no timing, and pytest's own exit code."""

import json
import os
import subprocess
import sys
from pathlib import Path

from pgdrill.settings import ROOT

CUT_OFF = """
def test_whole(benchmark):
    benchmark.pedantic(lambda: None, rounds=1)

def test_cut_off(benchmark):
    def load():
        raise KeyboardInterrupt
    benchmark.pedantic(load, rounds=1)
"""


def test_ctrl_c_during_a_timed_load(tmp_path: Path) -> None:
    """The run ends as interrupted, with the timings of what was whole, and without a traceback."""
    (tmp_path / "test_load.py").write_text(CUT_OFF)
    timings = tmp_path / "benchmark.json"
    plugin = ["-p", "pgdrill.plugin.report", f"--benchmark-json={timings}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugin],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert "INTERNALERROR" not in done.stdout + done.stderr
    kept = json.loads(timings.read_text())["benchmarks"]
    assert [one["name"] for one in kept] == ["test_whole"]
