"""How Prometheus and Alertmanager are asked, and which of their alerts are of the database."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import requests
from requests.auth import AuthBase

from pgdrill.observe.deadman import SEVERITY
from pgdrill.process_environment import authorities


@dataclass(frozen=True)
class Access:
    """Files with credentials, '' for none, and the labels that the database's alerts have.

    ca: '' for the authorities that this system trusts. An alert that lacks one of the labels is of
    the database as well: a rule that counts pods may have dropped it.
    """

    token: str = ""
    certificate: str = ""  # with its key
    ca: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    remedy: str = "is the platform up?"  # what to look at when there is no answer

    def session(self) -> requests.Session:
        """Return a session that sends the credentials."""
        session = requests.Session()
        # A new connection each time: none that is kept leads to a server that is gone meanwhile.
        session.headers["Connection"] = "close"
        session.verify = authorities(self.ca)
        session.cert = self.certificate or None
        if self.token:
            session.auth = _Bearer(Path(self.token))
        return session

    def concerns(self, labels: Mapping[str, str]) -> bool:
        """Whether an alert with such labels may be news of the database; a watchdog never is."""
        ours = all(labels.get(name, value) == value for name, value in self.labels.items())
        return ours and labels.get("severity") != SEVERITY

    def names(self, labels: Mapping[str, str]) -> bool:
        """Whether something with such labels is of the database, and carries each label."""
        return all(labels.get(name) == value for name, value in self.labels.items())


OURS = Access()  # of a platform that pgdrill made


class _Bearer(AuthBase):
    """A token that is read for each request: one that Kubernetes projects is renewed."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._file.read_text().strip()}"
        return request


def reason(error: requests.RequestException) -> str:
    """Return why there was no answer, in a few words without credentials."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    return type(error).__name__
