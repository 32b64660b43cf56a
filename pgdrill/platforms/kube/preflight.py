"""The needs of a drill of an existing cluster, checked before anything is done."""

from pgdrill.platforms.existing.needs import Row, of_database, of_monitoring, tried
from pgdrill.platforms.kube import rights
from pgdrill.platforms.kube.platform import KubePlatform

MORE = ", infra/kube/rbac.yaml the roles"  # where remedies are, besides the table


def who(platform: KubePlatform) -> str:
    """Return the user that the API server takes us for."""
    return rights.who(platform.reached)


def look(platform: KubePlatform) -> list[Row]:
    """Return every right, and every capability, each with its answer; changes nothing.

    Raises:
        BrokenEnvironmentError: the API server does not answer.
    """
    asked = [
        Row(
            str(one.right),
            one.right.why,
            one.right.level,
            one.allowed,
            "yes" if one.allowed else one.right.optional or "no",
            bool(one.right.optional),
        )
        for one in platform.asked_rights()
    ]
    demanded = [tried(d.what, d.why, d.check, d.level) for d in platform.demands()]
    database = of_database(platform) if platform.is_there else ()
    return [*asked, *demanded, *database, *of_monitoring(platform)]
