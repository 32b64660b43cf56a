"""`pgdrill init`: the settings of an existing Patroni cluster, written down after a look at it."""

from datetime import UTC, datetime
from pathlib import Path

from pgdrill.errors import BadUsageError
from pgdrill.platforms.existing.settings_text import ALERTS, MONITORING
from pgdrill.platforms.patroni.discovery import look_up, rest_access
from pgdrill.settings import Settings

_TEXT = """\
# {scope}: {members} members of PostgreSQL {postgres}, Patroni {patroni};
# written by `pgdrill init` on {day}. `pgdrill patroni preflight` checks what a drill needs there.
platform = "patroni"
patroni = "{urls}"
{files}cluster = "{scope}"

# Where clients come in: an address that follows the primary. A password is in a file of its own,
# as libpq has it: HOST:PORT:DATABASE:USER:PASSWORD, readable for its owner alone.
dsn = "{dsn}"
# ro-host = "db.example:5001"

# What a run may do: observe (reads, and one row), load (loads the database too), fault (moves and
# restarts the primary, rebuilds a standby), node (stops and kills processes too, by a shell on each
# machine). All but the first ask for the cluster's name before they begin.
level = "observe"
# ssh = "ssh root@{{host}}"

# A cluster with such a tag on a member is refused.
# production-labels = "environment=production,env=prod"

{monitoring}
# Your limits in place of pgdrill's; `pgdrill budgets` lists the keys.
[budgets]
# "switchover.write-gap" = 10
# "primary_restart.write-gap" = 10
{alerts}"""
_EXAMPLE = "host=db.example port=5000 dbname=app user=drill passfile=/home/me/.pgpass"


def init(file: Path, settings: Settings) -> str:
    """Write the settings of the cluster to a file that is not there yet; return what it is.

    Raises:
        BadUsageError: the file exists, or no address is given.
        BrokenEnvironmentError: the cluster cannot be looked at.
    """
    if file.exists():
        raise BadUsageError(f"{file} exists: change it, or remove it first; nothing was written")
    if not settings.patroni:
        raise BadUsageError("name the REST API with --patroni=URL,...; nothing was written")
    access = rest_access(settings.patroni_auth, settings.patroni_ca)
    found = look_up(access, settings.patroni.split(","))
    files = "".join(
        f'{name} = "{value}"\n'
        for name, value in (
            ("patroni-auth", settings.patroni_auth),
            ("patroni-ca", settings.patroni_ca),
        )
        if value
    )
    text = _TEXT.format(
        scope=found.scope,
        members=len(found.members),
        postgres=found.postgres,
        patroni=found.patroni or "of unknown version",
        day=f"{datetime.now(UTC):%Y-%m-%d}",
        urls=",".join(member.rest for member in found.members),
        files=files,
        monitoring=MONITORING,
        alerts=ALERTS.format(fault="switchover"),
        dsn=settings.dsn.replace("\\", "\\\\").replace('"', '\\"') or _EXAMPLE,
    )
    file.write_text(text)
    at = ", ".join(found.rest)
    return f"{found.scope} of {at}: PostgreSQL {found.postgres}, Patroni {found.patroni}"
