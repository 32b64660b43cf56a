#!/bin/sh
# in-cgroup.sh GROUP USER COMMAND...: run a command as a user in a control group, by which its packets are told
# from those of the other members. Where that cannot be, it runs nevertheless.
group=$1 user=$2
shift 2
mkdir -p "$group" && echo $$ > "$group/cgroup.procs" || echo "in-cgroup.sh: not in $group" >&2
exec setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups -- "$@"
