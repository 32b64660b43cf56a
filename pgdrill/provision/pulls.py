"""Pulling one image by another program, which goes on after a cut where it was."""

from collections.abc import Sequence
from pathlib import Path

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.provision.commands import Say, logged
from pgdrill.waiting import DeadlineError, eventually

TRY_AGAIN_EVERY = 5.0  # seconds
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


class _CutError(Exception):
    """A pull ended before its end, and may go on."""


def pull(what: str, command: Sequence[str], log: Path, say: Say, *, within: float) -> None:
    """Run a command that pulls, again after each failure that may pass, for within seconds.

    Raises:
        BrokenEnvironmentError: it cannot pull, with its last words and what to do.
    """

    def attempt() -> bool:
        try:
            logged(what, command, log, say, within=within)
        except BrokenEnvironmentError as error:
            for words, remedy in HOPELESS.items():
                if words in str(error):
                    raise BrokenEnvironmentError(f"{error}{remedy}") from None
            say(f"{error}: trying again")
            raise _CutError(str(error)) from None
        return True

    try:
        eventually(what, attempt, within=within, every=TRY_AGAIN_EVERY, not_yet=(_CutError,))
    except DeadlineError as error:
        raise BrokenEnvironmentError(f"{error.__cause__}") from None
