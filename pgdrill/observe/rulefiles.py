"""`python -m pgdrill.observe.rulefiles FILE...`: check that Prometheus accepts these files."""

import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pgdrill.settings import ROOT

CHECK_WITHIN = 60.0  # seconds; a dozen files take half a second
HEADINGS = (
    "Checking ",
    "Unit Testing:",
    "SUCCESS:",
    "FAILED:",
)  # lines of promtool without a finding


def alerts() -> dict[str, Mapping[str, Any]]:
    """Return the rule of every alert in infra/alerts/rules, by name."""
    return alerts_of(groups(sorted((ROOT / "infra/alerts/rules").glob("*.yaml"))))


def groups(files: Iterable[Path]) -> Iterator[Mapping[str, Any]]:
    """Read the groups of rule files."""
    for file in files:
        yield from yaml.safe_load(file.read_text())["groups"]


def alerts_of(of: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the rule of every alert in groups, by name, without recording rules."""
    return {rule["alert"]: rule for group in of for rule in group["rules"] if "alert" in rule}


def complaints(files: Sequence[Path], promtool: str | None) -> list[str]:
    """Return the defects, a line for each with its file and, where known, its line number.

    promtool None: only the YAML is looked at, not the rules and their expressions.
    """
    found = [said for file in files for said in _no_yaml(file)]
    if found or promtool is None:
        return found
    done = subprocess.run(
        [promtool, "check", "rules", *map(str, files)],
        capture_output=True,
        text=True,
        timeout=CHECK_WITHIN,
    )
    return defects(done.stdout + done.stderr) if done.returncode else []


def _no_yaml(file: Path) -> Iterator[str]:
    try:
        yaml.safe_load(file.read_text())
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        yield f"{file}:{line}: {error.problem}"


def defects(said: str) -> list[str]:
    """Return what promtool found wrong: an indented line continues the one before it."""
    found: list[str] = []
    for line in said.splitlines():
        text = line.strip()
        if not text or text.startswith(HEADINGS):
            continue
        if line.startswith(" ") and found:
            found[-1] += f" {text}"
        else:
            found.append(text)
    return list(dict.fromkeys(found))


def main(names: Sequence[str]) -> int:
    """Print every complaint; return 1 where there is one."""
    promtool = shutil.which("promtool")
    found = complaints([Path(name) for name in names], promtool)
    for line in found:
        print(line, file=sys.stderr)
    if promtool is None:
        print("rules: promtool is missing (`make up` installs it): only their YAML was checked")
    elif not found:
        print(f"rules: promtool takes all {len(names)} files")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
