"""Making the cluster and what is in it: kind through pytest-kind, the contents through Ansible."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
from kubernetes import client
from pytest_kind import KindCluster

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.kind import host, network, pulling
from pgdrill.platforms.kind.state import (
    ARCHIVE,
    ARCHIVE_MB,
    ARCHIVE_TIMEOUT,
    ARCHIVE_VOLUME,
    CONTROL_PLANE,
    DRAFT,
    MEMBERS,
    NAME,
    NAMESPACE,
    PORTS,
    RESTORED,
    RESTORED_NAME,
    RESTORED_SERVICES,
    VOLUME_MB,
    VOLUMES_PER_NODE,
    WRITTEN,
    Installation,
    private,
    service,
    state_dir,
)
from pgdrill.provision import playbook, render
from pgdrill.provision.commands import Say, heartbeat, output, succeeds
from pgdrill.provision.components import PREFIX, catalogue
from pgdrill.provision.supply import Supply
from pgdrill.settings import ROOT
from pgdrill.waiting import DeadlineError, eventually

ANSWERS_WITHIN = 240.0  # seconds until a first instance accepts sessions; 35 were seen
ROUTABLE_WITHIN = 20.0  # seconds more for the load balancer to announce its address
FREED_WITHIN = 20.0  # seconds for the kernel to let go of the loop devices of removed nodes


def nodes() -> list[str]:
    """Return the names of the nodes' containers."""
    label = f"label=io.x-k8s.kind.cluster={NAME}"
    return sorted(output("docker", "ps", "-a", "--filter", label, "--format={{.Names}}").split())


def refuse_foreign(found: Installation | None) -> None:
    """Never touch a cluster that was not made here.

    Raises:
        BrokenEnvironmentError: there is one of our name.
    """
    there = nodes() if found is None else []
    if there:
        raise BrokenEnvironmentError(
            f"there is a kind cluster named {NAME} of which {state_dir()} knows nothing: set"
            " PGDRILL_STATE_DIR to where it was made, or remove it by"
            f" `docker rm --force --volumes {' '.join(there)}`"
        )


def refuse_foreign_files(state: Path) -> None:
    """Refuse a directory that pgdrill did not make: it is neither filled nor removed.

    Raises:
        BrokenEnvironmentError: it holds files and no installation.
    """
    if not state.exists() or (state / WRITTEN).exists():
        return
    if not state.is_dir() or any(path.name != DRAFT for path in state.iterdir()):
        raise BrokenEnvironmentError(
            f"{state} holds files that are not pgdrill's:"
            " set PGDRILL_STATE_DIR to an empty or new directory"
        )


def create(kind: Path, kubectl: Path, found: Installation, say: Say) -> None:
    """Create the cluster, or reuse it; an incomplete one is made again.

    Raises:
        BrokenEnvironmentError: kind failed; its own words are on the terminal.
    """
    gone = lost(found)
    if gone:
        say(f"making the cluster: {gone}")
        delete(found.path)
    images = catalogue().images  # Kubernetes' own, the same with every operator
    configuration = found.path / "cluster.yaml"
    configuration.write_text(
        render.template(
            (ROOT / "infra/kind/cluster.yaml.j2").read_text(),
            name=NAME,
            built=found.built,
            workers=found.workers,
            node_ports=found.node_ports,
            image_prefix=PREFIX,
            etcd=images["etcd"].tag,
            coredns=images["coredns"].tag,
        )
    )
    cluster = KindCluster(NAME, found.kubeconfig, found.image, kind, kubectl)
    try:
        with heartbeat("nodes boot", say):
            cluster.create(configuration)
    except subprocess.CalledProcessError as error:
        raise BrokenEnvironmentError(
            f"kind could not create the cluster (exit status {error.returncode}, its words are"
            " above); `make down` removes what was made"
        ) from None
    finally:
        _remove_scratch()
    found.created.touch()
    _start_stopped_nodes(kubectl, found)


