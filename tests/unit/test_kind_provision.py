"""The parts of the reference platform that need no container engine."""

import ipaddress
import json
import os
import re
import shutil
import tarfile
from pathlib import Path

import pytest
import yaml

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.kind.network import SIZE, choose
from pgdrill.platforms.kind.state import (
    MONITORS,
    PORTS,
    RESTORED_SERVICES,
    SERVICES,
    Installation,
    plan,
)
from pgdrill.platforms.lock import exclusive
from pgdrill.provision import container_engine, oci
from pgdrill.provision.commands import logged, output, succeeds
from pgdrill.provision.components import catalogue, inside
from pgdrill.provision.playbook import changed, complaint
from pgdrill.provision.reduction import LOADER, reduced
from pgdrill.settings import ROOT

builds_images = pytest.mark.skipif(
    not Path(LOADER).exists(), reason="root file systems are made on x86_64 Linux only"
)
NET = ipaddress.IPv4Network("172.18.0.0/16")


def _image(directory: Path, content: str) -> tuple[str, Path]:
    directory.mkdir()
    program = directory / "program"
    program.write_text(content)
    layer = oci.files_layer(
        {"/usr/bin/program": program}, {"/run": "/usr/bin/program"}, directory / "l"
    )
    archive = directory / "image.tar"
    return oci.archive("localhost/pgdrill/x:1", [layer], {"User": "26"}, archive), archive


def test_the_same_inputs_make_the_same_image(tmp_path: Path) -> None:
    """Two archives of the same program have the same digest, another program another one."""
    first, file = _image(tmp_path / "a", "one")
    again, _ = _image(tmp_path / "b", "one")
    other, _ = _image(tmp_path / "c", "two")
    assert first == again == oci.digest_of(file)
    assert first != other


def test_docker_loads_an_image_as_containerd_imports_it(tmp_path: Path) -> None:
    """The table of contents for docker before version 25 names every blob; the ID is kept."""
    _, file = _image(tmp_path / "a", "one")
    copy = tmp_path / "copy.tar"
    oci.for_docker(file, "localhost/pgdrill/x:1", copy)
    with tarfile.open(file) as before, tarfile.open(copy) as after:
        (contents,) = json.load(after.extractfile("manifest.json"))  # type: ignore[arg-type]
        assert after.getnames() == [*before.getnames(), "manifest.json"]
        assert {contents["Config"], *contents["Layers"]} < set(after.getnames())
        assert contents["RepoTags"] == ["localhost/pgdrill/x:1"]
    assert oci.image_id(file) == f"sha256:{Path(contents['Config']).name}"
    assert oci.digest_of(copy) == oci.digest_of(file)
    if not container_engine.answers():
        return
    try:
        output("docker", "load", "--quiet", "--input", copy)
        told = output("docker", "image", "inspect", "--format={{.Id}}", "localhost/pgdrill/x:1")
    finally:
        succeeds("docker", "rmi", "localhost/pgdrill/x:1")
    assert told.strip() in (oci.image_id(file), oci.digest_of(file))


def test_an_image_holds_what_was_put_in(tmp_path: Path) -> None:
    """The layer has the program, executable, its parents, the link, and the archive its name."""
    _, file = _image(tmp_path / "a", "one")
    with tarfile.open(file) as archive:
        index = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
        names = [m["annotations"]["io.containerd.image.name"] for m in index["manifests"]]
    with tarfile.open(tmp_path / "a/l") as layer:
        entries = {e.name: e for e in layer}
    assert names == ["localhost/pgdrill/x:1"]
    assert list(entries) == ["usr", "usr/bin", "usr/bin/program", "run"]
    assert entries["usr/bin/program"].mode == 0o755
    assert entries["run"].linkname == "/usr/bin/program"


def test_the_pool_is_the_upper_end_of_the_network() -> None:
    """The load balancer gets the last addresses, without the broadcast address."""
    assert choose(NET, [ipaddress.IPv4Address("172.18.0.2")]) == "172.18.255.234-172.18.255.254"
    first, last = map(ipaddress.IPv4Address, choose(NET, []).split("-"))
    assert int(last) - int(first) + 1 == SIZE


