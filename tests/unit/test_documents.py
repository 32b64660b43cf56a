"""Links in README and docs are valid, and every command in them can be run."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from pgdrill.__main__ import parser
from pgdrill.faults.catalogue import FAULTS
from pgdrill.platforms.kind import preflight, state
from pgdrill.platforms.local import layout
from pgdrill.settings import BY_KEY, ROOT, resolve

pytestmark = pytest.mark.unit

DOCUMENTS = (*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md")))
LINES = 170  # of the README: what a newcomer reads before the first command has ended


def name(document: Path) -> str:
    """Return its path in the repository."""
    return str(document.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_link_leads_to_a_file(document: Path) -> None:
    """A link to another site is not followed; any other has to be there."""
    targets = re.findall(r"\]\(([^)#\s]+)", document.read_text())
    missing = [
        target
        for target in targets
        if "://" not in target and not (document.parent / target).exists()
    ]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_make_target_that_is_named_exists(document: Path) -> None:
    """Only commands in code count: `make NAME ...`, or a line of a block."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert targets
    text = document.read_text()
    named = set(re.findall(r"`make ([a-z]+)", text)) | set(
        re.findall(r"^make ([a-z]+)", text, re.M)
    )
    assert not named - targets


def test_the_readme_is_for_a_newcomer() -> None:
    """Everything for later has a page of its own below docs, and each of those is linked."""
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= LINES
    pages = {path.name for path in ROOT.glob("docs/*.md")}
    assert not {page for page in pages if f"docs/{page}" not in text}


def test_the_sizes_are_those_that_up_demands() -> None:
    """The table of docs/sizing.md has the limits of the code."""
    text = (ROOT / "docs/sizing.md").read_text()
    rows = [row.split("|")[1:5] for row in text.splitlines() if row.startswith("| ")]
    _, local, pulled, built = zip(*rows, strict=True)
    assert [cell.split()[:2] for cell in local[1:4]] == [
        [str(layout.NEEDED_MEMORY_MB), "MB"],
        [str(layout.NEEDED_DISK_MB), "MB"],
        [str(layout.NEEDED_DISK_MB), "MB"],
    ]
    for column, first in ((pulled, preflight.NEEDED_TO_PULL_GB), (built, preflight.NEEDED_FREE_GB)):
        demanded = (preflight.NEEDED_MEMORY_GB, first, preflight.NEEDED_TO_RUN_GB)
        assert [cell.split()[:2] for cell in column[1:4]] == [[str(gb), "GB"] for gb in demanded]
    for volume in (state.VOLUME_MB, state.ARCHIVE_MB, layout.VOLUME_MB):
        assert f"{volume} MB" in text


# -- commands -------------------------------------------------------------------------------------

MANUAL = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md")))
PYTHON = ".venv/bin/python"
SIZES = "the same command runs with the sizes of a profile; with these it takes an hour"
IN_ONE_LINE = "its suite runs in one line with others, in `make drill` or `make test`"
HOURS = "half an hour on a machine with nothing else to do: by hand, see docs"
# What begins a command in a line of text; other words in code are none.
BEGINS = re.compile(
    r"(PYTHONPATH=\. )?"
    r"(\.venv/bin/|make\b|python -m |pytest -|pip install|pgdrill [a-z]|\.ci/run|kubectl )"
)

