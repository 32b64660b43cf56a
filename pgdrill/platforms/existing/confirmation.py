"""The user's confirmation, by the name of the cluster, before it is loaded or broken."""

import select
from collections.abc import Callable
from pathlib import Path

from pgdrill.errors import BadUsageError

TYPED_WITHIN = 60.0  # seconds for the user to type a name


def confirm(name: str, given: str, say: Callable[[str], None]) -> None:
    """Ask for the cluster's name at the terminal, unless it was given with --yes-break.

    Raises:
        BadUsageError: another name is typed, or none in time, or there is no terminal.
    """
    if given == name:
        return
    remedy = f"nothing was done; --yes-break={name} confirms it"
    try:
        # pytest keeps standard input for itself.
        with Path("/dev/tty").open() as terminal:
            say(f"type the name of the cluster, {name}, to go on:")
            heard, _, _ = select.select([terminal], [], [], TYPED_WITHIN)
            typed = terminal.readline().strip() if heard else ""
    except OSError:
        raise BadUsageError(f"there is no terminal to confirm at: {remedy}") from None
    if typed != name:
        raise BadUsageError(f"'{typed}' is not {name}: {remedy}")
