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
