"""Which of their own alert rules would see an outage of this cluster; nothing is broken for it."""

import shutil
from collections.abc import Iterator, Sequence

from pgdrill.errors import BadUsageError, BrokenEnvironmentError
from pgdrill.observe.coverage import Seen, coverage, outages, read
from pgdrill.observe.existing import Monitoring, monitoring_of
from pgdrill.observe.prometheus import Labelled, NoDataError
from pgdrill.platforms.kube.platform import KubePlatform

PROMTOOL = "promtool"


def look(platform: KubePlatform) -> tuple[Seen, ...]:
    """Return what each outage would raise, by the rules that are loaded and the series of now.

    Raises:
        BadUsageError: no monitoring is named.
        BrokenEnvironmentError: it does not answer or has no such series, or promtool is missing.
    """
    promtool = shutil.which(PROMTOOL)
    if promtool is None:
        raise BrokenEnvironmentError(
            f"{PROMTOOL} is not on the PATH: it comes with Prometheus (Debian: `apt-get install"
            " prometheus`; macOS: `brew install prometheus`)"
        )
    theirs = monitoring_of(platform.settings)
    if theirs is None:
        raise BadUsageError("name --prometheus-url and --alertmanager-url: whose rules are they?")
    primary, members = platform.found.primary, platform.found.members
    standbys = sorted(set(members) - {primary})
    if primary not in members or not standbys:
        raise BrokenEnvironmentError(
            f"{platform.title} has {primary or 'no primary'} and {len(standbys)} standbys: an"
            " outage needs a primary and a standby"
        )
    groups = theirs.prometheus.groups()
    series = read(_everything(theirs), groups)
    silent = {primary, *standbys} - {one.pod for one in series if one.name == "up"}
    if silent:
        raise BrokenEnvironmentError(
            f"Prometheus at {theirs.prometheus.url} has no `up` with a label pod of"
            f" {', '.join(sorted(silent))}: without it no outage can be written down"
        )
    step = theirs.prometheus.scrape_interval()
    return coverage(groups, series, outages(primary, standbys), step, promtool)


def _everything(theirs: Monitoring) -> Sequence[Labelled]:
    try:
        return theirs.prometheus.everything()
    except NoDataError as error:
        raise BrokenEnvironmentError(f"{error}: name others with --monitoring-labels") from None


def rows(found: Sequence[Seen]) -> Iterator[tuple[str, str, str]]:
    """Yield outage, length, and what would fire, the first to do so first."""
    last = ""
    for seen in found:
        name = seen.outage.name
        came = ", ".join(
            f"{alert} after {seconds:.0f} s"
            for alert, seconds in sorted(seen.alerts.items(), key=lambda one: one[1])
        )
        yield "" if name == last else name, f"{seen.outage.lasting:g} s", came or "nobody"
        last = name
