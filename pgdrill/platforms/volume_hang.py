"""Letting a file system hang, on whichever machine it is mounted.

A process that writes to a frozen file system cannot even be killed, so no script here waits for
such a process.
"""

from abc import ABC, abstractmethod

from pgdrill.platforms.self_undo import undo_later

# One file for each file system that hangs; it holds the mount point.
_MARKS = "/run/pgdrill-hangs"
_MARK = f'mark="{_MARKS}$(printf %s "$1" | tr / -)"'
# $1: the mount point, $2: seconds. What lets it go outlives whoever froze it, and does nothing
# where it was released before: its mark is gone then.
_LATER = undo_later(
    'rm -f "$1"; fsfreeze --unfreeze "$3"', mark='"$mark"', seconds='"$2"', arguments='"$1"'
)
HANG = f"""
{_MARK}
printf '%s\\n' "$1" > "$mark"
{_LATER}
fsfreeze --freeze "$1" || {{ rm -f "$mark"; exit 1; }}
"""

# Prints 'hangs' where an empty file is not there after half a second.
LOOK = """
file="$1/pgdrill-touch"
touch "$file" > /dev/null 2>&1 < /dev/null &
sleep 0.5
if [ -e "$file" ]; then rm -f "$file"; else echo hangs; fi
"""

LET_GO = f"""
{_MARK}
rm -f "$mark"
fsfreeze --unfreeze "$1" 2> /dev/null
rm -f "$1/pgdrill-touch"
"""

# Every file system that hangs on a machine.
THAW_ALL = f"""
for mark in {_MARKS}*; do
  [ -s "$mark" ] || continue
  read -r point < "$mark"
  fsfreeze --unfreeze "$point"
  rm -f "$mark" "$point/pgdrill-touch"
done
"""


class Hangable(ABC):
    """A file system whose writes can be suspended."""

    @abstractmethod
    def _shell(self, script: str, *arguments: str) -> str:
        """Run a script where it is mounted; its first argument is the mount point."""

    def hang(self, seconds: float) -> None:
        """Suspend every write, for so many seconds at most: the machine resumes them by itself.

        Raises:
            BrokenEnvironmentError: the file system cannot be frozen.
        """
        self._shell(HANG, f"{seconds:.0f}")

    def hangs(self) -> bool:
        """Whether a write waits."""
        return "hangs" in self._shell(LOOK)

    def resume(self) -> None:
        """Resume writes; safe to repeat."""
        self._shell(LET_GO)
