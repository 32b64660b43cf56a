"""The processes of another machine, as a shell there shows them."""

from pgdrill.platforms.member_faults import Process

# For bash: shows process $pid in one line, nothing where it ended meanwhile.
SHOW = r"""
  state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$pid/status" 2>/dev/null)
  command=; words=()
  {
    read -r command < "/proc/$pid/comm"
    mapfile -d '' -t words < "/proc/$pid/cmdline"
  } 2>/dev/null
  [ -n "$state" ] && [ -n "$command" ] &&
    printf '%s\t%s\t%s\t%s\n' "$pid" "$state" "$command" "${words[*]//$'\n'/ }"
"""


def shown(text: str) -> list[Process]:
    """Return the processes of lines that SHOW printed."""
    rows = (line.split("\t", maxsplit=3) for line in text.split("\n") if line)
    return [Process(int(pid), state, command, title.strip()) for pid, state, command, title in rows]
