"""Error messages in the logs of the embedded platform's processes."""

import re
from pathlib import Path

READ = 65536  # bytes, at the end
LINE = 300  # characters of one line
_COMPLAINT = re.compile(r"\b(?:error|fatal|panic|denied|cannot|could not|no such|failed)\b", re.I)
# Lines that Patroni prints while it waits for others: they are never the reason.
_WAITING = re.compile(r"Lock owner: None|waiting for leader|following a leader|demoting self")


def last_complaint(log: Path) -> str:
    """Return the last line that reports an error, else the last line; '' for an empty log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - READ))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    told = [line.strip() for line in lines if line.strip()]
    complaints = [line for line in told if _COMPLAINT.search(line) and not _WAITING.search(line)]
    return (complaints or told or [""])[-1][:LINE]