# Every command of the manual stands in one of the next three, and only there.
# 1. Executed elsewhere: the file and the text in it that does it.
EXECUTED = {
    ("Makefile", "$(MAKE) --no-print-directory drill"): ["make drill"],
    ("Makefile", "test: venv chromium lint up"): ["make lint", "make up", "make venv"],
    ("Makefile", "$(MAKE) --no-print-directory unit"): ["make unit"],
    ("Makefile", "$(MAKE) --no-print-directory down"): ["make down"],
    (".ci/run", "make test ;;"): ["make test"],
    (".ci/run", "make up PLATFORM=kind"): ["make up PLATFORM=kind"],
    (".ci/run", "make down PLATFORM=kind"): ["make down PLATFORM=kind"],
    (".ci/run", "make bench PLATFORM=kind"): ["make bench"],
    (".ci/run", "make recovery PLATFORM=kind"): [
        "make recovery",
        "make recovery PLATFORM=kind ARCHIVE=1",
    ],
    (".github/workflows/ci.yml", "run: .ci/run kind"): [".ci/run"],
    (".github/workflows/ci.yml", "run: make manifests"): ["make manifests"],
    ("tests/badinput/test_hostile_shell.py", '.pgdrill("seed"'): ["make seed"],
    ("tests/badinput/test_running.py", '"--reseed"'): ["make seed RESEED=1"],
    ("tests/badinput/test_running.py", '.pgdrill("status"'): ["make status"],
    ("tests/badinput/test_running.py", '.pgdrill("backup"'): ["make backup"],
    ("tests/badinput/test_running.py", '.pgdrill("restore", str(at[0]'): [
        "make restore AT=...",
        "make restore AT=2026-11-27T09:30:00Z",
    ],
    ("tests/badinput/test_running.py", '.pgdrill("discard"'): ["make discard"],
    ("tests/badinput/test_running.py", '.pytest("-m", "smoke"'): ["... -m smoke", "make smoke"],
    ("tests/watch/conftest.py", '"pgdrill", "watch", *words'): [
        "pgdrill watch",
        "pgdrill watch DSN [--for 10m] [--read-only DSN] [--rate 50] [--deadline 2]"
        " [--budget watch.write-gap=5]",
        f'{PYTHON} -m pgdrill watch "postgresql://app@db.example/app"',
    ],
    ("tests/watch/test_watch.py", 'kept.conninfo, "--clean"'): ["pgdrill watch --clean DSN"],
    ("tests/watch/test_watch.py", '.pgdrill("report"'): [
        "make report RUN=<id> BUDGET=KEY=5",
        "pgdrill report",
        "python -m pgdrill report RUN",
    ],
    ("tests/unit/test_kube.py", 'main(["kube", "preflight"'): ["pgdrill kube preflight"],
    ("tests/unit/test_kube.py", '["kube", "rules"'): ["pgdrill kube rules"],
    ("tests/unit/test_kube.py", 'main(["init", "--context=ours"'): [
        "pgdrill init --context=staging"
    ],
    ("tests/unit/test_patroni.py", 'main(["init", *words]'): [
        "pgdrill init --patroni=http://db1:8008"
    ],
    ("tests/unit/test_patroni.py", 'main(["patroni", "preflight"'): ["pgdrill patroni preflight"],
    ("tests/unit/test_patroni.py", 'main(["patroni", "sweep"'): ["pgdrill patroni sweep"],
    ("tests/badinput/conftest.py", '.pgdrill("down"'): ["pgdrill down"],
    ("tests/unit/test_compare.py", 'main(["compare"'): ['make compare RUNS="<id> <id>"'],
    ("tests/unit/test_installed.py", "hatchling"): [
        "pip install .",
        "pip install /path/to/pgdrill",
    ],
    ("tests/unit/test_installed.py", '["budgets"]'): ["make budgets"],
    ("tests/unit/test_installed.py", '["images"]'): ["make images"],
}
# 2. Executed by the test below: they change nothing and need no cluster.
HARMLESS = {
    "make": "explain the targets",
    "pytest --fixtures": "drill",
    f"{PYTHON} -m pgdrill experiment": "primary_kill",
    f"{PYTHON} -m pgdrill experiment primary_kill": "steady-state-hypothesis",
    "python -m pgdrill experiment": "primary_kill",
}
# 3. Not executed, and why.
NOT_EXECUTED = {
    SIZES: [
        "make bench DURATION=300 CLIENTS=16",
        "make chaos TRIALS=9",
        "make chaos PLATFORM=kind TRIALS=9",
        "make recovery PLATFORM=local TRIALS=9",
        f"{PYTHON} -m pytest -m perf --duration=300 --clients=16",
        f"{PYTHON} -m pytest -m chaos --trials=9",
        f"{PYTHON} -m pytest -m chaos --trials=9 -k primary_kill",
    ],
    IN_ONE_LINE: [
        "make alerts",
        "make controls",
        "make drill PLATFORM=local",
        "make drill PLATFORM=kind",
        f"{PYTHON} -m pytest -m alerts",
        f"{PYTHON} -m pytest -m recovery",
        "... -m controls",
        "pytest -m controls",
    ],
    HOURS: [
        "make scale PLATFORM=kind",
        f"{PYTHON} -m pytest -m scale --platform=kind",
        "make up PLATFORM=kind ARCHIVE=1",
        "make mutants",
        "make pulled",
        "make down up",
    ],
    "needs a mirror; `make pulled` has one of its own": [
        "make drill PLATFORM=kind REGISTRY_MIRROR=https://mirror.example",
        "make drill PLATFORM=kind REGISTRY_MIRROR="
        "docker.io=https://mirror.example/hub,quay.io=https://mirror.example/quay",
    ],
    "needs a platform that is up": [
        "make drift",
        "make drift PLATFORM=kind",
        "pgdrill up",
        "pytest test_mine.py --platform=local --profile=quick",
        "PYTHONPATH=. .venv/bin/chaos run /tmp/primary_kill.yaml",
        "kubectl --namespace pgdrill-monitoring port-forward service/grafana 3000",
        "kubectl get backups --output custom-columns=NAME:.metadata.name,ID:.status.backupId",
    ],
    "writes into the checkout; what it calls has tests": [
        "make dashboards",
        "make lock",
    ],
    "needs a user's cluster, and no test has one": [
        "kubectl apply --namespace=db -f infra/kube/rbac.yaml",
        "kubectl apply -f infra/kube/node.yaml",
        "kubectl create rolebinding pgdrill-node --namespace=pgdrill-node --role=pgdrill-node"
        " --serviceaccount=db:pgdrill",
        "pgdrill kube preflight --level=node",
        "pgdrill patroni preflight --level=node",
        "pytest --level=node --yes-break=pgdrill --trials=1",
        "pgdrill kube preflight --context=staging",
        "pytest -m chaos --context=staging --level=fault --yes-break=drilled",
        "pgdrill down --context=staging",
        "kubectl apply -f infra/kube/own.yaml && kubectl apply --namespace=pgdrill -f"
        " infra/kube/rbac.yaml",
        "pytest -m chaos --level=node --profile=full --trials=1",
        "pgdrill kube sweep",
        "pytest -m chaos --level=fault --trials=3",
        "pytest -m chaos --level=fault --prober-image=registry.example/pgdrill:1",
        "pytest -m perf --level=load",
        "pytest -m perf --level=load --load=cluster --load-workers=3",
        "pytest -m smoke",
    ],
    "stand-ins for another machine, for the tests in badinput and for work by hand": [
        "python -m tests.as_mac",
        "python -m tests.desktop COMMAND",
        "python -m tests.idle",
        "python -m tests.foreign up",
    ],
}


