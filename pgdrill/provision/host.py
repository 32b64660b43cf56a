"""Changes that our container engine makes on this machine, and their reversal."""

import json
import os
import re
from contextlib import suppress
from pathlib import Path

from pgdrill.provision.commands import Say, output, succeeds

INOTIFY = {"max_user_instances": 1024, "max_user_watches": 1_048_576}  # several kubelets, 1 kernel
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
CGROUPS = Path("/sys/fs/cgroup")
TABLES = ("filter", "nat")


def remember(record: Path) -> None:
    """Write down, once, what the engine is about to change; restore() reads it."""
    if not record.exists():
        before = {"forwarding": FORWARDING.read_text().strip(), "cgroups": _unmounted()}
        record.write_text(json.dumps(before))


def restore(record: Path) -> None:
    """Undo what an engine that has ended leaves: its bridge, its packet filter, mounts of ours."""
    succeeds("ip", "link", "delete", "docker0")
    for table in TABLES:
        for rule in leftover_rules(output("iptables", "-w", "-t", table, "-S")):
            succeeds("iptables", "-w", "-t", table, *rule)
    if not record.exists():
        return
    before = json.loads(record.read_text())
    if before["forwarding"] == "0":
        # The engine refuses to forward for others when it was the one to switch forwarding on.
        succeeds("iptables", "-w", "-P", "FORWARD", "ACCEPT")
        FORWARDING.write_text("0")
    for name in before["cgroups"]:
        _remove_groups(CGROUPS / name)
        if succeeds("umount", CGROUPS / name):
            # Another bind mount of /sys may still show it; the empty directory then does no harm.
            with suppress(OSError):
                (CGROUPS / name).rmdir()
    record.unlink()


def _remove_groups(of: Path) -> None:
    """Remove the engine's empty groups: with one of them a controller outlives its last mount."""
    for group, _, _ in os.walk(of / "docker", topdown=False):
        succeeds("rmdir", group)


def leftover_rules(listed: str) -> list[list[str]]:
    """Return the commands that delete the engine's rules and chains from a listed table."""
    lines = [line.split() for line in listed.splitlines()]
    chains = [words[1] for words in lines if words[0] == "-N" and words[1].startswith("DOCKER")]
    ours = {"docker0", *chains}
    rules = [w for w in lines if w[0] == "-A" and w[1] not in chains and ours & set(w)]
    return [
        *(["-D", *words[1:]] for words in rules),
        *(["-F", chain] for chain in chains),
        *(["-X", chain] for chain in chains),
    ]


def mount_cgroups(say: Say) -> None:
    """Mount the version 1 controllers that are not mounted.

    Otherwise systemd inside a node mounts them at their root, outside Docker's scope, and kubelet
    refuses to start.
    """
    for name in _unmounted():
        at = CGROUPS / name
        at.mkdir(exist_ok=True)
        output("mount", "-t", "cgroup", "-o", name, "cgroup", at)
        say(f"mounted the unused cgroup controller {name}")


def _unmounted() -> list[str]:
    mounts = Path("/proc/mounts").read_text()
    if not re.search(rf"^\S+ {CGROUPS} tmpfs ", mounts, re.M):
        return []
    return unmounted(Path("/proc/cgroups").read_text(), mounts)


def unmounted(controllers: str, mounts: str) -> list[str]:
    """Return the options that mount what of /proc/cgroups is not among /proc/mounts.

    A controller that has a hierarchy may still be without a mount: a group keeps it.
    It comes back only together with the others of that hierarchy.
    """
    lines = [line.split() for line in mounts.splitlines()]
    mounted = {
        option
        for _, _, kind, options, *_ in lines
        if kind == "cgroup"
        for option in options.split(",")
    }
    together: dict[str, list[str]] = {}
    for name, hierarchy, _, enabled in map(str.split, controllers.splitlines()[1:]):
        if enabled == "1" and name not in mounted:
            free = "net" if name.startswith("net_") else name
            together.setdefault(free if hierarchy == "0" else hierarchy, []).append(name)
    return [",".join(names) for names in together.values()]


def raise_inotify(say: Say) -> None:
    """Allow as many watches as the kubelets of three nodes need."""
    for name, wanted in INOTIFY.items():
        file = Path("/proc/sys/fs/inotify") / name
        if not file.exists() or os.geteuid() != 0:
            continue
        if int(file.read_text()) < wanted and os.access(file, os.W_OK):
            file.write_text(str(wanted))
            say(f"raised fs.inotify.{name} to {wanted}")
