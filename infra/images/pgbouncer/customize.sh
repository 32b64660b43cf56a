#!/bin/sh
# CloudNativePG's manager starts /usr/bin/pgbouncer as whom the image says; pgbouncer asks for its name.
set -eu
root=$1
mkdir -p "$root/usr/bin"
ln -s ../sbin/pgbouncer "$root/usr/bin/pgbouncer"
echo 'pgbouncer:x:998:996::/:/nonexistent' > "$root/etc/passwd"
echo 'pgbouncer:x:996:' > "$root/etc/group"
