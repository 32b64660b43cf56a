"""A limit of a volume's unwritten pages in memory: volumes on loop devices share one disk.

A large write of one member is one flush of that disk, and every commit of every
member waits for it: 190 MB of a standby that came back from the archive took 0.3 to 0.5 s.
p99 of the clients meanwhile was 104 to 469 ms in 13 such rebuilds, and 56 to 87 ms in six with
this limit and without the host's cache. Not on `kind`: there a switch of 16 MB of WAL is slow,
and was as slow with it.
"""

from contextlib import suppress
from pathlib import Path

# Bytes of each volume. With 8 MB p99 was 46 to 203 ms, with 32 MB 87 to 166, four rebuilds each.
WRITEBACK_LIMIT = 16 << 20
LOOP = 7  # Linux's number for loop devices
_KERNEL = 100  # % of what may wait on the whole machine: what the kernel begins with


def release(sys: Path = Path("/sys")) -> None:
    """Set the kernel's default limit again on loop devices that hold no volume any more."""
    for limits in (sys / "class/bdi").glob(f"{LOOP}:*"):
        number = limits.name.partition(":")[2]
        if (sys / f"block/loop{number}/loop").exists():
            continue
        # Linux before 6.2 has no such limit; another namespace's cannot be written.
        with suppress(OSError):
            if (limits / "strict_limit").read_text().strip() == "1":
                (limits / "strict_limit").write_text("0")
                (limits / "max_ratio").write_text(str(_KERNEL))
