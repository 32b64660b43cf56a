"""The contents of the store, for Prometheus: read from its volume, independent of the operator.

Usage: metrics.py DIRECTORY PORT. The directory holds buckets; in each Barman keeps
SERVER/base/BACKUP/backup.info. Prometheus asks every few seconds, and one look is a millisecond.
"""

import signal
import sys
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


def metrics(directory: Path) -> str:
    """Return the text for the backups that are complete."""
    ended = []
    for info in directory.glob("[!.]*/*/base/*/backup.info"):
        try:
            said = dict(line.split("=", 1) for line in info.read_text().splitlines() if "=" in line)
        except FileNotFoundError:
            continue  # being removed
        if said.get("status") == "DONE":
            ended.append(seconds(said["end_time"]))
    lines = [f"pgdrill_archive_backups {len(ended)}"]
    if ended:
        lines.append(f"pgdrill_archive_newest_backup_seconds {max(ended):.0f}")
    return "\n".join(lines) + "\n"


def seconds(text: str) -> float:
    """Return an instant of Barman's as a UNIX time; one without a zone is UTC."""
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


class Answer(BaseHTTPRequestHandler):
    """One scrape."""

    def do_GET(self) -> None:
        """Answer every path alike."""
        body = metrics(Path(sys.argv[1])).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing: a line for each scrape is of no use."""


if __name__ == "__main__":
    # The first process of a container has no action of its own for this, and would be waited for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    HTTPServer(("", int(sys.argv[2])), Answer).serve_forever()
