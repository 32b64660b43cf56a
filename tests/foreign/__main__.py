"""`python -m tests.foreign up|probers|objects|down`: somebody else's cluster, to drill as theirs.

up: a kind cluster of another name, CloudNativePG by its own manifest, the objects of theirs.yaml,
what watches them (monitoring.yaml), and a kubeconfig whose user has the rights of
infra/kube/rbac.yaml and no others. It needs what `make up PLATFORM=kind IMAGES=build` built, and an
engine that runs.
probers: the image for --prober-image, of the checkout as it is now; `up` ends with it.
objects: what is there, in all namespaces, one line each with a digest of what it is asked to be,
and the other team's rows: before and after a drill the same, or the drill left something.
"""

import base64
import hashlib
import json
import re
import shutil
import string
import sys
from pathlib import Path
from typing import Any

import yaml

from pgdrill.errors import PgdrillError
from pgdrill.platforms.kind import nodes
from pgdrill.platforms.kind.state import Installation, state_dir
from pgdrill.progress import Reporter
from pgdrill.provision import images, render
from pgdrill.provision.commands import output
from pgdrill.provision.components import PREFIX, catalogue
from pgdrill.provision.supply import Supply
from pgdrill.provision.toolchain import tool
from pgdrill.settings import ROOT
from pgdrill.waiting import eventually
from tests.foreign import prober_image

HERE = Path(__file__).parent
NAME = "theirs"
WORKER = f"{NAME}-worker"
VOLUMES = 10  # four are used, and each cluster that pgdrill makes uses three up
STATE = state_dir().with_name("foreign")
ADMIN, THEIRS = STATE / "admin.kubeconfig", STATE / "kubeconfig"
# Of a user who may have a cluster made in a namespace that was given, and the values for its chart.
OWN, VALUES = STATE / "own.kubeconfig", STATE / "values.yaml"
READY = 600.0  # seconds for four instances on two busy cores
OF_OPERATOR = re.compile(r"^  (?:name|namespace): .*cnpg", re.M)
# A volume of a true size, which can hang without the node.
FILE_SYSTEM = """
set -e
mkdir -p "$1"
truncate --size=3G "$1.img"
mkfs.ext4 -q "$1.img"
mount -o loop "$1.img" "$1"
chmod 777 "$1"
"""
# What Kubernetes keeps for itself, and what changes with time in every cluster.
OURS_NOT = ("events", "leases", "endpoints", "endpointslices", "pods", "controllerrevisions")
ROLES = ("cnpg.io/instanceRole", "role")  # labels by which the operator shows who is primary
# Of an object: how it is stored, and what controllers write down while they work.
CHANGING = ("resourceVersion", "managedFields", "generation", "creationTimestamp", "uid")


