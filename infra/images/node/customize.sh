#!/bin/sh
# A Debian root file system becomes a kind node: kind's own files (KIND_FILES, from its Go module),
# ours over them, and the few changes that Debian's containerd and reduced machines need.
set -eu
root=$1
here=$(dirname "$0")

cp -r --no-preserve=mode,ownership "$KIND_FILES/." "$root/"
cp -r --no-preserve=ownership "$here/files/." "$root/"
chmod 0755 "$root"/kind "$root"/kind/bin "$root"/kind/bin/* "$root"/usr/local/bin/* "$root"/usr/local/sbin/*

# kind expects its own builds of containerd and the network plug-ins.
sed -i 's#/usr/local/bin/containerd#/usr/bin/containerd#' "$root/etc/systemd/system/containerd.service"
mkdir -p "$root/opt/cni" "$root/etc/cni/net.d" "$root/etc/kubernetes/manifests"
ln -s /usr/lib/cni "$root/opt/cni/bin"
sed -i "s#sandbox_image = .*#sandbox_image = \"$PAUSE_IMAGE\"#" "$root/etc/containerd/config.toml"
# kind's entrypoint chooses the snapshotter and the OOM setting from this file by sed.
sed -i "s/restrict_oom_score_adj = false/restrict_oom_score_adj = $RESTRICT_OOM/" "$root/etc/containerd/config.toml"
chroot "$root" ctr oci spec |
  chroot "$root" jq 'del(.process.rlimits)
    | .hooks.createContainer += [{"path": "/kind/bin/mount-product-files.sh"}]' \
  > "$root/etc/containerd/cri-base.json"

# A node's systemd starts what a node needs and nothing else (as in kind's Dockerfile).
find "$root/lib/systemd/system/sysinit.target.wants" -name systemd-tmpfiles-setup.service -delete
rm -f "$root"/lib/systemd/system/multi-user.target.wants/* "$root"/etc/systemd/system/*.wants/* \
  "$root"/lib/systemd/system/local-fs.target.wants/* "$root"/lib/systemd/system/basic.target.wants/* \
  "$root"/lib/systemd/system/sockets.target.wants/*udev* \
  "$root"/lib/systemd/system/sockets.target.wants/*initctl*
echo ReadKMsg=no >> "$root/etc/systemd/journald.conf"
chroot "$root" systemctl enable containerd.service kubelet.service undo-mount-hacks.service \
  pgdrill-network.service
chroot "$root" systemctl mask systemd-binfmt.service
printf '%s' "$KUBERNETES" > "$root/kind/version"
rm -rf "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/locale/*
