"""`pgdrill init`: the settings of an existing cluster, written down after a look at it."""

from datetime import UTC, datetime
from pathlib import Path

from pgdrill.errors import BadUsageError, BrokenEnvironmentError
from pgdrill.platforms.existing.settings_text import ALERTS, MONITORING
from pgdrill.platforms.kube.discovery import FoundCluster, find_clusters, look_up
from pgdrill.platforms.kubernetes.access import Access

_TEXT = """\
# {namespace}/{name}: {instances} instances of {postgres}, operator {operator};
# written by `pgdrill init` on {day}. `pgdrill kube preflight` checks what a drill needs there.
platform = "kube"
context = "{context}"
namespace = "{namespace}"
cluster = "{name}"

# What a run may do: observe (reads, and one row), load (loads the database too), fault (deletes
# pods and moves the primary too). The last two ask for the cluster's name before they begin.
level = "observe"

# A namespace with one of these labels is refused.
# production-labels = "environment=production,env=prod"

{monitoring}
# Your limits in place of pgdrill's; `pgdrill budgets` lists the keys.
[budgets]
# "primary_kill.write-gap" = 15
# "p99-latency" = 200
{alerts}"""


def init(file: Path, access: Access, namespace: str, cluster: str) -> FoundCluster:
    """Write the settings of a cluster to a file that is not there yet; return the cluster.

    namespace, cluster: '' where the only one that there is will do.

    Raises:
        BadUsageError: the file exists, or there are several clusters that fit.
        BrokenEnvironmentError: the API server does not answer or refuses, or there is no cluster.
    """
    if file.exists():
        raise BadUsageError(f"{file} exists: change it, or remove it first; nothing was written")
    if not (namespace and cluster):
        namespace, cluster = _only(access, namespace, cluster)
    found = look_up(access, namespace, cluster)
    text = _TEXT.format(
        namespace=namespace,
        name=cluster,
        instances=found.instances,
        postgres=found.postgres,
        operator=found.operator or "of unknown version",
        day=f"{datetime.now(UTC):%Y-%m-%d}",
        context=access.context,
        monitoring=MONITORING,
        alerts=ALERTS.format(fault="primary_kill"),
    )
    file.write_text(text)
    return found


def _only(access: Access, namespace: str, cluster: str) -> tuple[str, str]:
    """Return the only cluster that fits, by namespace and name."""
    there = [one for one in find_clusters(access, namespace) if cluster in ("", one[1])]
    where = f"namespace {namespace}" if namespace else "any namespace"
    if not there:
        raise BrokenEnvironmentError(
            f"there is no Cluster {cluster}".rstrip()
            + f" in {where} of context {access.context}: CloudNativePG has to have made one, or"
            f" pgdrill makes one of its own, `pgdrill kube preflight --context={access.context}`"
        )
    if len(there) > 1:
        listed = ", ".join("/".join(one) for one in there)
        raise BadUsageError(
            f"context {access.context} has {listed}: name one with --namespace=NAME --cluster=NAME"
        )
    return there[0]
