"""A server of this machine that speaks as much of the Kubernetes API as is asked of it."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from pgdrill.platforms.kubernetes.jobs import Place
from tests.servers import serving

NAMESPACE, NAME = "db", "pg"
CORE = f"/api/v1/namespaces/{NAMESPACE}"
CLUSTERS = f"/apis/postgresql.cnpg.io/v1/namespaces/{NAMESPACE}/clusters"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
TOKEN = "right"


@dataclass
class KubernetesApi:
    """A namespace with a CloudNativePG cluster; objects by path, as a test changes them.

    denied: verb and resource that reviews and requests refuse; asked: method and path of each.
    """

    port: int  # where its PostgreSQL listens, behind a node port of 127.0.0.1
    objects: dict[str, Any] = field(default_factory=dict)
    denied: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.objects = {
            CORE: {"metadata": {"name": NAMESPACE, "labels": {"team": "a"}}},
            f"{CLUSTERS}/{NAME}": {
                "metadata": {"name": NAME},
                "spec": {"instances": 2, "bootstrap": {"initdb": {"database": "shop"}}},
                "status": {
                    "instanceNames": [f"{NAME}-1", f"{NAME}-2"],
                    "readyInstances": 2,
                    "currentPrimary": f"{NAME}-1",
                    "phase": "Cluster in healthy state",
                    "image": "ghcr.io/cloudnative-pg/postgresql:16.4",
                },
            },
            f"{CORE}/pods": listed(*(pod(f"{NAME}-{n}") for n in (1, 2))),
            f"{CORE}/services": listed(
                service("pg-out", {"cnpg.io/cluster": NAME, "role": "primary"}, self.port)
            ),
            f"{CORE}/secrets/{NAME}-app": secret(username="app", password="p:w", dbname="postgres"),
            "/api/v1/nodes": listed(node("127.0.0.1")),
        }

    @property
    def cluster(self) -> dict[str, Any]:
        """The Cluster object, to be changed."""
        found: dict[str, Any] = self.objects[f"{CLUSTERS}/{NAME}"]
        return found

    def add(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Add an object to a list, and return it; a pod runs at once."""
        items = self.objects[path]["items"]
        name = body["metadata"].get("name") or f"{body['metadata']['generateName']}{len(items)}"
        made = body | {"metadata": body["metadata"] | {"name": name, "uid": name}}
        items.append(made | {"status": {"phase": "Running"}})
        return made

    @contextmanager
    def kubeconfig(self, directory: Path, token: str = TOKEN) -> Iterator[Path]:
        """Serve it; yields a kubeconfig whose contexts are `ours` and `other`, the current one."""
        with serving(self._handler()) as url:
            file = directory / "kubeconfig"
            contexts = [
                {"name": name, "context": {"cluster": "c", "user": "u"}}
                for name in ("ours", "other")
            ]
            text = {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "other",
                "clusters": [{"name": "c", "cluster": {"server": url}}],
                "users": [{"name": "u", "user": {"token": token}}],
                "contexts": contexts,
            }
            file.write_text(yaml.safe_dump(text))
            yield file

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the name that http.server calls
                path = urlsplit(self.path).path
                outer.asked.append(("GET", path))
                if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    return self._refuse(401, "Unauthorized")
                plural = "list" if path.count("/") % 2 == 1 and path != CORE else "get"
                if f"{plural} {path}" in outer.denied:
                    return self._refuse(403, f"user may not {plural} {path}")
                if path not in outer.objects:
                    return self._refuse(404, f"{path} not found")
                return self._send(200, outer.objects[path])

            def do_POST(self) -> None:  # the name that http.server calls
                size = int(self.headers["Content-Length"])
                body = json.loads(self.rfile.read(size))
                outer.asked.append(("POST", self.path))
                if self.path == REVIEWS:
                    wanted = body["spec"]["resourceAttributes"]
                    part = wanted.get("subresource")
                    resource = f"{wanted['resource']}/{part}" if part else wanted["resource"]
                    allowed = f"{wanted['verb']} {resource}" not in outer.denied
                    return self._send(201, body | {"status": {"allowed": allowed}})
                if self.path == WHO:
                    return self._send(201, {"status": {"userInfo": {"username": "alice"}}})
                path, _, query = self.path.partition("?")
                if f"create {path}" in outer.denied:
                    return self._refuse(403, f"user may not create {path}")
                if path not in outer.objects:
                    return self._refuse(404, f"{path} not found")
                made = body if "dryRun=All" in query else outer.add(path, body)
                return self._send(201, made)

            def do_PATCH(self) -> None:  # the name that http.server calls
                self.rfile.read(int(self.headers["Content-Length"]))
                self._send(200, {})

            def do_DELETE(self) -> None:  # the name that http.server calls
                path = self.path.partition("?")[0]
                plural, _, name = path.rpartition("/")
                outer.asked.append(("DELETE", plural))
                items = outer.objects[plural]["items"]
                items[:] = [one for one in items if one["metadata"]["name"] != name]
                outer.objects.pop(path, None)
                self._send(200, {"kind": "Status"})

            def _refuse(self, code: int, message: str) -> None:
                self._send(code, {"kind": "Status", "message": message, "code": code})

            def _send(self, code: int, content: object) -> None:
                data = json.dumps(content).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        return Handler


def place_of(**changed: Any) -> Place:  # noqa: ANN401  # fields differ in type
    """Return a place for pods of that cluster."""
    fields = {"kubeconfig": "/k", "context": "ours", "namespace": NAMESPACE, "cluster": NAME}
    others = {"image": "postgresql:16", "pull_secrets": (), "workers": 1}
    return Place.model_validate(fields | others | changed)


def listed(*objects: dict[str, Any]) -> dict[str, Any]:
    """Return a list of objects."""
    return {"items": list(objects)}


def pod(name: str, operator: str = "1.27.1") -> dict[str, Any]:
    """Return an instance's pod, ready."""
    return {
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "annotations": {"cnpg.io/operatorVersion": operator},
            "labels": {"cnpg.io/cluster": NAME, "cnpg.io/podRole": "instance"},
        },
        "spec": {"nodeName": "n1", "containers": [{"name": "postgres", "image": "postgresql:16"}]},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [
                {
                    "name": "postgres",
                    "containerID": f"containerd://{name}",
                    "image": "postgresql:16",
                    "imageID": "x",
                    "ready": True,
                    "restartCount": 0,
                }
            ],
        },
    }


def service(
    name: str, selector: dict[str, str], port: int, kind: str = "NodePort"
) -> dict[str, Any]:
    """Return a Service whose node port is a port of this machine."""
    ports = [{"name": "postgres", "port": 5432, "targetPort": 5432, "nodePort": port}]
    return {
        "metadata": {"name": name},
        "spec": {"type": kind, "selector": selector, "ports": ports},
        "status": {"loadBalancer": {}},
    }


def node(address: str) -> dict[str, Any]:
    """Return a node that is ready."""
    return {
        "metadata": {"name": "n1"},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def secret(**values: str) -> dict[str, Any]:
    """Return a Secret that holds these."""
    data = {key: base64.b64encode(text.encode()).decode() for key, text in values.items()}
    return {"metadata": {"name": "s"}, "data": data}
