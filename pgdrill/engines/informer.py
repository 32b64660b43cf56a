"""The present state of some objects, kept up to date by a watch of the Kubernetes API."""

import threading
from collections.abc import Callable
from typing import Any

from kubernetes import watch
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from pgdrill.waiting import eventually

FIRST_WITHIN = 5.0  # seconds for the first list of objects
LASTS = 60  # seconds of one watch; the next one begins with all that there is
AGAIN = 0.2  # seconds between two watches when one has failed


class Informer:
    """The newest state of the objects of one listing.

    Polling 20 times a second would take the processors from the cluster that is measured:
    with three such pollers the API server took 40 % of one of two cores.
    """

    def __init__(self, listing: Callable[..., object], *of: str, **selection: str) -> None:
        self._listing = listing
        self._of = of
        self._selection = selection
        self._objects: dict[str, dict[str, Any]] = {}
        self._heard = threading.Event()
        self._over = threading.Event()
        self._watch = watch.Watch()
        self._thread = threading.Thread(target=self._follow, name="followed", daemon=True)

    def __enter__(self) -> "Informer":
        self._thread.start()
        self._heard.wait(FIRST_WITHIN)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        eventually("the end of a watch", self._ended, within=FIRST_WITHIN, every=0.05)

    def objects(self) -> list[dict[str, Any]]:
        """Return the objects as the API's own JSON; none while the API server does not answer."""
        return list(self._objects.values())

    def _ended(self) -> bool:
        # More than once: a watch that is about to begin misses it.
        self._watch.stop()
        return not self._thread.is_alive()

    def _follow(self) -> None:
        while not self._over.is_set():
            self._watch = watch.Watch()
            try:
                self._listen()
            except (ApiException, HTTPError, OSError, ValueError):
                self._objects = {}
                self._over.wait(AGAIN)

    def _listen(self) -> None:
        now: dict[str, dict[str, Any]] = {}
        for event in self._watch.stream(
            self._listing,
            *self._of,
            timeout_seconds=LASTS,
            _request_timeout=(FIRST_WITHIN, LASTS + FIRST_WITHIN),
            **self._selection,
        ):
            described = event["raw_object"]
            name = described["metadata"]["name"]
            if event["type"] == "DELETED":
                now.pop(name, None)
            else:
                now[name] = described
            self._objects = now
            self._heard.set()
