"""Shell text by which a machine undoes a fault by itself, whatever becomes of whoever caused it."""


def undo_later(undo: str, *, mark: str, seconds: str, arguments: str = "") -> str:
    """Return a command of sh that runs undo after so many seconds, unless a file is gone by then.

    mark is the file, and has to be there before; undo is a script without single quotes, whose $1
    is the mark and whose $3 and later are the arguments; mark, seconds and arguments are words of
    the script that the command is part of.
    """
    return f"""\
setsid -f sh -c '
  n=0
  while [ -e "$1" ] && [ "$n" -lt "$2" ]; do sleep 1; n=$((n + 1)); done
  [ -e "$1" ] || exit 0
  {undo}
' sh {mark} {seconds} {arguments} > /dev/null 2>&1 < /dev/null"""
