"""Pieces of SQL that identify a server, for use in any statement.

Imports nothing heavy: this is loaded in the prober's own process, whose memory is budgeted.
"""

from psycopg.sql import SQL

IDENTITY_SQL = {
    # The member that answered, whatever the address of the connection.
    "address": SQL("coalesce(host(inet_server_addr()) || ':' || inet_server_port(), 'local')"),
    # Its postmaster's start, in seconds of Unix time: the same address may be another server.
    "since": SQL(" || ' since ' || extract(epoch FROM pg_postmaster_start_time())::bigint"),
    # Its timeline, in hexadecimal: of the WAL that it writes now, or of its latest checkpoint.
    "wal": SQL("left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)"),
    "checkpoint": SQL("(SELECT to_hex(timeline_id) FROM pg_control_checkpoint())"),
}
TIMELINES = ("wal", "checkpoint")  # the first that is allowed
IDENTITY_ALWAYS = ("wal",)  # in addition to the address, in a cluster of this suite