class Foreign:
    """The cluster and the programs to work on it."""

    def __init__(self, reporter: Reporter) -> None:
        self._say = reporter.line
        self._supply = Supply()
        self._kind, self._kubectl = (
            tool(name, self._supply, self._say) for name in ("kind", "kubectl")
        )

    def kubectl(self, *arguments: str, text: str | None = None, within: float = 60.0) -> str:
        """Run kubectl as the administrator; text is its input."""
        return output(self._kubectl, f"--kubeconfig={ADMIN}", *arguments, within=within, stdin=text)

    def up(self) -> None:
        """Make it, and wait until both databases are whole."""
        STATE.mkdir(parents=True, exist_ok=True, mode=0o700)
        known = catalogue().images
        ours = self._supply.known.images
        words = {
            "PREFIX": PREFIX,
            "COREDNS": known["coredns"].tag,
            "ETCD": known["etcd"].tag,
            "POSTGRES": ours["postgresql"].reference,
            "PROMETHEUS": ours["prometheus"].reference,
            "ALERTMANAGER": ours["alertmanager"].reference,
        }
        node = images.node_image(self._supply, self._say, running="", before_building=lambda: None)
        configuration = STATE / "cluster.yaml"
        configuration.write_text(_filled("cluster.yaml", words))
        output(
            *(self._kind, "create", "cluster", f"--config={configuration}"),
            *(f"--image={node.reference}", f"--kubeconfig={ADMIN}", "--wait=120s"),
            within=600,
        )
        self._say("applying the operator")
        self.kubectl("apply", "--server-side", "--filename=-", text=self._operator(), within=120)
        self.kubectl(
            *("wait", "--for=condition=Available", "--namespace=cnpg-system", "--timeout=240s"),
            *("deployment", "--all"),
            within=260,
        )
        paths = [f"/var/theirs/{n}" for n in range(VOLUMES)]
        for path in paths:
            nodes.run(WORKER, "sh", "-c", FILE_SYSTEM, "sh", path)
        self.kubectl("apply", "--filename=-", text=yaml.safe_dump_all(map(_volume, paths)))
        # The operator's webhook answers some seconds after its pod.
        eventually(
            "their objects to be taken",
            lambda: self.kubectl("apply", "--filename=-", text=_filled("theirs.yaml", words)),
            lambda _: True,
            within=120,
            not_yet=(PgdrillError,),
        )
        self.kubectl("apply", "--filename=-", text=_filled("monitoring.yaml", words))
        eventually("orders and billing", self._phases, _healthy, within=READY, every=2)
        self.kubectl(
            *("wait", "--for=condition=Available", "--namespace=watching", "--timeout=120s"),
            *("deployment", "--all"),
            within=140,
        )
        self._accounts()
        VALUES.write_text(_filled("values.yaml", words))
        self.load_probers()
        address = '{.status.addresses[?(@.type=="InternalIP")].address}'
        at = self.kubectl("get", "node", WORKER, f"--output=jsonpath={address}").split()[0]
        self._say(f"Prometheus http://{at}:30090, Alertmanager http://{at}:30093")
        self._say(f"export KUBECONFIG={THEIRS}; context {NAME}, namespace and cluster orders")
        self._say(f"or KUBECONFIG={OWN} for a cluster that is made, --chart-values={VALUES}")

    def load_probers(self) -> None:
        """Put the images of a prober, of this checkout and one without it, on the nodes."""
        for archive in prober_image.archives(self._supply.known, STATE, self._say):
            output(self._kind, "load", "image-archive", archive, f"--name={NAME}", within=300)
            archive.unlink()
        self._say(f"--prober-image={prober_image.REFERENCE} is on the nodes")

    def _operator(self) -> str:
        """Return the manifest of the operator alone, as `up` on kind applies it."""
        found = Installation.load(state_dir())
        directory = STATE / "kustomize"
        render.kustomize_tree(
            directory, self._supply, self._say, built=found is None or found.built
        )
        built = output(self._kubectl, "kustomize", directory / "build", within=60)
        # Some schemas of others are no YAML to PyYAML: objects are told apart as text.
        documents = re.split(r"^---$", built, flags=re.M)
        return "---".join(one for one in documents if OF_OPERATOR.search(one))

    def _phases(self) -> dict[str, str]:
        found = json.loads(self.kubectl("get", "clusters", "--all-namespaces", "--output=json"))
        return {
            one["metadata"]["name"]: one.get("status", {}).get("phase", "")
            for one in found["items"]
        }

    def _accounts(self) -> None:
        """Make a user with the rights of infra/kube on each cluster, and a kubeconfig of each."""
        for file in ("node.yaml", "own.yaml"):
            self.kubectl("apply", f"--filename={ROOT / 'infra/kube' / file}")
        self.kubectl(
            *("create", "rolebinding", "pgdrill-node", "--namespace=pgdrill-node"),
            *("--role=pgdrill-node", "--serviceaccount=orders:pgdrill"),
        )
        self._account("orders", THEIRS)
        self._account("pgdrill", OWN)

    def _account(self, namespace: str, file: Path) -> None:
        rbac = ROOT / "infra/kube/rbac.yaml"
        self.kubectl("apply", f"--namespace={namespace}", f"--filename={rbac}")
        account = ("token", "pgdrill", f"--namespace={namespace}")
        token = self.kubectl("create", *account, "--duration=8h")
        config = yaml.safe_load(ADMIN.read_text())
        config["users"] = [{"name": "pgdrill", "user": {"token": token.strip()}}]
        context = {"cluster": config["clusters"][0]["name"], "user": "pgdrill"}
        config["contexts"] = [{"name": NAME, "context": context}]
        config.pop("current-context", None)
        file.touch(mode=0o600)
        file.write_text(yaml.safe_dump(config))

    def objects(self) -> list[str]:
        """Return one line for each object of every kind in every namespace, and for their rows."""
        names = self.kubectl("api-resources", "--verbs=list", "--output=name").split()
        kinds = [name for name in names if name.split(".")[0] not in OURS_NOT]
        kinds = [name for name in kinds if not name.endswith("metrics.k8s.io")]
        listed = self.kubectl(
            *("get", ",".join(kinds), "--all-namespaces", "--output=json"), within=120
        )
        lines = [_line(one) for one in json.loads(listed)["items"]]
        pods = json.loads(self.kubectl("get", "pods", "--all-namespaces", "--output=json"))
        # A pod that was killed has another identity and is the same member.
        lines += [f"pods {_place(pod)}" for pod in pods["items"]]
        return [*sorted(lines), f"rows of billing: {self._rows()}"]

    def _rows(self) -> str:
        query = "SELECT md5(string_agg(i::text, ',' ORDER BY id)) FROM invoices i"
        return self.kubectl(
            *("exec", "--namespace=billing", "billing-1", "--container=postgres", "--"),
            *("psql", "--tuples-only", "--no-align", f"--command={query}", "billing"),
        ).strip()

    def down(self) -> None:
        """Remove it."""
        output(self._kind, "delete", "cluster", f"--name={NAME}", within=120)
        shutil.rmtree(STATE, ignore_errors=True)