def lost(found: Installation) -> str:
    """Return why there is no cluster to reuse; '' when there is one.

    A run was interrupted while it made one, or a part of it was removed since.
    """
    there, wanted = len(nodes()), 1 + found.workers
    if there != wanted:
        return f"{there} of {wanted} nodes are there"
    if not found.created.exists():
        return "these nodes were left half-made"
    if not found.kubeconfig.exists() or not found.kubeconfig.stat().st_size:
        return f"{found.kubeconfig} is gone"
    return ""


def _start_stopped_nodes(kubectl: Path, found: Installation) -> None:
    """After a restart of the machine, or a drill that was cut off."""
    output("docker", "start", *nodes())
    eventually(
        "the API server",
        lambda: succeeds(kubectl, "--kubeconfig", found.kubeconfig, "version"),
        within=120,
    )


def declare(found: Installation, tools: Mapping[str, Path], supply: Supply, say: Say) -> None:
    """Apply the playbook to the contents of the cluster."""
    tree = render.kustomize_tree(found.path / "kustomize", supply, say, built=found.built)
    # Grafana has no module to be built from, and a mirror need not have it.
    grafana = _images(found, supply).get("grafana")
    values = contents(
        found,
        tools,
        supply,
        kustomize=tree,
        nodes=nodes(),
        pool=network.pool(),
        webhook=host.address(CONTROL_PLANE, say),
        grafana=bool(not found.built and grafana and pulling.has(CONTROL_PLANE, grafana)),
    )
    variables = found.path / "vars.json"
    private(variables, json.dumps(values))
    environment = playbook.play_environment(say)
    log = found.path / "ansible.log"
    recap = playbook.play("kubernetes.yml", variables, log, say, environment=environment)
    say(f"the playbook changed {playbook.changed(recap)} things")


def contents(
    found: Installation,
    tools: Mapping[str, Path],
    supply: Supply,
    *,
    kustomize: Path,
    nodes: Sequence[str],
    pool: str,
    webhook: str,
    grafana: bool,
) -> dict[str, Any]:
    """Return the playbook's variables for a cluster of these nodes.

    pool: addresses for the load balancer; webhook: the receiver of pages, as pods reach it.
    """
    image = _images(found, supply)
    values = _variables(found, tools, supply, NAMESPACE, NAME)
    values["pgdrill_values"] |= {
        "pooler": {"image": image["pgbouncer"]},
        "nodePorts": found.node_ports,
    }
    return values | {
        "pgdrill_nodes": nodes,
        "pgdrill_control_plane": CONTROL_PLANE,
        "pgdrill_volume_mb": VOLUME_MB,
        "pgdrill_volumes_per_node": VOLUMES_PER_NODE,
        "pgdrill_archive_volume": ARCHIVE_VOLUME,
        "pgdrill_archive_mb": ARCHIVE_MB,
        "pgdrill_archive": {
            "namespace": ARCHIVE,
            "store": {
                "image": image["versitygw"],
                "barmanImage": image["postgresql"],
                "storage": {"size": f"{ARCHIVE_MB}Mi"},
            },
        },
        "pgdrill_kustomize": str(kustomize),
        "pgdrill_pool": pool,
        "pgdrill_members": MEMBERS,
        "pgdrill_webhook": {"host": webhook, "port": found.webhook},
        "pgdrill_monitoring": _monitoring(found, supply, grafana),
    }


