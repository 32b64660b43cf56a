"""Images that nodes pull: from their registries, or where a mirror is named from that."""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from urllib.parse import urlsplit, urlunsplit

from pgdrill import timeouts
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.kind import host as this_host
from pgdrill.platforms.kind.nodes import run
from pgdrill.platforms.kind.state import CONTROL_PLANE
from pgdrill.provision.commands import Say, output, workers
from pgdrill.provision.components import Pulled
from pgdrill.provision.pulls import pull
from pgdrill.provision.registry import Place, Reference
from pgdrill.provision.supply import Supply
from pgdrill.settings import cache_dir

HOSTS = "/etc/containerd/certs.d"
OPTIONAL_WITHIN = 120.0
UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def pull_into(nodes: Iterable[str], supply: Supply, say: Say) -> None:
    """Let every node pull the images that it needs and lacks.

    kubelet would do it as well, but without progress, and for minutes inside shorter waits.

    Raises:
        BrokenEnvironmentError: an image cannot be pulled, with the node's own words.
    """
    names, wanted = list(nodes), supply.known.pulled.values()
    _lead_to_mirrors(names, supply, say)
    with workers(len(names)) as work:
        pulled = [work(_into, node, _of(node, wanted), say) for node in names]
        count, size = map(sum, zip(*(one.result() for one in pulled), strict=True))
    say(f"{len(names)} nodes pulled {count} images, {size / 1e6:.0f} MB{_from(supply)}")


def has(node: str, reference: str) -> bool:
    """Whether a node has an image."""
    return _full(reference) in sizes(node)


def sizes(node: str) -> Mapping[str, int]:
    """Return the images of a node with their sizes as they are transferred, in bytes."""
    listed = run(node, "ctr", "--namespace=k8s.io", "images", "ls")
    found = re.findall(r"^(\S+) +\S+ +sha256:\w+ +([\d.]+) (\w+)", listed, re.M)
    return {name: int(float(size) * UNITS[unit]) for name, size, unit in found}


def _of(node: str, wanted: Iterable[Pulled]) -> list[Pulled]:
    """Return the images that a node will run, without the nodes' own image."""
    used = [one for one in wanted if one.build or one.optional]
    return [one for one in used if node == CONTROL_PLANE or one.where == "every"]


def _into(node: str, wanted: Iterable[Pulled], say: Say) -> tuple[int, int]:
    """Pull into one node; return how many images came, and their bytes."""
    before = sizes(node)
    missing = {_full(one.reference): one for one in wanted if _full(one.reference) not in before}
    for name, one in missing.items():
        try:
            _pull(node, name, OPTIONAL_WITHIN if one.optional else timeouts.IMAGE_PULLED, say)
        except BrokenEnvironmentError:
            if not one.optional:
                raise
            say(f"without {one.name}, which nothing needs: {node} cannot pull {name}")
    came = [size for name, size in sizes(node).items() if name in missing]
    return len(came), sum(came)


def _pull(node: str, name: str, within: float, say: Say) -> None:
    """Pull one image; what came before a cut is not fetched again."""
    inside = ["docker", "exec", node, "ctr", "--namespace=k8s.io", "images", "pull"]
    command = [*inside, f"--hosts-dir={HOSTS}", f"--snapshotter={_snapshotter(node)}", name]
    log = cache_dir() / "logs" / f"pull-{node}.log"
    pull(f"{node} pulls {name}", command, log, say, within=within)


def _snapshotter(node: str) -> str:
    """Return the snapshotter of the node's containerd: kind's entrypoint chooses it."""
    told = run(node, "sh", "-c", "grep -E '^ *snapshotter *=' /etc/containerd/config.toml || true")
    found = re.search(r'"([^"]+)"', told)
    return found[1] if found else "overlayfs"


def _full(reference: str) -> str:
    """Return a name in containerd's form, with its host."""
    wanted = Reference.parse(reference)
    return f"{wanted.host}/{wanted.path}:{wanted.tag}"


def _lead_to_mirrors(nodes: Iterable[str], supply: Supply, say: Say) -> None:
    """Write hosts.toml of every registry whose images come from a mirror, and no other."""
    hosts = {Reference.parse(one.reference).host for one in supply.known.pulled.values()}
    mirrored = [host for host in sorted(hosts) if supply.mirrors.of(host)]
    here = cache(lambda: this_host.address(CONTROL_PLANE, say))  # tried once, where it is needed
    files = {host: _hosts_toml(Place.of(host, supply.mirrors), here) for host in mirrored}
    script = f"rm -rf {HOSTS}\n" + "".join(
        f"mkdir -p {HOSTS}/{host}\ncat > {HOSTS}/{host}/hosts.toml <<'END'\n{text}END\n"
        for host, text in files.items()
    )
    for node in nodes:
        output("docker", "exec", "--interactive", node, "sh", "-s", stdin=script, within=30)


def _hosts_toml(place: Place, here: Callable[[], str]) -> str:
    """Return containerd's configuration of a registry: its mirror, and never itself."""
    url = f"{_seen_from_nodes(place.api, here)}/{place.prefix}".rstrip("/")
    return (
        f'server = "{url}"\n[host."{url}"]\n'
        '  capabilities = ["pull", "resolve"]\n  override_path = true\n'
    )


def _seen_from_nodes(url: str, here: Callable[[], str]) -> str:
    """Return an address as nodes reach it: this machine's loopback is another for them."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback:
        return url
    port = f":{parts.port}" if parts.port else ""
    return urlunsplit(parts._replace(netloc=f"{here()}{port}"))


def _from(supply: Supply) -> str:
    return f", through {supply.mirrors}" if str(supply.mirrors) else ""
