"""Asking image registries, and their mirrors, what they have and how large it is."""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests

from pgdrill import timeouts
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.provision.components import this_machine
from pgdrill.settings import Mirrors

HUB, HUB_API = "docker.io", "https://registry-1.docker.io"
KINDS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)


class MissingImageError(BrokenEnvironmentError):
    """A registry answers, and does not have an image."""


class UnreachableError(BrokenEnvironmentError):
    """A registry does not answer."""


@dataclass(frozen=True)
class Reference:
    """An image's name, taken apart."""

    host: str
    path: str
    tag: str
    digest: str

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Read a name as the docker client does: without a host it is Docker Hub's."""
        name, _, digest = text.partition("@")
        first, slash, rest = name.partition("/")
        is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
        host, path = (first, rest) if is_host else (HUB, name)
        path, _, tag = path.partition(":")
        if host == HUB and "/" not in path:
            path = f"library/{path}"
        return cls(host, path, tag or ("" if digest else "latest"), digest)

    @property
    def version(self) -> str:
        """The version to request from a registry: the digest where there is one."""
        return self.digest or self.tag

    @property
    def local(self) -> str:
        """The name without the digest, as the docker client lists it."""
        host = "" if self.host == HUB else f"{self.host}/"
        return f"{host}{self.path.removeprefix('library/')}:{self.tag or 'pinned'}"


@dataclass(frozen=True)
class Remote:
    """An image as a registry has it; size is what is transferred, in bytes."""

    digest: str
    size: int


@dataclass(frozen=True)
class Place:
    """The place of an image: api is a URL ending in /v2, prefix what precedes its path."""

    api: str
    prefix: str
    mirror: str  # as the user wrote it; '' for the registry itself

    @classmethod
    def of(cls, host: str, mirrors: Mirrors) -> "Place":
        """Return the place of a registry's images."""
        mirror = mirrors.of(host)
        if not mirror:
            return cls(f"{HUB_API if host == HUB else f'https://{host}'}/v2", "", "")
        parts = urlsplit(mirror)
        path = parts.path.strip("/").removeprefix("v2").strip("/")
        return cls(f"{parts.scheme}://{parts.netloc}/v2", f"{path}/" if path else "", mirror)

    def docker_name(self, wanted: Reference) -> str:
        """Return the name by which the docker client pulls an image from here."""
        host = urlsplit(self.api).netloc if self.mirror else wanted.host
        at = f"@{wanted.digest}" if wanted.digest else f":{wanted.tag}"
        return f"{host}/{self.prefix}{wanted.path}{at}"

    def __str__(self) -> str:
        return f"the registry mirror {self.mirror}" if self.mirror else urlsplit(self.api).netloc


def look_up(references: Sequence[str], mirrors: Mirrors) -> Mapping[str, Remote]:
    """Ask where each image would be pulled from whether it is there, all at once.

    Raises:
        UnreachableError: a registry or mirror does not answer.
        MissingImageError: one does not have an image; names every such image.
    """
    with ThreadPoolExecutor(8) as pool:
        asked = {text: pool.submit(_look_up, text, mirrors) for text in references}
    found, missing = {}, []
    for text, answer in asked.items():
        try:
            found[text] = answer.result()
        except MissingImageError as error:
            missing.append(str(error))
    if missing:
        raise MissingImageError("; ".join(missing))
    return found


def _look_up(text: str, mirrors: Mirrors) -> Remote:
    wanted = Reference.parse(text)
    place = Place.of(wanted.host, mirrors)
    session = _Session(place, wanted)
    answer = session.manifest(wanted.version)
    content = answer.json()
    digest = wanted.digest or answer.headers.get("Docker-Content-Digest", "")
    if "manifests" in content:  # a list by platform
        _, architecture = this_machine()
        fitting = [m["digest"] for m in content["manifests"] if _fits(m, architecture)]
        if not fitting:
            raise MissingImageError(f"{place} has no {text} for linux/{architecture}")
        content = session.manifest(fitting[0]).json()
    parts = [content["config"], *content["layers"]]
    return Remote(digest, sum(int(part["size"]) for part in parts))


def _fits(entry: Mapping[str, Any], architecture: str) -> bool:
    platform = entry.get("platform", {})
    return (platform.get("os"), platform.get("architecture")) == ("linux", architecture)


class _Session:
    """Questions about one image, with the token that the registry gives to every client."""

    def __init__(self, place: Place, wanted: Reference) -> None:
        self._place = place
        self._wanted = wanted
        self._headers = {"Accept": KINDS}

    def manifest(self, version: str) -> requests.Response:
        path = f"{self._place.prefix}{self._wanted.path}"
        url = f"{self._place.api}/{path}/manifests/{version}"
        named = {"ns": self._wanted.host} if self._place.mirror else {}
        answer = self._get(url, named)
        if answer.status_code == requests.codes.unauthorized:
            self._log_in(answer.headers.get("WWW-Authenticate", ""))
            answer = self._get(url, named)
        name = f"{self._wanted.host}/{path}"
        if answer.status_code == requests.codes.not_found:
            raise MissingImageError(
                f"{self._place} has no {self._wanted.host}/{self._wanted.path}"
                f"{'@' if ':' in version else ':'}{version}"
            )
        if not answer.ok:
            raise UnreachableError(
                f"{self._place} answers {answer.status_code} {answer.reason} about {name}"
            )
        try:
            answer.json()
        except requests.JSONDecodeError:
            raise UnreachableError(f"{self._place} is no image registry: {url}") from None
        return answer

    def _get(self, url: str, parameters: Mapping[str, str]) -> requests.Response:
        try:
            return requests.get(
                url, params=parameters, headers=self._headers, timeout=timeouts.REGISTRY_ANSWERS
            )
        except requests.RequestException as error:
            raise UnreachableError(f"{self._place} cannot be reached: {why(error)}") from None

    def _log_in(self, challenge: str) -> None:
        """Fetch an anonymous token, as every client does before it pulls."""
        told = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        if "realm" not in told:
            return
        asked = {key: told[key] for key in ("service", "scope") if key in told}
        answer = self._get(told["realm"], asked)
        if answer.ok:
            token = answer.json()
            self._headers["Authorization"] = f"Bearer {token.get('token') or token['access_token']}"


def why(error: Exception) -> str:
    """Return the innermost reason of a chain of wrapped errors, short."""
    inner: BaseException = error
    while True:
        reason = getattr(inner, "reason", None) or (inner.args[0] if inner.args else None)
        if not isinstance(reason, BaseException):
            break
        inner = reason
    return (str(inner).rpartition(": ")[-1] or type(inner).__name__)[:120]