def _blocks(document: Path) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", document.read_text(), re.S | re.M)


def _written(block: str) -> dict[str, str]:
    """Return the files that a block writes by `cat`, with their text."""
    return dict(re.findall(r"^cat > (\S+) <<'END'\n(.*?)^END$", block, re.S | re.M))


def _commands(document: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each command of a document, and the files that its block writes before."""
    for block in _blocks(document):
        files = _written(block)
        plain = re.sub(r"^cat > .*?^END$", "", block, flags=re.S | re.M)
        for line in filter(str.strip, plain.splitlines()):
            yield re.split(r"\s+#| > ", line)[0].strip(), files
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.S | re.M)
    for code in re.findall(r"`([^`]+)`", text):
        command = " ".join(code.split())
        if BEGINS.match(command) or command.startswith("... -m "):
            yield command, {}


COMMANDS = {command: files for document in MANUAL for command, files in _commands(document)}


def test_every_command_is_executed_or_listed_with_the_reason() -> None:
    """Each once, none that the manual no longer has, and what executes it is there."""
    executed = [command for commands in EXECUTED.values() for command in commands]
    listed = [command for commands in NOT_EXECUTED.values() for command in commands]
    accounted = [*executed, *HARMLESS, *listed]
    assert sorted(accounted) == sorted(set(accounted))
    assert set(COMMANDS) - set(accounted) == set(), "neither executed nor listed"
    assert set(accounted) - set(COMMANDS) == set(), "not in the manual any more"
    gone = [(file, text) for file, text in EXECUTED if text not in (ROOT / file).read_text()]
    assert not gone


def _surroundings() -> dict[str, str]:
    foreign = ("PGDRILL_", "PYTEST", "MAKE", "MFLAGS")
    return {k: v for k, v in os.environ.items() if not k.startswith(foreign)}


def _run(words: Sequence[str], where: Path = ROOT, extra: Mapping[str, str] | None = None) -> str:
    """Run a command that has to succeed and return what it printed."""
    env = _surroundings() | dict(extra or {})
    done = subprocess.run(words, cwd=where, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{shlex.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("command", HARMLESS)
def test_a_harmless_command_does_what_the_manual_says(command: str) -> None:
    """As it stands, in the checkout."""
    assert HARMLESS[command] in _run(_in_venv(shlex.split(command)))


def _in_venv(words: list[str]) -> list[str]:
    """Return a command line with the interpreter that runs this test."""
    first, *rest = words
    if first in (PYTHON, "python"):
        return [sys.executable, *rest]
    if first == "...":
        return [sys.executable, "-m", "pytest", *rest]
    return [sys.executable, "-m", "pytest", *rest] if first == "pytest" else words


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command: str, tmp_path: Path) -> None:
    """By the parser of the very program: targets, options, values, marks, faults."""
    words = [word for word in _in_venv(shlex.split(command)) if word != "PYTHONPATH=."]
    for file, text in COMMANDS[command].items():
        (tmp_path / file).write_text(text)
    match words:
        case ["make", *rest]:
            _understood_by_make(rest)
        case [_, "-m", "pytest", *rest]:
            if COMMANDS[command]:  # in the reader's own folder, with pgdrill installed
                where, plugin = tmp_path, ["-p", "pgdrill.plugin"]
            else:
                where, plugin = ROOT, []
            collect = [*plugin, *rest, "--collect-only", "-q"]
            _run([sys.executable, "-m", "pytest", *collect], where, {"PYTHONPATH": str(ROOT)})
        case [_, "-m", "pgdrill", *rest] | ["pgdrill", *rest]:
            _understood_by_pgdrill([word.strip("[]") for word in rest])
        case ["export", *rest]:
            given = dict(word.split("=", 1) for word in rest)
            assert {name.removeprefix("PGDRILL_").lower() for name in given} <= set(BY_KEY)
            resolve({}, given, Path("/nonexistent"))
        case [_, "-m", module, *_] if module.startswith("tests."):
            assert importlib.util.find_spec(module)
        case [".venv/bin/chaos", verb, _]:
            _run(
                [str(Path(sys.executable).with_name("chaos")), verb, "--help"], tmp_path
            )  # it logs
        case [".ci/run", *rest]:
            assert os.access(ROOT / ".ci/run", os.X_OK)
            assert set(rest) <= {"local", "kind"}
        case [program, *_]:
            assert program in ("pip", "kubectl"), "no parser here: only listed above"


def _understood_by_pgdrill(words: Sequence[str]) -> None:
    if len(words) == 1:  # a command that is named in a sentence, without what it needs
        with pytest.raises(SystemExit, match="0"):
            parser().parse_args([*words, "--help"])
        return
    given = vars(parser().parse_args(words))
    assert not given.get("fault") or given["fault"] in FAULTS


def _understood_by_make(words: Sequence[str]) -> None:
    _run(["make", "--dry-run", *words])
    makefile = (ROOT / "Makefile").read_text()
    for name, _, value in (word.partition("=") for word in words if "=" in word):
        if name.lower() in BY_KEY:
            resolve({name.lower(): value}, {}, Path("/nonexistent"))
            assert re.search(rf"^OPTIONS :=(.*\\\n)*.*\b{name}\b", makefile, re.M)
        else:
            assert f"$({name})" in makefile, f"make knows no {name}"
