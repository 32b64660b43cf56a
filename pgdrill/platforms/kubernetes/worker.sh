#!/bin/bash
# A worker of a load: pgbench from the instant in /work/go on, which whoever follows it writes there.
# It stays until its results were fetched; the Job bounds both waits.
set -u
cd /work || exit 1
kept=$(ls -dv /usr/lib/postgresql/*/bin/pgbench 2>/dev/null | tail -n 1)
mapfile -t arguments <"/load/arguments-$JOB_COMPLETION_INDEX"
until [ -s go ]; do sleep 0.1; done
wait=$(($(<go) - $(date +%s%N)))
if [ "$wait" -gt 0 ]; then sleep "$(printf '%d.%09d' $((wait / 1000000000)) $((wait % 1000000000)))"; fi
date +%s%N >began
"${kept:-pgbench}" "${arguments[@]}" >out 2>err &
echo $! >pid
wait $!
echo $? >status
until [ -e fetched ]; do sleep 0.2; done
