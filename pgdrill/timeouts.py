"""The bounds of waits that more than one module has, in seconds, named by the event waited for.

A bound is the longest time that the suite waits. It is no promise: promises are in
`judge` and in the catalogue of faults. A bound that only one module needs is a constant there.

PGDRILL_WAIT_FACTOR (a number from 1 on, default 1) multiplies the bounds that a slow machine may
need more of. It leaves out the requests of observers: a slow answer to one of them would hide what
the next one sees.
"""

import os

from pgdrill.errors import BadUsageError

FACTOR_VARIABLE = "PGDRILL_WAIT_FACTOR"


def wait_factor(text: str) -> float:
    """Return the factor that a text gives.

    Raises:
        BadUsageError: it is no number from 1 on.
    """
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 1 <= factor < 1000:
        raise BadUsageError(f"{FACTOR_VARIABLE} is '{text}': it must be a number from 1 on")
    return factor


def _factor() -> float:
    try:
        return wait_factor(os.environ.get(FACTOR_VARIABLE) or "1")
    except BadUsageError:
        return 1.0  # `settings.resolve` refuses it, in one line


FACTOR = _factor()

# --- the cluster
REDUNDANT_BEFORE = 60.0 * FACTOR  # fully redundant before a test or a fault: the last one may heal
REDUNDANT_AFTER = 120.0 * FACTOR  # fully redundant after it: a rebuilt member copies every row
FIRST_ACKS = 15.0 * FACTOR  # the prober's first acknowledged writes
ADDRESS_ANSWERS = 30.0 * FACTOR  # an address answers that did not do so once
LEDGER_REPLAYED = 30.0 * FACTOR  # every standby has replayed the last rows of the ledger
MEMBER_GONE = 30.0 * FACTOR  # an incarnation that was killed is seen to be gone
MEMBER_RESTARTED = 60.0 * FACTOR  # Patroni has restarted one PostgreSQL
PATRONI_TAKES = 10.0 * FACTOR  # Patroni accepts what it is asked to do, and begins
SWITCHED_OVER = 60.0 * FACTOR  # Patroni reports how a switchover went

# --- the archive
WAL_STORED = 30.0 * FACTOR  # one WAL file reaches an archive that is in order
# Each file that waits before it: 0.4 to 1.9 s were seen on kind, most of it the start of Barman.
WAL_FILE_STORED = 4.0 * FACTOR
# An S3 client retries some times before it fails, and PostgreSQL tries three times before it
# waits for a minute.
WAL_REFUSED = 90.0 * FACTOR  # the primary has failed to store a file
WAL_STORED_AFTER_FAULT = 90.0 * FACTOR  # every file is stored again
# The archive has all WAL: a million rows are 150 files on kind.
ARCHIVE_CAUGHT_UP = 600.0 * FACTOR
BACKUP_TAKEN = 1800.0 * FACTOR
RESTORE_STEP = 1800.0 * FACTOR  # one step of a restore

# --- a load in the cluster
LOAD_PODS_BEGIN = 120.0 * FACTOR  # its pods run; the image is there, for the database runs it
LOAD_FETCHED = 60.0 * FACTOR  # the whole log of a pod, tens of megabytes, through the API server

# --- images
IMAGE_PULLED = 1800.0 * FACTOR  # one image, cuts included; the node image has some 350 MB

# --- one request
KUBERNETES_ANSWERS = 5.0 * FACTOR  # the API server
PROMETHEUS_ANSWERS = 5.0 * FACTOR  # queries over a few hundred series take milliseconds
ALERTMANAGER_ANSWERS = 5.0 * FACTOR
REGISTRY_ANSWERS = 10.0 * FACTOR
DOWNLOAD_ANSWERS = 15.0 * FACTOR  # a server, and between two pieces of a file
# Of observers, without the factor:
PATRONI_ANSWERS = 1.0  # a frozen member must not hold up the view of the others
POOLER_ANSWERS = 2.0  # an observer of the pooler must not lag behind
PUSHGATEWAY_ANSWERS = 1.0  # it only keeps a few kilobytes in memory
