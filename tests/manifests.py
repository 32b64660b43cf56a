"""`python -m tests.manifests [DIRECTORY]`: write what `kind` declares, without a cluster.

kustomize builds the operators; helm lints each chart and fills it in with the very values that the
playbook gives it. Tools and manifests are fetched or built as by `make up PLATFORM=kind`, and kept.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pgdrill.errors import PgdrillError
from pgdrill.platforms.kind.lifecycle import contents
from pgdrill.platforms.kind.state import ARCHIVE, MONITORING, NAMESPACE, Installation, plan
from pgdrill.progress import Reporter
from pgdrill.provision import playbook
from pgdrill.provision.commands import Say, output
from pgdrill.provision.components import catalogue
from pgdrill.provision.releases import kept_tool
from pgdrill.provision.render import kustomize_tree
from pgdrill.provision.supply import Supply
from pgdrill.provision.toolchain import cached_program, has_go, on_path, tool
from pgdrill.settings import ROOT, resolve

PLAYBOOKS = ROOT / "infra/ansible"
CHARTS = ROOT / "infra/helm"
# Chart, its release and namespace, and the variable that holds what the playbook gives it.
RELEASES = {
    "postgres-cnpg": ("pgdrill", NAMESPACE, "kind_database_values"),
    "archive": ("archive", ARCHIVE, "kind_archive_values"),
    "monitoring": ("monitoring", MONITORING, "kind_monitoring_values"),
}
NODES = tuple(f"pgdrill-{name}" for name in ("control-plane", "worker", "worker2"))
PLAYED_WITHIN = 120.0  # seconds; 3 were seen


def present(name: str) -> Path | None:
    """Return a tool that is here already: on PATH, fetched or built before."""
    wanted, program = catalogue().tools[name], catalogue().programs[name]
    found = on_path(wanted)
    kept = [found.path] if found and found.fits else []
    kept += [kept_tool(wanted)] + ([cached_program(program)] if has_go() else [])
    return next((path for path in kept if path.exists()), None)


def variables(found: Installation, supply: Supply, tools: Mapping[str, Path]) -> dict[str, Any]:
    """Return the playbook's variables as `up` gives them; addresses are examples (RFC 5737)."""
    return contents(
        found,
        tools,
        supply,
        kustomize=found.path / "kustomize/build",
        nodes=NODES,
        pool="192.0.2.100-192.0.2.150",
        webhook="192.0.2.1",
        grafana=not found.built,
    )


def values(variables: Mapping[str, Any], scratch: Path) -> dict[str, dict[str, Any]]:
    """Return the values of each chart, as Ansible renders them from the roles' own expressions."""
    (scratch / "vars.json").write_text(json.dumps(variables))
    written = scratch / "values.json"
    wanted = ", ".join(f"'{chart}': {name}" for chart, (_, _, name) in RELEASES.items())
    command: list[str | Path] = [
        Path(sys.executable).with_name("ansible"),
        "localhost",
        "--inventory=localhost,",
        "--connection=local",
        f"--playbook-dir={PLAYBOOKS}",
        f"--extra-vars=@{scratch / 'vars.json'}",
        f"--extra-vars=ansible_python_interpreter={sys.executable}",
        *(
            f"--extra-vars=@{PLAYBOOKS}/roles/kind_{role}/vars/main.yml"
            for role in ("database", "archive", "monitoring")
        ),
        "--module-name=ansible.builtin.copy",
        "--args",
        json.dumps({"dest": str(written), "content": f"{{{{ {{{wanted}}} | to_json }}}}"}),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=PLAYED_WITHIN)
    read: dict[str, dict[str, Any]] = json.loads(written.read_text())
    return read


def lint(helm: Path, chart: str, given: Path) -> str:
    """Let helm lint a chart with these values and return what it found; '' is nothing."""
    command: list[str | Path] = [
        helm,
        "lint",
        "--strict",
        "--quiet",
        CHARTS / chart,
        "--values",
        given,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return (done.stdout + done.stderr).strip() if done.returncode else ""


def fill_in(helm: Path, chart: str, given: Path) -> str:
    """Return the objects that a chart declares with these values.

    Raises:
        BrokenEnvironmentError: helm refuses, with its words.
    """
    release, namespace, _ = RELEASES[chart]
    place = f"--namespace={namespace}"
    return output(helm, "template", release, CHARTS / chart, "--values", given, place, within=60)


def write(into: Path, supply: Supply, tools: Mapping[str, Path], say: Say) -> list[str]:
    """Write operators.yaml, and for each chart its values and its objects; return complaints.

    Raises:
        BrokenEnvironmentError: a manifest cannot be had, or a tool refuses what it is given.
    """
    into.mkdir(parents=True, exist_ok=True)
    built = supply.how == "build" or (supply.how == "auto" and has_go())
    found = plan(into, supply.node_image, built, 2, supply.operator_version).archived()
    tree = kustomize_tree(into / "kustomize", supply, say, built=built)
    (into / "operators.yaml").write_text(output(tools["kubectl"], "kustomize", tree, within=120))
    complaints = []
    for chart, given in values(variables(found, supply, tools), into).items():
        file = into / f"{chart}.values.yaml"
        file.write_text(yaml.safe_dump(given, sort_keys=False))
        complaints += [f"{chart}: {said}" for said in [lint(tools["helm"], chart, file)] if said]
        (into / f"{chart}.yaml").write_text(fill_in(tools["helm"], chart, file))
    return complaints


def main(arguments: list[str]) -> int:
    """Write everything; 1 where helm has a complaint, 2 where a tool or a manifest is missing."""
    into = Path(arguments[0] if arguments else ".pgdrill/manifests").resolve()
    say = Reporter().line
    supply = Supply.of(resolve({}))
    try:
        tools = {name: tool(name, supply, say) for name in ("kubectl", "helm")}
        playbook.collections(say)
        complaints = write(into, supply, tools, say)
    except PgdrillError as error:
        say(f"pgdrill: {error}")
        return error.exit_code
    for line in complaints:
        say(line)
    say(f"manifests: {into}")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