def declare_restored(
    found: Installation,
    tools: Mapping[str, Path],
    supply: Supply,
    target: Mapping[str, str],
    say: Say,
) -> None:
    """Declare a cluster that begins with what the archive holds, up to a target of the operator's.

    Raises:
        BrokenEnvironmentError: a task failed; with its first complaint.
    """
    values = _variables(found, tools, supply, RESTORED, RESTORED_NAME)
    ports = {
        name.removeprefix(f"{RESTORED_NAME}-") if name.endswith(("rw", "ro")) else name: port
        for name, port in found.node_ports.items()
        if name in RESTORED_SERVICES
    }
    values["pgdrill_values"] |= {
        "pooler": None,
        "nodePorts": ports,
        "recovery": {"server": NAME, "target": dict(target)},
    }
    variables = found.path / "vars-restored.json"
    private(variables, json.dumps(values))
    log = found.path / "ansible-restored.log"
    environment = playbook.play_environment(say)
    playbook.play("kubernetes-restore.yml", variables, log, say, environment=environment)


def _variables(
    found: Installation, tools: Mapping[str, Path], supply: Supply, namespace: str, name: str
) -> dict[str, Any]:
    """Return the playbook's variables of every cluster of an installation."""
    archive = {"endpoint": f"http://archive.{ARCHIVE}.svc:7070", "timeout": ARCHIVE_TIMEOUT}
    return {
        "pgdrill_kubeconfig": str(found.kubeconfig),
        "pgdrill_tools": {name: str(path) for name, path in tools.items()},
        "pgdrill_namespace": namespace,
        "pgdrill_cluster": name,
        "pgdrill_password": found.password,
        "pgdrill_archive_secret": found.archive_secret,
        "pgdrill_timing": found.timing,
        "pgdrill_operator": found.operator,
        "pgdrill_values": {
            "image": _images(found, supply)["postgresql"],
            "archive": archive if found.archive_secret else {},
        },
    }


def _images(found: Installation, supply: Supply) -> dict[str, str]:
    """Return the images that charts name: what was built, or what nodes pulled."""
    known = supply.known
    built = {name: image.reference for name, image in known.images.items()}
    pulled = {name: image.reference for name, image in known.pulled.items()}
    return built if found.built else pulled


def _monitoring(found: Installation, supply: Supply, grafana: bool) -> dict[str, Any]:
    """Return values of the monitoring's chart."""
    image = _images(found, supply)
    parts = {
        "prometheus": "prometheus",
        "alertmanager": "alertmanager",
        "nodeExporter": "node-exporter",
        "pushgateway": "pushgateway",
        "grafana": "grafana",
    }
    return {
        "images": {part: image[name] for part, name in parts.items() if name in image},
        "grafana": {"enabled": grafana},
        "nodePorts": found.node_ports,
    }


def find_endpoints(api: client.ApiClient, found: Installation, say: Say) -> None:
    """Write down how this host reaches the services: through the load balancer if it can.

    A container in the docker network always can.

    Raises:
        DeadlineError: there are no addresses, or the database answers at none of them.
    """

    routes = _routes(api, found, PORTS)
    chosen = choose_route(
        {route: services["rw"] for route, services in routes.items()},
        found.passfile,
        lambda: network.routable(CONTROL_PLANE),
    )
    if chosen != "load balancer":
        say("the load balancer's addresses cannot be reached from here: using node ports")
    found.inside.write_text(json.dumps(routes["load balancer"]))
    found.endpoints.write_text(json.dumps(routes[chosen]))


def find_restored(api: client.ApiClient, found: Installation) -> None:
    """Write down how this host reaches the restored cluster: as it does the first one.

    Raises:
        DeadlineError: there are no addresses.
    """
    routes = _routes(api, found, dict.fromkeys(RESTORED_SERVICES, 5432))
    first = json.loads(found.endpoints.read_text()) == json.loads(found.inside.read_text())
    found.restored_endpoints.write_text(
        json.dumps(routes["load balancer" if first else "node ports"])
    )


