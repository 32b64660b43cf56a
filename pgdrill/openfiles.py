"""The limit of open files and sockets of this run: macOS allows 256 by default."""

import resource

from pgdrill.errors import BrokenEnvironmentError

# The prober's sessions in an outage (40 new ones, and as many to members), files and pipes
# of everything else; each client of pgbench is one more.
BESIDES_CLIENTS = 512


def allow(clients: int) -> None:
    """Raise the soft limit of this process and its children to what a run needs, where it is lower.

    Raises:
        BrokenEnvironmentError: the hard limit is lower, too.
    """
    needed = BESIDES_CLIENTS + clients
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    except (ValueError, OSError):
        raise BrokenEnvironmentError(
            f"{clients} clients need {needed} open files and no more than {hard} are allowed here:"
            " raise the hard limit (`ulimit -Hn`), or ask for fewer --clients"
        ) from None
