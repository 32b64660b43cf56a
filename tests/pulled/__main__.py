"""Prepare the stand-ins, drill through them, and print where the time and the bytes went."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.kind import lifecycle, pulling
from pgdrill.provision import container_engine, images, node
from pgdrill.provision.building import Builder
from pgdrill.provision.commands import output
from pgdrill.provision.components import catalogue
from pgdrill.provision.registry import Reference
from pgdrill.provision.supply import Supply
from pgdrill.provision.toolchain import build, module_directory
from pgdrill.settings import ROOT
from tests.pulled.stubs import (
    HIDDEN,
    Registry,
    forget,
    path_without,
    publish,
    registry,
    release,
    renamed,
)
from tests.servers import files

# What the node image brings, under the names that kubeadm 1.29 asks for; the sandbox image keeps
# the name that stands in the node's own configuration.
IN_NODE = {
    "kube-apiserver": "registry.k8s.io/kube-apiserver:{kubernetes}",
    "kube-controller-manager": "registry.k8s.io/kube-controller-manager:{kubernetes}",
    "kube-scheduler": "registry.k8s.io/kube-scheduler:{kubernetes}",
    "kube-proxy": "registry.k8s.io/kube-proxy:{kubernetes}",
    "etcd": "registry.k8s.io/etcd:3.5.16-0",
    "coredns": "registry.k8s.io/coredns/coredns:v1.11.1",
    "pause": "localhost/pgdrill/pause:3.9",
}
# The built node has its pod network inside; kind wants a manifest to apply.
CNI = """\
apiVersion: v1
kind: ConfigMap
metadata: { name: pod-network, namespace: kube-system }
data: { is: pgdrill-network.service of each node }
"""
WORKER = "pgdrill-worker"
STANDIN = "pgdrill/node-standin:building"
UP_WITHIN, DRILL_WITHIN, DOWN_WITHIN = 1200, 3000, 300  # seconds


@dataclass
class Table:
    """The steps, their times, and the amount from each source."""

    rows: list[tuple[str, float, str, str]] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[list[str]]:
        """Time a stage; the list that it fills is its bytes and where they came from."""
        print(f"stage: {name}", flush=True)
        began, told = time.monotonic(), list[str]()
        yield told
        megabytes, source = told or ("", "")
        self.rows.append((name, time.monotonic() - began, megabytes, source))

    def show(self) -> None:
        """Print it."""
        print(f"\n{'stage':44} {'seconds':>8} {'MB':>7}  from where")
        for name, seconds, megabytes, source in self.rows:
            print(f"{name:44} {seconds:8.0f} {megabytes:>7}  {source}")


def main() -> int:
    """Run every stage; return 0 when the drill was green."""
    table = Table()
    answered = container_engine.answers()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pgdrill-pulled-")))
        try:
            container_engine.ensure(print)
            if lifecycle.nodes():
                raise BrokenEnvironmentError("there is a kind cluster already: `make down` first")
            if not answered:
                stack.callback(container_engine.stop)
            served, wanted = _fill(scratch, stack, table)
            _drill(scratch, served, wanted, table)
        except (BrokenEnvironmentError, subprocess.SubprocessError) as error:
            print(f"pgdrill: {error}")
            return 2
        finally:
            table.show()
    return 0


@dataclass(frozen=True)
class Settings:
    """The settings of a user behind a mirror."""

    registry_mirror: str
    release_mirror: str
    node_image: str

    def variables(self) -> dict[str, str]:
        """Return them as variables of the environment."""
        return {
            "PGDRILL_PLATFORM": "kind",
            "PGDRILL_IMAGES": "pull",
            "PGDRILL_REGISTRY_MIRROR": self.registry_mirror,
            "PGDRILL_RELEASE_MIRROR": self.release_mirror,
            "PGDRILL_NODE_IMAGE": self.node_image,
        }


def _fill(scratch: Path, stack: ExitStack, table: Table) -> tuple[Registry, Settings]:
    """Build what is to be pulled, and put it where it will be pulled from."""
    known = catalogue()
    with table.stage("build what stands in (cached)"):
        built = images.node_image(Supply("build"), print, running="", before_building=lambda: None)
        tools = {name: build(known.programs[name], print) for name in known.tools}
    with table.stage("releases: tools, manifests"):
        releases = scratch / "releases"
        for name, tool in known.tools.items():
            release(releases, tool, tools[name])
        for manifest in known.manifests.values():
            publish(releases, manifest, module_directory(manifest.directory, manifest.module))
        release_mirror = stack.enter_context(files(releases))
    served = stack.enter_context(registry(scratch))
    with table.stage("registry: images under upstream names"):
        digest = _push_node(served, scratch)
        for pulled in known.pulled.values():
            if pulled.build:
                wanted = Reference.parse(pulled.reference)
                archive = Builder(known).image_file(known.images[pulled.build])
                served.push_archive(archive, wanted.path, wanted.tag)
    print(f"stand-ins of {built.reference} are in place", flush=True)
    reference = f"kindest/node:{known.versions['kubernetes']}@{digest}"
    return served, Settings(served.url, release_mirror, reference)


def _push_node(served: Registry, scratch: Path) -> str:
    """Make the built node what kind publishes: Kubernetes' own images inside, no others."""
    known = catalogue()
    archives = []
    for name, called in IN_NODE.items():
        archive = Builder(known).image_file(known.images[name])
        reference = called.format(**known.versions)
        archives.append(renamed(archive, reference, scratch / f"{name}.tar"))
    rootfs, binaries = Builder(known).node_parts()
    node.assemble(STANDIN, rootfs, binaries, archives, print)
    (scratch / "default-cni.yaml").write_text(CNI)
    container = output("docker", "create", STANDIN).strip()
    try:
        (scratch / "manifests").mkdir()
        shutil.copy(scratch / "default-cni.yaml", scratch / "manifests")
        output("docker", "cp", scratch / "manifests", f"{container}:/kind/")
        output("docker", "commit", container, STANDIN, within=300)
    finally:
        output("docker", "rm", "--force", container)
    try:
        return served.push(STANDIN, f"kindest/node:{known.versions['kubernetes']}")
    finally:
        forget([STANDIN])


