"""Shell scripts that let a file system hang, on whichever machine it is mounted.

A process that writes to a frozen file system cannot even be killed, so none of these is one that
somebody waits for.
"""

# $1: the mount point, $2: seconds. What lets it go outlives whoever froze it, and does nothing
# where it was let go before: its mark, beside the mount point, is gone then.
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
