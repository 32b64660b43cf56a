"""How Patroni's REST API is asked: with credentials and certificates where it wants them."""

from dataclasses import dataclass, field
from typing import Any

import requests

from pgdrill.process_environment import authorities


@dataclass(frozen=True)
class RestAccess:
    """Credentials for what changes something, and the file of the authority behind https.

    ca: '' for those that this system trusts.
    """

    user: str = ""
    password: str = field(default="", repr=False)
    ca: str = ""

    def ask(
        self, method: str, url: str, *, timeout: float, body: object = None
    ) -> requests.Response:
        """Send one request, with a body in JSON unless it is None; timeout in seconds.

        Raises:
            requests.RequestException: there was no answer.
        """
        extra: dict[str, Any] = {}
        if url.startswith("https:"):
            extra["verify"] = authorities(self.ca)
        if self.user:
            extra["auth"] = (self.user, self.password)
        return requests.request(method, url, json=body, timeout=timeout, **extra)
