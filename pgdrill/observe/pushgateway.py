"""A Prometheus Pushgateway: it keeps the metrics of a batch job, which ends too soon."""

import requests

from pgdrill import timeouts
from pgdrill.errors import BrokenEnvironmentError


class Pushgateway:
    """One group of metrics of a gateway: a put replaces the whole group."""

    def __init__(self, url: str, job: str) -> None:
        self.url = url.rstrip("/")
        self._group = f"{self.url}/metrics/job/{job}"

    def put(self, metrics: str) -> None:
        """Replace the group by metrics in Prometheus's text format.

        Raises:
            BrokenEnvironmentError: the gateway is away, or refuses them.
        """
        self._ask("PUT", metrics)

    def delete(self) -> None:
        """Remove the group; safe to repeat.

        Raises:
            BrokenEnvironmentError: the gateway is away.
        """
        self._ask("DELETE", "")

    def _ask(self, method: str, body: str) -> None:
        try:
            answer = requests.request(
                method, self._group, data=body.encode(), timeout=timeouts.PUSHGATEWAY_ANSWERS
            )
        except requests.RequestException as error:
            raise BrokenEnvironmentError(
                f"the Pushgateway at {self.url} does not answer ({type(error).__name__})"
            ) from None
        if not answer.ok:
            raise BrokenEnvironmentError(
                f"the Pushgateway at {self.url} refuses: {answer.text.strip()[:200]}"
            )
