#!/usr/bin/env python3
"""runc for a machine without CAP_SYS_RESOURCE: takes it out of what a container asks for.

Docker gives a privileged container every capability that it knows; runc then fails with
"unable to apply caps" where the machine itself was started without one of them.
"""

import json
import os
import sys
from pathlib import Path

MISSING = "CAP_SYS_RESOURCE"
RUNC = "/usr/sbin/runc"


def _value(*names: str) -> Path | None:
    """Return the file or directory that follows one of these options."""
    for at, word in enumerate(sys.argv):
        if word in names:
            return Path(sys.argv[at + 1])
        for name in names:
            if word.startswith(f"{name}="):
                return Path(word.split("=", 1)[1])
    return None


def _strip(file: Path) -> None:
    spec = json.loads(file.read_text())
    process = spec.get("process", spec)
    for capabilities in (process.get("capabilities") or {}).values():
        if MISSING in capabilities:
            capabilities.remove(MISSING)
    file.write_text(json.dumps(spec))


if {"create", "run"} & set(sys.argv) and (bundle := _value("--bundle", "-b")):
    _strip(bundle / "config.json")
if "exec" in sys.argv and (process_file := _value("--process", "-p")):
    _strip(process_file)
os.execv(RUNC, [RUNC, *sys.argv[1:]])
