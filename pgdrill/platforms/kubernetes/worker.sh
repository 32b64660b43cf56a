#!/bin/bash
# A worker of a load: pgbench from the instant in /work/go on, which whoever follows it writes there.
# It stays until its results were fetched; the Job bounds both waits.
set -u
cd /work || exit 1
pgbench=$(printf '%s\n' /usr/lib/postgresql/*/bin/pgbench | sort -V | tail -n 1)
[ -x "$pgbench" ] || pgbench=pgbench
mapfile -t arguments <"/load/arguments-$JOB_COMPLETION_INDEX"
until [ -s go ]; do sleep 0.1; done
wait=$(($(<go) - $(date +%s%N)))
if [ "$wait" -gt 0 ]; then sleep "$(printf '%d.%09d' $((wait / 1000000000)) $((wait % 1000000000)))"; fi
date +%s%N >began
"$pgbench" "${arguments[@]}" >out 2>err &
echo $! >pid
wait $!
echo $? >status
until [ -e fetched ]; do sleep 0.2; done
