"""Views of a cluster as text: tables as kubectl prints them, objects, logs."""

import json
from collections.abc import Sequence
from urllib.parse import urlencode

import yaml
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

AS_JSON = "application/json"
AS_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
TAIL = 400  # lines of a log
WITHIN = 20.0  # seconds for one answer


def table(api: client.ApiClient, *paths: str) -> str:
    """Return lists of objects as wide tables, one after another; a refusal in place of its list."""
    return "\n".join(f"{path}\n{_shown(api, path)}\n" for path in paths)


def _shown(api: client.ApiClient, path: str) -> str:
    try:
        found = json.loads(_get(api, path, AS_TABLE))
    except (ApiException, HTTPError, ValueError) as error:
        return why(error)
    heads = [str(column["name"]).upper() for column in found.get("columnDefinitions", [])]
    oldest_first = sorted(found.get("rows", []), key=lambda row: _of(row, "creationTimestamp"))
    rows = [[_of(row, "namespace"), *map(str, row["cells"])] for row in oldest_first]
    return _aligned([["NAMESPACE", *heads], *rows]) if rows else "none"


def _of(row: dict[str, dict[str, dict[str, str]]], name: str) -> str:
    return row.get("object", {}).get("metadata", {}).get(name, "-")


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("   ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def document(api: client.ApiClient, path: str) -> str:
    """Return one object as YAML, without the record of who changed which field."""
    try:
        found = json.loads(_get(api, path, AS_JSON))
    except (ApiException, HTTPError, ValueError) as error:
        return why(error)
    found.get("metadata", {}).pop("managedFields", None)
    return str(yaml.safe_dump(found, sort_keys=False))


def log(api: client.ApiClient, namespace: str, pod: str, container: str = "") -> str:
    """Return the last lines of a pod's log, or the reason why there is none."""
    query = urlencode({"tailLines": TAIL} | ({"container": container} if container else {}))
    try:
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log?{query}"
        return _get(api, path, "*/*").decode(errors="replace")
    except (ApiException, HTTPError) as error:
        return why(error)


def logs_of(api: client.ApiClient, namespace: str, selector: str) -> str:
    """Return the last lines of the log of every pod that labels select."""
    query = urlencode({"labelSelector": selector})
    try:
        found = json.loads(_get(api, f"/api/v1/namespaces/{namespace}/pods?{query}", AS_JSON))
    except (ApiException, HTTPError, ValueError) as error:
        return why(error)
    return "\n".join(log(api, namespace, pod["metadata"]["name"]) for pod in found["items"])


def why(error: Exception) -> str:
    """Return the API server's own reason for a refusal, else the error on the way to it."""
    body = getattr(error, "body", None)
    try:
        return str(json.loads(body)["message"]) if body else str(error)
    except (ValueError, KeyError, TypeError):
        return str(getattr(error, "reason", None) or error)


def _get(api: client.ApiClient, path: str, accept: str) -> bytes:
    method, url, headers, *_ = api.param_serialize(
        "GET", path, header_params={"Accept": accept}, auth_settings=["BearerToken"]
    )
    answer = api.call_api(method, url, headers, _request_timeout=WITHIN)
    data = bytes(answer.read())
    if answer.status != 200:
        raise ApiException(http_resp=answer)
    return data
