"""One run at a time on an installation."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pgdrill.errors import BrokenEnvironmentError


@contextmanager
def exclusive(path: Path, what: str, mover: str = "PGDRILL_STATE_DIR") -> Iterator[None]:
    """Hold a lock file for as long as the block lasts; mover is the variable that moves it.

    Raises:
        BrokenEnvironmentError: another run holds it, or it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise BrokenEnvironmentError(
            f"cannot keep state beside {path} ({error.strerror}):"
            f" set {mover} to a directory that you can write to"
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The holder before us removes the file: a lock on a removed file holds nothing.
            held = path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))
        except BlockingIOError:
            held = False
        if not held:
            file.seek(0)
            raise BrokenEnvironmentError(
                f"another run uses {what} (pid {file.read().strip() or '?'}):"
                " wait until it ends, or end it"
            )
        file.truncate(0)
        file.write(f"{os.getpid()}")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
