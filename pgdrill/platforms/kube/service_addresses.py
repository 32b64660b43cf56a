"""The addresses of an existing cluster as this machine reaches it: those of Services.

A forwarded port is never used: it is one stream through API server and kubelet, which ends with its
pod, so it would add a gap of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.base import Endpoint
from pgdrill.platforms.existing.given_address import PORT

CLUSTER, INSTANCE = "cnpg.io/cluster", "cnpg.io/instanceName"
ROLES = ("cnpg.io/instanceRole", "role")  # the second is of older operators
KINDS = {"primary": "rw", "replica": "ro"}


@dataclass(frozen=True)
class Addresses:
    """The addresses; routed is the Service behind read_write, '' where it was given by hand."""

    read_write: Endpoint
    read_only: Endpoint | None
    members: Mapping[str, Endpoint] = field(default_factory=dict)  # of all of them, or of none
    routed: str = ""


def find(
    services: Iterable[Mapping[str, Any]],
    nodes: Iterable[Mapping[str, Any]],
    hosts: Sequence[str],
    cluster: str,
    members: tuple[str, ...],
    given: Mapping[str, Endpoint],
) -> Addresses:
    """Choose addresses from Services in the API's own JSON; given, 'rw' or 'ro', takes their place.

    hosts: addresses of the members' nodes, for who may not list nodes.

    Raises:
        BrokenEnvironmentError: no way leads to the primary from outside of the cluster.
    """
    node = _node(nodes) or next(iter(hosts), "")
    found: dict[str, tuple[Endpoint, str]] = {}
    for service in services:
        at = _outside(service, node)
        selector = service["spec"].get("selector") or {}
        if at:
            found.setdefault(_what(selector, cluster, members), (at, service["metadata"]["name"]))
    direct = {name: found[name][0] for name in members if name in found}
    if "rw" not in found and "rw" not in given:
        raise BrokenEnvironmentError(
            f"no Service leads to the primary of {cluster} from outside: add one of type"
            " LoadBalancer or NodePort (spec.managed.services.additional, selectorType: rw), or"
            " give an address that reaches it with --rw-host=HOST:PORT"
        )
    at, routed = (given["rw"], "") if "rw" in given else found["rw"]
    read_only = given.get("ro") or (found["ro"][0] if "ro" in found else None)
    return Addresses(at, read_only, direct if len(direct) == len(members) else {}, routed)


def _what(selector: Mapping[str, str], cluster: str, members: tuple[str, ...]) -> str:
    """Return 'rw', 'ro', or the one member that a Service leads to; '' for anything else."""
    if selector.get(CLUSTER, cluster) != cluster:
        return ""
    if INSTANCE in selector:
        return selector[INSTANCE] if selector[INSTANCE] in members else ""
    role = next((selector[key] for key in ROLES if key in selector), "")
    return KINDS.get(role, "") if CLUSTER in selector else ""


def _outside(service: Mapping[str, Any], node: str) -> Endpoint | None:
    """Return an address of a Service that is reached from outside; None where it has none."""
    spec = service["spec"]
    ports = [p for p in spec.get("ports", []) if PORT in (p.get("port"), p.get("targetPort"))]
    ports = ports or [p for p in spec.get("ports", []) if p.get("targetPort") == "postgres"]
    if not ports:
        return None
    ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress") or []
    hosts = [one.get("ip") or one.get("hostname") for one in ingress] + spec.get("externalIPs", [])
    if hosts and hosts[0]:
        return Endpoint(hosts[0], int(ports[0]["port"]))
    if spec.get("type") == "NodePort" and node:
        return Endpoint(node, int(ports[0]["nodePort"]))
    return None


def _node(nodes: Iterable[Mapping[str, Any]]) -> str:
    """Return the address of a ready node, an external one before an internal."""
    for kind in ("ExternalIP", "InternalIP"):
        for node in nodes:
            conditions = {c["type"]: c["status"] for c in node["status"].get("conditions", [])}
            for address in node["status"].get("addresses", []):
                if address["type"] == kind and conditions.get("Ready") == "True":
                    return str(address["address"])
    return ""
