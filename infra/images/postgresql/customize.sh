#!/bin/sh
# CloudNativePG runs PostgreSQL as user and group 26, and mounts over these directories.
set -eu
root=$1
chroot "$root" groupdel tape # Debian gives it the number 26
chroot "$root" usermod -u 26 postgres
chroot "$root" groupmod -g 26 postgres
chroot "$root" chown -R 26:26 /var/lib/postgresql /var/run/postgresql
# JIT costs 150 MB of LLVM and helps no query of a drill; PostgreSQL runs without its provider.
rm -rf "$root"/usr/lib/x86_64-linux-gnu/libLLVM* "$root"/usr/lib/postgresql/*/lib/llvmjit* \
  "$root"/usr/lib/postgresql/*/lib/bitcode
rm -rf "$root"/var/lib/postgresql/*/main "$root"/usr/share/doc/* "$root"/usr/share/man/*
# Barman is pure Python: unpacked over Debian's own modules, compiled, and each of its programs written. It shares
# the processors with PostgreSQL, in the same container: a backup and what looks after it give way to every
# session, storing WAL to some extent (a primary that is always busy would never store any), restoring not at all.
for wheel in "$WHEELS"/*.whl; do
  python3 -m zipfile -e "$wheel" "$root/usr/lib/python3/dist-packages"
done
chroot "$root" python3 - << 'PROGRAMS'
from importlib.metadata import distribution
from pathlib import Path

NICE = {"barman-cloud-wal-archive": 5, "barman-cloud-wal-restore": 0, "barman-cloud-restore": 0}
for entry in distribution("barman").entry_points:
    module, _, function = entry.value.partition(":")
    program = Path("/usr/bin", entry.name)
    program.write_text(
        f"#!/usr/bin/python3\nimport os, sys\nos.nice({NICE.get(entry.name, 19)})\n"
        f"from {module} import {function}\nsys.exit({function}())\n"
    )
    program.chmod(0o755)
PROGRAMS
# Not by the time of the source, which the image sets back: it would be compiled anew at each start.
chroot "$root" python3 -m compileall -q --invalidation-mode unchecked-hash /usr/lib/python3/dist-packages/barman
chroot "$root" barman-cloud-wal-archive --version
