"""A dead man's switch: it pages when the watchdog alert, sent every few seconds, stops coming.

Nothing else detects that alerts reach nobody any more: a Prometheus, Alertmanager or a network
that is gone is as quiet as a healthy cluster.
"""

import threading
import time

WATCHDOG = "PgWatchdog"  # infra/alerts/rules/monitoring.yaml
SEVERITY = "none"  # of the alert that always fires, which is no news
HEARTBEAT_EVERY = 5.0  # seconds; infra/local/templates/alertmanager.yml.j2
PAGES_AFTER = 15.0  # seconds without a heartbeat: two that were lost, and the third


class DeadMansSwitch:
    """Pages when no heartbeat came for PAGES_AFTER seconds, once for each silence."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last_heartbeat = time.monotonic()
        self._due = True
        self._paged: list[float] = []
        self._count = 0

    def heartbeat(self) -> None:
        """Note that the watchdog came."""
        with self._lock:
            self._last_heartbeat, self._due = time.monotonic(), True
            self._count += 1

    def look(self) -> bool:
        """Page if the time for it has come; return whether it paged."""
        with self._lock:
            now = time.monotonic()
            if not self._due or now - self._last_heartbeat <= PAGES_AFTER:
                return False
            self._due = False
            self._paged.append(now)
            return True

    @property
    def heartbeats(self) -> int:
        """The number of times that the watchdog came."""
        return self._count

    def paged(self, since: float) -> float | None:
        """Return the first instant after since at which it paged."""
        with self._lock:
            return next((at for at in self._paged if at >= since), None)
