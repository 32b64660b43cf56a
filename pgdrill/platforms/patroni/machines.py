"""The machines of a Patroni cluster's members: a shell on each, by ssh or on this one."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from pgdrill import timeouts
from pgdrill.errors import BadUsageError, BrokenEnvironmentError
from pgdrill.platforms.base import Endpoint
from pgdrill.platforms.member_faults import LET_GO_AFTER, Process
from pgdrill.platforms.patroni.discovery import FoundMember
from pgdrill.platforms.process_list import SHOW, shown
from pgdrill.platforms.self_undo import undo_later
from pgdrill.provision.commands import output

LOCAL = "local"  # in place of a command: the members run on this machine
HOST, MEMBER = "{host}", "{name}"  # in the command: a member's address and its name
ANSWERS = 15.0 * timeouts.FACTOR  # seconds for one script, a new connection by ssh included

# $1, $2: addresses of Patroni's REST API and of PostgreSQL. Prints the pid of Patroni, which
# listens at the one, and the directory of PostgreSQL, which listens at the other.
_LISTENS = r"""
command -v ss > /dev/null || { echo "ss (package iproute2) is not installed" >&2; exit 1; }
listens() {
  ss -Hltnp "sport = :${1##*:}" | awk -v at="$1" '
    !match($0, /pid=[0-9]+/) { next }
    { pid = substr($0, RSTART + 4, RLENGTH - 4); last = pid; seen++ }
    $4 == at { exact = pid }
    $4 ~ /^(\*|0\.0\.0\.0|\[::\]):/ { any = pid }
    END { print exact ? exact : any ? any : seen == 1 ? last : "" }'
}
"""
_FIND = f"""{_LISTENS}
agent=$(listens "$1") server=$(listens "$2")
[ -n "$agent" ] || {{ echo "nothing that this user may see listens at $1" >&2; exit 1; }}
[ -n "$server" ] || {{ echo "nothing that this user may see listens at $2" >&2; exit 1; }}
data=$(readlink "/proc/$server/cwd") || {{ echo "its processes are another user's" >&2; exit 1; }}
kill -0 "$agent" "$server" 2> /dev/null ||
  {{ echo "$(id -un) may not signal Patroni and PostgreSQL" >&2; exit 1; }}
printf '%s %s\\n' "$agent" "$data"
"""
# $1: the pid of Patroni, $2: the data directory. Whatever is named postgres and works there is
# PostgreSQL's, also what has outlived its postmaster.
_ALL = f"""
for pid in $(pgrep -x postgres) "$1"; do
  [ "$pid" = "$1" ] || [ "$(readlink "/proc/$pid/cwd" 2> /dev/null)" = "$2" ] || continue
  {SHOW}
done
true
"""
# $1: the member's address. The file in which this machine notes what is stopped.
_FILE = """
directory=/run; [ -w "$directory" ] || directory=$HOME
file="$directory/pgdrill-stopped-$1"
"""
_RESUMED_LATER = undo_later('kill -CONT $(cat "$1"); rm -f "$1"', mark='"$file"', seconds='"$2"')
# $2: seconds, $3: the signal. What is stopped is resumed by the machine itself, whatever becomes of
# whoever stopped it.
_SIGNAL = f"""{_FILE}
name=$3
if [ "$name" = STOP ]; then
  first=; [ -e "$file" ] || first=yes
  echo "${{@:4}}" >> "$file"
  [ -z "$first" ] || {_RESUMED_LATER}
elif [ "$name" = CONT ]; then rm -f "$file"; fi
shift 3
kill "-$name" "$@" 2> /dev/null || true
"""
_RESUME = f"""{_FILE}
[ -s "$file" ] || exit 0
kill -CONT $(cat "$file") 2> /dev/null
rm -f "$file"
echo resumed
"""


@dataclass(frozen=True)
class Machine:
    """The machine of one member, and the command that gives a shell on it."""

    member: str
    command: tuple[str, ...]
    rest: str  # HOST:PORT, Patroni's
    server: Endpoint

    @classmethod
    def of(cls, member: FoundMember, template: str) -> "Machine":
        """Return the machine of a member."""
        at = urlsplit(member.rest)
        host = at.hostname or member.at.host
        words = (
            ("bash", "-s")
            if template == LOCAL
            else tuple(
                word.replace(HOST, host).replace(MEMBER, member.name)
                for word in (*shlex.split(template), "bash", "-s")
            )
        )
        port = at.port or (443 if at.scheme == "https" else 80)
        return cls(member.name, words, f"{host}:{port}", member.at)

    def run(self, script: str, *arguments: str) -> str:
        """Run a bash script there, and return what it prints.

        Raises:
            BrokenEnvironmentError: it fails, or the machine cannot be reached.
        """
        given = f"set -- {shlex.join(arguments)}\n" if arguments else ""
        try:
            return output(*self.command, within=ANSWERS, stdin=given + script)
        except BrokenEnvironmentError as error:
            raise BrokenEnvironmentError(f"a shell for {self.member}: {error}") from None

    def find(self) -> tuple[int, str]:
        """Return the pid of its Patroni, and PostgreSQL's data directory.

        Raises:
            BrokenEnvironmentError: they are not seen there, or may not be signalled.
        """
        pid, _, data = self.run(_FIND, self.rest, str(self.server)).strip().partition(" ")
        return int(pid), data

    def processes(self, agent: int, data: str) -> list[Process]:
        """Return Patroni, as the last, and every process of PostgreSQL."""
        return shown(self.run(_ALL, str(agent), data))

    def signal(self, name: str, pids: Sequence[int]) -> None:
        """Send a signal to processes; those that are gone are no error.

        Those that are stopped run again after LET_GO_AFTER seconds at the latest.
        """
        if pids:
            seconds = f"{LET_GO_AFTER:.0f}"
            self.run(_SIGNAL, self.rest, seconds, name, *map(str, pids))

    def resume(self) -> bool:
        """Let what a killed drill stopped run again; whether there was anything."""
        return "resumed" in self.run(_RESUME, self.rest)


def demand_command(template: str) -> None:
    """Refuse a command that would be the same for every member.

    Raises:
        BadUsageError: it names neither the address nor the member, or cannot be read.
    """
    try:
        words = shlex.split(template)
    except ValueError as error:
        raise BadUsageError(f"--ssh={template}: cannot be read ({error})") from None
    if words != [LOCAL] and not any(HOST in word or MEMBER in word for word in words):
        raise BadUsageError(
            f"--ssh={template}: must hold {HOST} or {MEMBER}, as in 'ssh root@{HOST}'; or be"
            f" {LOCAL}, where every member runs on this machine"
        )
