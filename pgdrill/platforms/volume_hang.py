"""Letting a file system hang, on whichever machine it is mounted.

A process that writes to a frozen file system cannot even be killed, so no script here waits for
such a process.
"""

from abc import ABC, abstractmethod

# $1: the mount point, $2: seconds. What lets it go outlives whoever froze it, and does nothing
# where it was released before: its mark, beside the mount point, is gone then.
HANG = """
mark="$1.hangs"
touch "$mark"
setsid -f sh -c '
  n=0
  while [ -e "$1.hangs" ] && [ "$n" -lt "$2" ]; do sleep 1; n=$((n + 1)); done
  if [ -e "$1.hangs" ]; then rm -f "$1.hangs"; fsfreeze --unfreeze "$1"; fi
' sh "$1" "$2" > /dev/null 2>&1 < /dev/null
fsfreeze --freeze "$1" || { rm -f "$mark"; exit 1; }
"""

# Prints 'hangs' where an empty file is not there after half a second.
LOOK = """
file="$1/pgdrill-touch"
touch "$file" > /dev/null 2>&1 < /dev/null &
sleep 0.5
if [ -e "$file" ]; then rm -f "$file"; else echo hangs; fi
"""

LET_GO = """
rm -f "$1.hangs"
fsfreeze --unfreeze "$1" 2> /dev/null
rm -f "$1/pgdrill-touch"
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