def _drill(scratch: Path, served: Registry, wanted: Settings, table: Table) -> None:
    """Do what a new user does, with only Docker and Python."""
    environment = os.environ | wanted.variables()
    environment |= {
        "PATH": path_without(HIDDEN, scratch / "bin"),
        "PGDRILL_CACHE_DIR": str(scratch / "cache"),
        "PGDRILL_STATE_DIR": str(scratch / "state" / "kind"),
        "PGDRILL_REPORTS_DIR": str(ROOT / "reports"),
    }
    environment.pop("PGDRILL_PROFILE", None)

    def make(*targets: str, within: float) -> None:
        done = subprocess.run(
            ["make", "--no-print-directory", *targets],
            cwd=ROOT, env=environment, timeout=within, check=False,
        )  # fmt: skip
        if done.returncode:
            raise BrokenEnvironmentError(f"make {' '.join(targets)}: exit {done.returncode}")

    forget(["kindest/node"])
    try:
        with table.stage("make up: nothing cached") as told:
            make("up", within=UP_WITHIN)
            told += _bytes(served)
        _refuse_builds(scratch)
        with table.stage("kubelet pulls by itself") as told:
            before = sum(served.served().values())
            _let_kubelet_pull(scratch)
            came = sum(served.served().values()) - before
            if not came:
                raise BrokenEnvironmentError("the registry served nothing to kubelet")
            told += [f"{came / 1e6:.0f}", "the registry"]
        with table.stage("make drill, profile quick"):
            make("drill", within=DRILL_WITHIN)
        with table.stage("make down"):
            make("down", within=DOWN_WITHIN)
        with table.stage("make up: tools and node image cached") as told:
            before = sum(served.served().values())
            make("up", within=UP_WITHIN)
            again = (sum(served.served().values()) - before) / 1e6
            told += [f"{again:.0f}", "the registry"]
    finally:
        make("down", within=DOWN_WITHIN)


def _bytes(served: Registry) -> list[str]:
    """Return what came in all, and from which repositories most of it."""
    by_name = served.served()
    most = sorted(by_name, key=lambda name: -by_name[name])[:3]
    parts = ", ".join(f"{name} {by_name[name] / 1e6:.0f}" for name in most)
    return [f"{sum(by_name.values()) / 1e6:.0f}", f"the registry: {parts}, ..."]


def _refuse_builds(scratch: Path) -> None:
    """Demand that nothing was compiled or put together."""
    made = [d for d in ("programs", "images", "rootfs") if (scratch / "cache" / d).exists()]
    if made:
        raise BrokenEnvironmentError(f"the cache holds {', '.join(made)}: something was built")


def _let_kubelet_pull(scratch: Path) -> None:
    """Start a pod on a node that does not have its image: only kubelet fetches it there."""
    kubectl = next((scratch / "cache/releases").glob("kubectl-*/kubectl"))
    ask: list[str | Path] = [kubectl, f"--kubeconfig={scratch / 'state/kind/kubeconfig'}"]
    image = catalogue().pulled["pushgateway"].reference
    if pulling.has(WORKER, image):
        raise BrokenEnvironmentError(f"{WORKER} has {image} already: this would prove nothing")
    overrides = {"spec": {"nodeName": WORKER, "terminationGracePeriodSeconds": 0}}
    output(*ask, "run", "pulled", f"--image={image}", f"--overrides={json.dumps(overrides)}")
    output(*ask, "wait", "pod/pulled", "--for=condition=Ready", "--timeout=120s", within=130)
    output(*ask, "delete", "pod/pulled")


if __name__ == "__main__":
    sys.exit(main())