def test_a_used_address_in_the_pool_is_refused() -> None:
    """A container inside the pool is named; so is a network that is too small."""
    with pytest.raises(BrokenEnvironmentError, match=r"172\.18\.255\.240"):
        choose(NET, [ipaddress.IPv4Address("172.18.255.240")])
    with pytest.raises(BrokenEnvironmentError, match="too small"):
        choose(ipaddress.IPv4Network("10.0.0.0/27"), [])


@pytest.mark.parametrize(
    ("version", "fits"),
    [((1, 28, 0), True), ((1, 30, 9), True), ((1, 31), False), ((1, 27, 9), False)],
)
def test_a_tool_is_taken_inside_its_range(version: tuple[int, ...], fits: bool) -> None:
    """The lower bound belongs to the range, the upper one does not."""
    assert inside(version, ">=1.28,<1.31") is fits


def test_the_list_of_components_is_closed() -> None:
    """Every program and root file system that an image names exists, and every one is used."""
    known = catalogue()
    named = {p for i in known.images.values() for p in i.programs}
    assert named <= known.programs.keys()
    tools = known.tools.keys() | {"kubeadm", "kubelet", "kubectl"}
    assert known.programs.keys() == named | tools
    used = {i.rootfs for i in known.images.values() if i.rootfs} | {"node"}
    assert used == known.rootfs.keys()
    assert known.versions["kubernetes"].startswith("v1.29.")


def test_prometheus_is_called_by_its_release() -> None:
    """Module v0.XYY.Z is release X.YY.Z, stamped into the program and read from the image's tag."""
    known = catalogue()
    major, minor, patch = re.fullmatch(  # type: ignore[union-attr]
        r"v0\.(\d)(\d\d)\.(\d+)", known.versions["prometheus"]
    ).groups()
    release = f"{major}.{int(minor)}.{patch}"
    assert known.images["prometheus"].tag == f"v{release}"
    assert known.programs["prometheus"].stamps == (
        f"github.com/prometheus/common/version.Version={release}",
    )


@builds_images
def test_a_reduced_root_holds_what_its_program_needs(tmp_path: Path) -> None:
    """A program runs from a copy of the kept files, links followed; nothing else is kept."""
    root, copy = tmp_path / "root", tmp_path / "copy"
    for path in ("bin", "lib/x86_64-linux-gnu", "lib64", "etc"):
        (root / path).mkdir(parents=True)
    library = "/lib/x86_64-linux-gnu/libc.so.6"
    for path in ("/bin/cat", library, "/etc/hostname"):
        shutil.copy(path, root / path[1:])
    shutil.copy(LOADER, root / "lib/x86_64-linux-gnu/loader")
    (root / LOADER[1:]).symlink_to("/lib/x86_64-linux-gnu/loader")
    (root / "bin/dog").symlink_to("../bin/cat")
    kept = reduced(root, ["/bin/dog"])
    assert "etc/hostname" not in kept
    for path in kept:  # parents come first
        if (root / path).is_dir():
            (copy / path).mkdir(parents=True)
        else:
            shutil.copy(root / path, copy / path, follow_symlinks=False)
    where = copy / "lib/x86_64-linux-gnu"
    assert output(where / "loader", "--library-path", where, copy / "bin/dog", stdin="x") == "x"


@builds_images
def test_a_root_that_lacks_something_is_refused(tmp_path: Path) -> None:
    """A path that a package no longer has, and a library that no package brought, are named."""
    (tmp_path / "etc").mkdir()
    with pytest.raises(BrokenEnvironmentError, match="etc/passwd is missing"):
        reduced(tmp_path, ["/etc/passwd"])
    (tmp_path / "lib64").mkdir()
    shutil.copy(LOADER, tmp_path / LOADER[1:])
    shutil.copy("/bin/cat", tmp_path / "etc/cat")
    with pytest.raises(BrokenEnvironmentError, match=r"libc\.so\.6"):
        reduced(tmp_path, ["/etc/cat"])


