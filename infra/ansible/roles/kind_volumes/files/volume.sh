# shellcheck shell=sh
# In a node: volumes as loop-mounted files, each given as NAME=MEGABYTES; prints what it did.
set -eu
mode=$1
shift

make() {
  image=/var/pv/$1.ext4 at=/var/pv/$1 unit=var-pv-$1.mount megabytes=$2
  mkdir -p "$at"
  # Loop devices are the host's; a container's /dev shows only those it had at the start.
  for device in $(seq 0 63); do
    [ -e "/dev/loop$device" ] || mknod "/dev/loop$device" b 7 "$device"
  done
  if [ ! -e "$image" ]; then
    truncate -s "${megabytes}M" "$image.partial"
    mkfs.ext4 -q -m 0 "$image.partial"
    mv "$image.partial" "$image"
  fi
  cat > "/etc/systemd/system/$unit" << UNIT
[Unit]
Description=pgdrill volume $1
Before=kubelet.service
[Mount]
What=$image
Where=$at
Type=ext4
Options=loop
[Install]
WantedBy=multi-user.target
RequiredBy=kubelet.service
UNIT
  # Direct, so that a commit pays for its own blocks: to flush a loop device is to fsync its whole file,
  # with whatever tables the kernel has copied into the host's cache meanwhile. Where the host's file
  # system cannot do it ("-"), it stays as it was.
  cat > "/etc/systemd/system/pgdrill-direct-$1.service" << UNIT
[Unit]
Description=pgdrill volume $1 past the cache of the host
After=$unit
BindsTo=$unit
Before=kubelet.service
[Service]
Type=oneshot
ExecStart=-/bin/sh -c 'losetup --direct-io=on "\$\$(findmnt --noheadings --output SOURCE $at)"'
[Install]
WantedBy=multi-user.target
UNIT
  systemctl daemon-reload
  systemctl enable --quiet --now "$unit" "pgdrill-direct-$1.service"
}

for volume in "$@"; do
  name=${volume%=*}
  if findmnt -n "/var/pv/$name" > /dev/null; then
    continue
  fi
  [ "$mode" = check ] || make "$name" "${volume#*=}"
  echo "made $name"
done
