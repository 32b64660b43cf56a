"""An address that the user gives, of HOST or HOST:PORT."""

from pgdrill.errors import BadUsageError
from pgdrill.platforms.base import Endpoint

PORT = 5432


def parse(text: str, option: str) -> Endpoint:
    """Read HOST or HOST:PORT; an IPv6 address with a port in brackets.

    Raises:
        BadUsageError: it is neither.
    """
    host, colon, port = (
        text.rpartition(":") if "]:" in text or text.count(":") == 1 else (text, "", "")
    )
    if not host or (colon and not (port.isdigit() and 0 < int(port) < 65536)):
        raise BadUsageError(f"{option}={text}: must be HOST or HOST:PORT")
    return Endpoint(host.strip("[]"), int(port) if port else PORT)
