"""A small client of Alertmanager: what would page, how long it waits, and silences."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import requests
import yaml

from pgdrill import timeouts
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.observe.access import OURS, Access, reason
from pgdrill.observe.prometheus import duration

SILENCE_LASTS = timedelta(minutes=30)  # so that a killed run leaves nothing muted for long


class Alertmanager:
    """Reads one Alertmanager; no retries."""

    def __init__(self, url: str, access: Access = OURS) -> None:
        self.url = url.rstrip("/")
        self._access = access
        self._session = access.session()
        # Alertmanager's defaults, for settings that the configuration lacks.
        self._route = {"group_wait": "30s", "group_interval": "5m"} | self._config()["route"]

    @property
    def group_wait(self) -> float:
        """Seconds from an alert's arrival to its first page."""
        return duration(self._route["group_wait"])

    @property
    def group_interval(self) -> float:
        """Seconds between pages of one group: the longest delay of a resolution."""
        return duration(self._route["group_interval"])

    def webhook(self) -> tuple[str, int]:
        """Return host and port that pages are sent to, from the running configuration.

        Receivers are named after them, because Alertmanager shows no URL (since 0.26).

        Raises:
            BrokenEnvironmentError: none with a webhook is named so.
        """
        for receiver in self._config()["receivers"]:
            at = urlsplit(f"//{receiver['name']}")
            if "webhook_configs" in receiver and at.hostname and at.port:
                return at.hostname, at.port
        raise BrokenEnvironmentError(
            f"Alertmanager at {self.url} names no receiver after host and port of a webhook:"
            " no page can be sent, see infra/local/templates/alertmanager.yml.j2"
        )

    def alerts(self) -> set[tuple[str, str]]:
        """Return (name, member) of every alert that is neither silenced nor inhibited.

        The watchdog, which always fires, is left out.
        """
        chosen = "active=true&silenced=false&inhibited=false"
        answer = self._call("GET", f"/api/v2/alerts?{chosen}")
        every = [a["labels"] for a in answer]
        return {(a["alertname"], a.get("member", "")) for a in every if self._access.concerns(a)}

    @contextmanager
    def silenced(self, alert: str) -> Iterator[None]:
        """Silence an alert, like an operator who then forgets the silence: no page is sent."""
        now = datetime.now(UTC)
        silence = {
            "matchers": [{"name": "alertname", "value": alert, "isRegex": False}],
            "startsAt": now.isoformat(),
            "endsAt": (now + SILENCE_LASTS).isoformat(),
            "createdBy": "pgdrill",
            "comment": "negative control",
        }
        made = self._call("POST", "/api/v2/silences", silence)["silenceID"]
        try:
            yield
        finally:
            self._call("DELETE", f"/api/v2/silence/{made}")

    def _config(self) -> Any:  # noqa: ANN401  # YAML
        return yaml.safe_load(self._call("GET", "/api/v2/status")["config"]["original"])

    def _call(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401  # JSON
        try:
            answer = self._session.request(
                method,
                self.url + path,
                json=body,
                timeout=timeouts.ALERTMANAGER_ANSWERS,
                verify=self._session.verify,
            )
            answer.raise_for_status()
        except requests.RequestException as error:
            raise BrokenEnvironmentError(
                f"Alertmanager at {self.url} does not answer ({reason(error)}):"
                f" {self._access.remedy}"
            ) from error
        return answer.json() if answer.content else None
