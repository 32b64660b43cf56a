"""Settings of a member under which a write that was acknowledged may be gone after a crash."""

from pgdrill.workload.dataset.sessions import Sessions

LOOK_WITHIN = 30.0  # seconds
# The allowed values. A role or a database may override those in SESSION.
SERVER = {
    "fsync": ("on",),
    "full_page_writes": ("on",),
    "wal_level": ("replica", "logical"),
}
SESSION = {"synchronous_commit": ("on", "remote_apply")}
_OVERRIDES = """
SELECT coalesce(r.rolname, 'every role'), coalesce(d.datname, 'every database'), one
FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) AS one
LEFT JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase
WHERE split_part(one, '=', 1) = ANY(%s) ORDER BY 1, 2, 3
"""
_CHECKSUMS = """
SELECT coalesce(datname, 'shared tables'), checksum_failures FROM pg_stat_database
WHERE checksum_failures > 0 ORDER BY 1
"""


def weaknesses(conninfo: str, *, within: float = LOOK_WITHIN) -> tuple[str, ...]:
    """Name each such setting of the server, a role or a database, and each checksum that failed.

    Looks for within seconds at most; changes nothing.

    Raises:
        BrokenEnvironmentError: the member does not answer.
    """
    found = []
    allowed = SERVER | SESSION
    with Sessions(within) as sessions, sessions.open(conninfo) as connection:
        for name, values in allowed.items():
            rows = connection.execute("SELECT current_setting(%s)", (name,)).fetchall()
            found += [f"{name} is {value}" for (value,) in rows if value not in values]
        for role, database, setting in connection.execute(_OVERRIDES, (list(SESSION),)):
            name, _, value = str(setting).partition("=")
            if value not in allowed[name]:
                found.append(f"{name} is {value} for {role} in {database}")
        found += [
            f"{failures} pages of {database} failed their checksum"
            for database, failures in connection.execute(_CHECKSUMS)
        ]
    return tuple(found)