def _filled(file: str, words: dict[str, str]) -> str:
    return string.Template((HERE / file).read_text()).safe_substitute(words)


def _volume(path: str) -> dict[str, Any]:
    nodes = [{"key": "kubernetes.io/hostname", "operator": "In", "values": [WORKER]}]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"theirs-{Path(path).name}"},
        "spec": {
            "capacity": {"storage": "3Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "theirs",
            "local": {"path": path},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": nodes}]}},
        },
    }


def _healthy(phases: dict[str, str]) -> bool:
    return len(phases) == 2 and set(phases.values()) == {"Cluster in healthy state"}


def _place(one: dict[str, Any]) -> str:
    metadata = one["metadata"]
    return f"{metadata.get('namespace', '-')} {metadata['name']}"


def _line(one: dict[str, Any]) -> str:
    """Return an object's place and a digest of all but its state."""
    metadata = {k: v for k, v in one["metadata"].items() if k not in CHANGING}
    labels = metadata.get("labels", {})
    metadata["labels"] = {k: v for k, v in labels.items() if k not in ROLES}
    rest = {k: v for k, v in one.items() if k not in ("metadata", "status")}
    text = json.dumps([metadata, rest], sort_keys=True).encode()
    digest = base64.b32encode(hashlib.sha256(text).digest())[:12].decode()
    return f"{one['kind']} {_place(one)} {digest}"


def main() -> int:
    """Do what the argument names."""
    reporter = Reporter()
    actions = {
        "up": Foreign.up,
        "probers": Foreign.load_probers,
        "objects": Foreign.objects,
        "down": Foreign.down,
    }
    if len(sys.argv) != 2 or sys.argv[1] not in actions:
        print(f"one of {', '.join(actions)}", file=sys.stderr)
        return 4
    try:
        found = actions[sys.argv[1]](Foreign(reporter))
    except PgdrillError as error:
        print(f"foreign: {error}", file=sys.stderr)
        return 2
    print("\n".join(found or ()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
