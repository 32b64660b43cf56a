"""Choosing the platform, and saying why: the first line that every command prints."""

import shutil
import subprocess

from pgdrill.errors import BadUsageError
from pgdrill.platforms.base import Platform
from pgdrill.platforms.local import LocalPlatform
from pgdrill.progress import Reporter
from pgdrill.settings import Settings


def choose(settings: Settings, reporter: Reporter | None = None) -> tuple[Platform, str]:
    """Return the platform of this run and the reason for it.

    Raises:
        BadUsageError: a combination of options that cannot be.
    """
    wanted = settings.platform
    why = f"--platform={wanted}"
    if wanted == "auto":
        wanted, why = _detect(settings)
    if wanted == "kind":
        return _kind(settings, reporter), why
    if wanted != "local":
        raise BadUsageError(
            f"platform {wanted} ({why}) is not in this version of pgdrill: use --platform=local"
        )
    if settings.engine not in ("auto", "patroni"):
        raise BadUsageError(
            f"--engine={settings.engine} does not run on local: its only engine is patroni"
        )
    if settings.context:
        raise BadUsageError("--context names a Kubernetes cluster: it goes with --platform=kube")
    return LocalPlatform(reporter), why


def _kind(settings: Settings, reporter: Reporter | None) -> Platform:
    if settings.engine not in ("auto", "cnpg"):
        raise BadUsageError(f"--engine={settings.engine} is not on kind yet: its engine is cnpg")
    from pgdrill.platforms.kind import KindPlatform  # noqa: PLC0415  # `local` need not load it

    return KindPlatform(reporter)


def _detect(settings: Settings) -> tuple[str, str]:
    if settings.context:
        return "kube", f"auto: --context={settings.context} was given"
    if _container_engine_answers():
        return "local", "auto: kind is unfinished in this version, ask for it by --platform=kind"
    return "local", "auto: no container engine answers"


def _container_engine_answers() -> bool:
    docker = shutil.which("docker")
    if not docker:
        return False
    try:
        done = subprocess.run([docker, "info"], capture_output=True, timeout=5)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
