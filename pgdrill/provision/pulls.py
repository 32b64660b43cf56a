"""Pulling one image with another program; an interrupted pull continues."""

from collections.abc import Sequence
from pathlib import Path

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.provision.commands import Say, logged
from pgdrill.waiting import pause

TRIES, TRY_AGAIN_EVERY = 5, 5.0  # seconds; Docker and containerd try each layer several times, too
# What another try does not mend, in the words of Docker and containerd, and what does.
HOPELESS = {
    "no space left": ": make room where Docker keeps its data (`docker system df`)",
    "HTTP response to HTTPS": ": add the mirror to `insecure-registries` in Docker's daemon.json",
    "not found": "",
    "manifest unknown": "",
    "denied": "",
    "unauthorized": "",
    "forbidden": "",
}


def pull(what: str, command: Sequence[str], log: Path, say: Say, *, within: float) -> None:
    """Run a command that pulls, again after a failure that may pass; each try has within seconds.

    Raises:
        BrokenEnvironmentError: it cannot pull, with its last words and what to do.
    """
    for tries_left in reversed(range(TRIES)):
        try:
            logged(what, command, log, say, within=within)
        except BrokenEnvironmentError as error:
            for words, remedy in HOPELESS.items():
                if words in str(error):
                    raise BrokenEnvironmentError(f"{error}{remedy}") from None
            if not tries_left:
                raise
            say(f"{error}: going on")
            pause(TRY_AGAIN_EVERY)
        else:
            return
