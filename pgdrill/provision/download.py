"""Files of releases: fetched, gone on with after a cut, kept only if their digest is right."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from pgdrill import timeouts
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.provision.commands import Say
from pgdrill.provision.registry import why
from pgdrill.waiting import DeadlineError, eventually

FETCHED_WITHIN = 900.0  # seconds for one file; the largest has 60 MB
TRY_AGAIN_EVERY = 3.0  # seconds after a cut
TRIES_WITHIN = 60.0  # seconds of cuts without a new byte
CHUNK = 1 << 18


class NotFetchedError(BrokenEnvironmentError):
    """A file could not be had: no network, no such file, or no room for it."""


class WrongBytesError(BrokenEnvironmentError):
    """A file came whole, and has another digest than expected."""


class _CutError(Exception):
    """The connection ended before the file did."""


def mirrored(url: str, releases: str) -> str:
    """Return the URL to fetch from: the original, or the same host and path below a mirror."""
    parts = urlsplit(url)
    return f"{releases}/{parts.netloc}{parts.path}" if releases else url


def fetch(what: str, url: str, sha256: str, into: Path, say: Say) -> int:
    """Put the file of a URL where it belongs, whole and checked, and return its bytes.

    A partial file of an earlier try is continued.

    Raises:
        NotFetchedError: it cannot be had.
        WrongBytesError: its digest is another.
    """
    partial = into.with_name(f"{into.name}.partial")
    with _room_for(what, into):
        into.parent.mkdir(parents=True, exist_ok=True)
        _go_on(what, url, partial, say)
    with partial.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != sha256:
        partial.unlink()
        raise WrongBytesError(
            f"{what}: {url} has the SHA-256 {found[:12]}..., and {sha256[:12]}... was published:"
            " it was not kept; look at what stands between this machine and that address"
        )
    partial.rename(into)
    return into.stat().st_size


def published(what: str, url: str) -> str:
    """Return the SHA-256 that a release publishes beside a file.

    Raises:
        NotFetchedError: it cannot be had, or holds none.
    """
    words = text(what, url).split()
    if not words or len(words[0]) != 64:
        raise NotFetchedError(f"{what}: {url} holds no SHA-256")
    return words[0].lower()


def text(what: str, url: str) -> str:
    """Return a short file of a URL.

    Raises:
        NotFetchedError: it cannot be had.
    """
    try:
        answer = requests.get(url, timeout=timeouts.DOWNLOAD_ANSWERS)
    except requests.RequestException as error:
        raise NotFetchedError(f"{what}: {_place(url)} cannot be reached ({why(error)})") from None
    _demand_found(what, url, answer)
    return answer.text


def _go_on(what: str, url: str, partial: Path, say: Say) -> None:
    """Fetch until the file is whole; a cut is gone on from, as long as there is progress."""
    last = 0

    def attempt() -> bool:
        nonlocal last
        try:
            _fetch_rest(what, url, partial)
        except _CutError as cut:
            size = partial.stat().st_size
            if size > last:
                last = size
                say(f"{what}: cut off after {size / 1e6:.1f} MB ({cut}), going on")
                return False
            raise
        return True

    whole = False
    try:
        while not whole:
            whole = eventually(
                what,
                attempt,
                lambda _: True,  # each new piece restarts the time
                within=TRIES_WITHIN,
                every=TRY_AGAIN_EVERY,
                not_yet=(_CutError,),
            )
    except DeadlineError as error:
        raise NotFetchedError(
            f"{what}: {_place(url)} cannot be reached ({error.__cause__})"
        ) from None


def _fetch_rest(what: str, url: str, partial: Path) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    asked = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with requests.get(
            url, headers=asked, stream=True, timeout=timeouts.DOWNLOAD_ANSWERS
        ) as answer:
            if have and answer.status_code == requests.codes.requested_range_not_satisfiable:
                return  # it is whole already
            _demand_found(what, url, answer)
            goes_on = answer.status_code == requests.codes.partial_content
            expected = int(answer.headers.get("Content-Length", 0)) + (have if goes_on else 0)
            with partial.open("ab" if goes_on else "wb") as file:
                while chunk := answer.raw.read1(CHUNK):  # keeps what came before a cut
                    file.write(chunk)
    except requests.ConnectionError as error:
        if not partial.exists():  # no server at all: trying for long is of no use
            raise NotFetchedError(
                f"{what}: {_place(url)} cannot be reached ({why(error)})"
            ) from None
        raise _CutError(why(error)) from None
    except (requests.RequestException, HTTPError) as error:
        partial.touch()
        raise _CutError(why(error)) from None
    if expected and partial.stat().st_size < expected:
        raise _CutError(f"{expected - partial.stat().st_size} bytes are missing")


def _demand_found(what: str, url: str, answer: requests.Response) -> None:
    if answer.status_code >= requests.codes.bad_request:
        raise NotFetchedError(f"{what}: {url} answers {answer.status_code} {answer.reason}")


def _place(url: str) -> str:
    return f"{urlsplit(url).scheme}://{urlsplit(url).netloc}"


@contextmanager
def _room_for(what: str, place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            for left in place.parent.glob(f"{place.name}.partial"):
                left.unlink()
            raise NotFetchedError(
                f"{what}: no room for it in {place.parent} ({os.strerror(error.errno)}): make"
                " room, or set PGDRILL_CACHE_DIR to a directory on a larger disk"
            ) from None
        raise
