"""The node image: a Debian root file system, Kubernetes, and every image that pods will need."""

import os
from pathlib import Path

from pgdrill.provision.commands import Say, output

PLAIN, BASE = "pgdrill/node-plain:building", "pgdrill/node-base:building"
WORKSHOP = "pgdrill-node-building"  # the container in which the image is put together


def assemble(
    reference: str, rootfs: Path, binaries: list[Path], archives: list[Path], say: Say
) -> None:
    """Import the root file system, add Kubernetes, and let its containerd take in our images."""
    say("assembling the node image")
    clear_workshop()
    output("docker", "import", rootfs, PLAIN, within=300)
    # commit's --change accepts only some of these lines, the classic builder all.
    lines = f"FROM {PLAIN}\nENV container=docker\nSTOPSIGNAL SIGRTMIN+3\n"
    classic = os.environ | {"DOCKER_BUILDKIT": "0"}
    output("docker", "build", "--tag", BASE, "-", stdin=lines, environment=classic, within=120)
    try:
        output(
            "docker", "run", "--detach", f"--name={WORKSHOP}", "--privileged", "--network=none",
            "--entrypoint=/bin/sleep", BASE, "infinity", within=60,
        )  # fmt: skip
        for binary in binaries:
            output("docker", "cp", binary, f"{WORKSHOP}:/usr/bin/{binary.name}", within=120)
        _import_images(WORKSHOP, archives, say)
        entrypoint = 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]'
        output("docker", "commit", "--change", entrypoint, WORKSHOP, reference, within=600)
    finally:
        clear_workshop()


def clear_workshop() -> None:
    """Remove what assembling leaves, after a run that was killed in it too."""
    there = output("docker", "ps", "--all", "--quiet", f"--filter=name=^/{WORKSHOP}$", within=20)
    for container in there.split():
        output("docker", "rm", "--force", "--volumes", container, within=60)
    for image in (BASE, PLAIN):  # the second is the parent of the first
        if output("docker", "images", "--quiet", image, within=20).strip():
            output("docker", "rmi", "--force", image, within=60)


def _import_images(container: str, archives: list[Path], say: Say) -> None:
    """Import into the node's containerd, not unpacked: a node unpacks only what it runs."""
    inside = ["docker", "exec", container]
    output("docker", "exec", "--detach", container, "/usr/bin/containerd", within=20)
    output(
        *inside, "sh", "-c", "for i in $(seq 100); do ctr version && exit; sleep 0.1; done; exit 1"
    )
    for archived in archives:
        say(f"preloading {archived.stem}")
        output("docker", "cp", archived, f"{container}:/preload.tar", within=120)
        output(
            *inside, "ctr", "-n", "k8s.io", "images", "import", "--all-platforms", "--no-unpack",
            "--digests", "/preload.tar", within=300,
        )  # fmt: skip
    output(*inside, "sh", "-c", "rm /preload.tar; pkill -x containerd; sleep 1; sync")
