"""Choosing the platform, and saying why: the first line that every command prints."""

import platform
import sys

from pgdrill.errors import BadUsageError, BrokenEnvironmentError
from pgdrill.platforms.base import Platform
from pgdrill.platforms.local import LocalPlatform
from pgdrill.platforms.local import layout as layouts
from pgdrill.platforms.local.layout import Layout
from pgdrill.progress import Reporter
from pgdrill.provision import container_engine
from pgdrill.provision.supply import Supply
from pgdrill.settings import BY_KEY, EXISTING, Settings

# Options that others than these platforms would ignore, and what they are for.
ONLY_FOR = {
    ("kind", "kube"): ("pods", ("load", "load_workers", "prober_image")),
    ("kube",): ("an existing cluster", ("context", "namespace", "node_namespace", "chart_values")),
    ("patroni",): ("an existing cluster", ("patroni", "patroni_auth", "patroni_ca", "ssh")),
    EXISTING: (
        "an existing cluster",
        (
            *("cluster", "level", "yes_break", "dsn", "rw_host", "ro_host"),
            *("prometheus_url", "alertmanager_url", "alert"),
            *("monitoring_token", "monitoring_cert", "monitoring_ca", "monitoring_labels"),
        ),
    ),
}


def choose(
    settings: Settings, reporter: Reporter | None = None, does: str = ""
) -> tuple[Platform, str]:
    """Return the platform of this run and the reason for it.

    does: what is done to an existing cluster; '': all that its level allows.

    Raises:
        BadUsageError: a combination of options that cannot be.
        BrokenEnvironmentError: local was asked for, and this is not Linux.
    """
    wanted = settings.platform
    why = f"--platform={wanted}"
    if wanted == "auto":
        wanted, why = _detect(settings)
    _refuse_options_of_others(settings, wanted)
    if wanted == "kube":
        return _kube(settings, reporter, why, does)
    if wanted == "patroni":
        return _patroni(settings, reporter, why, does)
    if wanted == "kind":
        return _kind(settings, reporter), why
    if settings.engine not in ("auto", "patroni"):
        raise BadUsageError(
            f"--engine={settings.engine} does not run on local: its only engine is patroni"
        )
    if settings.asked_for("postgres") not in ("", "15"):
        raise BadUsageError(
            f"--postgres={settings.postgres} does not run on local: it has Debian 12's, 15; use"
            " --platform=kind"
        )
    if settings.asked_for("kubernetes"):
        raise BadUsageError(
            f"--kubernetes={settings.kubernetes} does not run on local, which has none; use"
            " --platform=kind"
        )
    if sys.platform != "linux":
        raise BrokenEnvironmentError(
            f"platform local ({why}) runs on Linux only and this is {platform.system()}:"
            " use --platform=kind, with Docker"
        )
    return LocalPlatform(reporter), why


def _kube(
    settings: Settings, reporter: Reporter | None, why: str, does: str
) -> tuple[Platform, str]:
    if settings.engine not in ("auto", "cnpg"):
        raise BadUsageError(f"--engine={settings.engine} is not on kube: its engine is cnpg")
    from pgdrill.platforms.kube.own import OwnKubePlatform  # noqa: PLC0415  # see below
    from pgdrill.platforms.kube.platform import KubePlatform  # noqa: PLC0415

    if settings.cluster and settings.chart_values:
        raise BadUsageError(
            f"--chart-values is for a cluster that pgdrill makes, and --cluster={settings.cluster}"
            " names one that is there: leave one of them out"
        )
    platform = (KubePlatform if settings.cluster else OwnKubePlatform)(settings, reporter)
    return platform, f"{why}: {platform.announcement(does)}"


def _refuse_options_of_others(settings: Settings, wanted: str) -> None:
    """Refuse what would be ignored: options that only other platforms read.

    Raises:
        BadUsageError: one is given.
    """
    for platforms, (what, keys) in ONLY_FOR.items():
        for key in keys:
            if wanted not in platforms and settings.asked_for(key):
                needed = " or ".join(f"--platform={name}" for name in platforms)
                raise BadUsageError(f"--{BY_KEY[key].name} is for {what}: it needs {needed}")


def _patroni(
    settings: Settings, reporter: Reporter | None, why: str, does: str
) -> tuple[Platform, str]:
    if settings.engine not in ("auto", "patroni"):
        raise BadUsageError(
            f"--engine={settings.engine} is not on patroni: its only engine is patroni"
        )
    from pgdrill.platforms.patroni.platform import PatroniPlatform  # noqa: PLC0415  # as kube

    platform = PatroniPlatform(settings, reporter)
    return platform, f"{why}: {platform.announcement(does)}"


def _kind(settings: Settings, reporter: Reporter | None) -> Platform:
    if settings.engine not in ("auto", "cnpg"):
        raise BadUsageError(f"--engine={settings.engine} is not on kind yet: its engine is cnpg")
    from pgdrill.platforms.kind import KindPlatform  # noqa: PLC0415  # `local` need not load it

    return KindPlatform(reporter, Supply.of(settings))


def _detect(settings: Settings) -> tuple[str, str]:
    """Take what is there already, else the best that this machine can carry.

    Raises:
        BadUsageError: both are there, and `down` would remove one of them.
    """
    if settings.context:
        return "kube", f"auto: --context={settings.context} was given"
    if settings.patroni:
        return "patroni", "auto: --patroni was given"
    if settings.engine != "auto":
        there = {"patroni": "local", "cnpg": "kind"}[settings.engine]
        return there, f"auto: --engine={settings.engine} runs there"
    from pgdrill.platforms.kind import preflight, state  # noqa: PLC0415  # see above

    places = (
        ("kind", state.state_dir(), state.Installation),
        ("local", layouts.state_dir(), Layout),
    )
    made = [(name, directory) for name, directory, one in places if one.load(directory)]
    if len(made) > 1:
        both = " and ".join(f"{name} ({directory})" for name, directory in made)
        raise BadUsageError(
            f"{both} are both there: choose one with PLATFORM=kind or PLATFORM=local"
        )
    if made:
        name, directory = made[0]
        return name, f"auto: {directory} is there"
    if sys.platform != "linux":
        return "kind", "auto: the other platform, local, runs on Linux only"
    if not container_engine.answers():
        return "local", "auto: no container engine answers"
    reason = preflight.shortcoming(settings.images)
    if reason:
        return "local", f"auto: {reason}"
    return "kind", "auto: a container engine answers"