def test_an_installation_is_read_back_as_written(tmp_path: Path) -> None:
    """Later commands read the plan of `up`, and only this user can read it."""
    made = plan(tmp_path, "node:1", True, 2).with_timing("default")
    made.save()
    assert Installation.load(tmp_path) == made
    assert Installation.load(tmp_path / "absent") is None
    assert PORTS.keys() == {*SERVICES, *MONITORS}
    assert made.node_ports.keys() == {*PORTS, *RESTORED_SERVICES}
    assert len({*made.node_ports.values(), made.webhook}) == len(made.node_ports) + 1
    for secret in (made.passfile, tmp_path / "installation.json"):
        assert secret.stat().st_mode & 0o077 == 0, secret


def test_the_poolers_sessions_leave_half_of_the_primary() -> None:
    """All pods with every pool full, one for each user, take no more than half of its sessions."""
    values = yaml.safe_load((ROOT / "infra/helm/postgres-cnpg/values.yaml").read_text())
    pooler, users = values["pooler"], 2  # the owner, and the one who looks passwords up
    most = pooler["replicas"]["most"] * users * int(pooler["parameters"]["default_pool_size"])
    assert 0 < most <= int(values["parameters"]["max_connections"]) / 2


def test_wal_is_kept_back_to_the_last_checkpoint() -> None:
    """An old primary finds in its own WAL what pg_rewind reads, however much was written."""
    values = yaml.safe_load((ROOT / "infra/helm/postgres-cnpg/values.yaml").read_text())
    kept, most = (
        int(values["parameters"][name].removesuffix("MB"))
        for name in ("wal_keep_size", "max_wal_size")
    )
    assert kept >= most > 0


def test_a_failed_command_says_its_last_words(tmp_path: Path) -> None:
    """One line names the command and its error, whether it was logged or not."""
    with pytest.raises(BrokenEnvironmentError, match="no such thing"):
        output("sh", "-c", "echo no such thing >&2; exit 3")
    with pytest.raises(BrokenEnvironmentError, match=r"building: no end after 0.2 s"):
        logged("building", ["sleep", "5"], tmp_path / "log", print, within=0.2)
    with pytest.raises(BrokenEnvironmentError, match="is not installed"):
        output("pgdrill-no-such-command")


def test_a_play_without_a_recap_is_no_success() -> None:
    """The number of changes is read from the last line only; a missing line is an error."""
    assert changed("localhost : ok=5  changed=3  unreachable=0 failed=0") == 3
    with pytest.raises(BrokenEnvironmentError, match="without a recap"):
        changed("PLAY [nothing] ***")


def test_one_run_holds_an_installation(tmp_path: Path) -> None:
    """A second run gets the process that holds it; afterwards nothing is left of the lock."""
    file = tmp_path / "kind.lock"
    told = rf"the kind platform \(pid {os.getpid()}\)"
    with exclusive(file, "the kind platform"), pytest.raises(BrokenEnvironmentError, match=told):
        exclusive(file, "the kind platform").__enter__()
    assert not file.exists()


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (
            {"msg": "non-zero return code", "rc": 100, "stderr": "E: connection refused\nE: more"},
            "E: connection refused",
        ),
        ({"msg": "MODULE FAILURE", "module_stderr": "\nTraceback"}, "Traceback"),
        ({"msg": "Unsupported parameters", "stderr": ""}, "Unsupported parameters"),
    ],
    ids=["command", "module", "message"],
)
def test_a_failed_task_names_its_cause(result: dict[str, object], why: str) -> None:
    """Ansible's own first line is that a command's exit status was not 0."""
    log = (
        "TASK [local : Packages] ***\n[ERROR]: Task failed: Module failed: non-zero return code\n"
        f"fatal: [localhost]: FAILED! => {json.dumps(result)}\n"
    )
    assert complaint(log) == why


def test_a_playbook_without_a_result_names_its_first_error() -> None:
    """A syntax error has no task; a log without any complaint gives no reason."""
    assert complaint("ok: [localhost]\nERROR! no such role\n") == "ERROR! no such role"
    assert complaint("fatal: [localhost]: FAILED! => {cut") == "fatal: [localhost]: FAILED! => {cut"
    assert not complaint("TASK [local : Packages] ***\n")
