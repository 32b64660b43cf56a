"""What the archive holds, for node-exporter: how many backups, and when the newest ended.

Usage: archive-metrics.py FILE PGBACKREST [ARGUMENT...]. Where the archive does not answer the file
is removed, and with it the series: they would be out of date.
"""

import json
import subprocess
import sys
import threading
from pathlib import Path

EVERY = 5.0  # seconds; one look is 10 ms of CPU
ANSWER_WITHIN = 30.0  # seconds


def metrics(said: str) -> str:
    """Return the text for the output of `pgbackrest info --output=json`."""
    backups = [b for stanza in json.loads(said) for b in stanza.get("backup", []) if not b["error"]]
    lines = [f"pgdrill_archive_backups {len(backups)}"]
    if backups:
        newest = max(backup["timestamp"]["stop"] for backup in backups)
        lines.append(f"pgdrill_archive_newest_backup_seconds {newest}")
    return "\n".join(lines) + "\n"


def look(file: Path, command: list[str]) -> None:
    """Replace the file, whole or not at all."""
    try:
        done = subprocess.run(
            [*command, "info", "--output=json"],
            capture_output=True, text=True, timeout=ANSWER_WITHIN, check=True,
        )  # fmt: skip
        text = metrics(done.stdout)
    except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
        print(f"the archive did not answer: {error}", flush=True)
        file.unlink(missing_ok=True)
        return
    draft = file.with_suffix(".part")  # the collector reads *.prom
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)


if __name__ == "__main__":
    tick = threading.Event()
    while not tick.wait(EVERY):
        look(Path(sys.argv[1]), sys.argv[2:])