def _routes(
    api: client.ApiClient, found: Installation, ports: Mapping[str, int]
) -> dict[str, dict[str, tuple[str, int]]]:
    """Return the ways to services, best first, once the load balancer has given them addresses.

    Raises:
        DeadlineError: it does not.
    """

    def addresses() -> dict[str, str]:
        listed = client.CoreV1Api(api).list_service_for_all_namespaces(_request_timeout=5)
        services = api.sanitize_for_serialization(listed)["items"]
        given = {s["metadata"]["name"]: s["status"]["loadBalancer"] for s in services}
        return {
            name: given[service(name)]["ingress"][0]["ip"]
            for name in ports
            if given.get(service(name))
        }

    at = eventually(
        "addresses from the load balancer",
        addresses,
        lambda seen: len(seen) == len(ports),
        within=60,
    )
    return {
        "load balancer": {name: (address, ports[name]) for name, address in at.items()},
        "node ports": {name: ("127.0.0.1", found.node_ports[name]) for name in ports},
    }


def choose_route(
    routes: Mapping[str, tuple[str, int]], passfile: Path, routable: Callable[[], bool]
) -> str:
    """Return the first of the routes by which the database answers.

    Where the docker network is routable, the first of all is waited for: a load balancer needs a
    moment to announce its address.

    Raises:
        DeadlineError: it answers by none of them.
    """
    best = next(iter(routes))

    def working() -> list[str]:
        return [route for route, at in routes.items() if _answers(passfile, *at)]

    seen = eventually("the database to answer", working, within=ANSWERS_WITHIN, every=0.5)
    if best not in seen and routable():
        with suppress(DeadlineError):
            what = f"an answer through the {best}"
            seen = eventually(what, working, lambda now: best in now, within=ROUTABLE_WITHIN)
    return seen[0]


def _answers(passfile: Path, host: str, port: int) -> bool:
    """Whether PostgreSQL itself answers; an open port may be docker's proxy alone."""
    try:
        psycopg.connect(
            host=host,
            port=port,
            user="pgdrill",
            dbname="shop",
            passfile=str(passfile),
            connect_timeout=2,
        ).close()
    except psycopg.OperationalError:
        return False
    return True


def delete(state: Path) -> None:
    """Delete the nodes with their volumes, as kind does, if there are any.

    Raises:
        BrokenEnvironmentError: something is left of them.
    """
    # First, so that a cut-off deletion is gone on with and never taken for a cluster.
    for left in ("ready", "created", "endpoints.json", "endpoints-inside.json", "kubeconfig"):
        (state / left).unlink(missing_ok=True)
    there = nodes()
    if not there:
        return
    held = _held_devices()
    output("docker", "rm", "--force", "--volumes", *there, within=120)
    try:
        eventually(
            "their loop devices to be free",
            lambda: held & _held_devices(),
            lambda still: not still,
            within=FREED_WITHIN,
        )
    except DeadlineError:
        raise BrokenEnvironmentError(
            f"the nodes are gone, but {', '.join(sorted(held & _held_devices()))} still hold their"
            " volumes: `losetup --detach` frees a device"
        ) from None


def _held_devices() -> set[str]:
    """Return the loop devices behind volumes of nodes (infra/ansible/roles/kind_volumes).

    The kernel names a file as its node sees it, so the name does not identify the node. Of a
    virtual machine's kernel (Docker Desktop) nothing is visible: it frees them when the nodes end.
    """
    files = Path("/sys/block").glob("loop*/loop/backing_file")
    return {f.parts[3] for f in files if re.search(r"/pv/\d+\.ext4", f.read_text())}


def forget(state: Path) -> None:
    """Remove every file of an installation; the one that marks it as pgdrill's goes last."""
    if state.exists():
        for path in state.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != WRITTEN:
                path.unlink()
        shutil.rmtree(state)
    _remove_scratch()


def _remove_scratch() -> None:
    """Remove the empty directory that pytest-kind makes where it is called."""
    scratch = Path(".pytest-kind") / NAME
    shutil.rmtree(scratch, ignore_errors=True)
    if scratch.parent.exists() and not any(scratch.parent.iterdir()):
        scratch.parent.rmdir()
