"""The image of a prober, as a user makes one by a Dockerfile, of Debian packages and wheels."""

import re
import tempfile
from dataclasses import replace
from pathlib import Path

from pgdrill import __version__
from pgdrill.provision import oci
from pgdrill.provision.building import HOST_SUITE, Builder
from pgdrill.provision.commands import Say
from pgdrill.provision.components import PREFIX, Catalogue, Image, Rootfs
from pgdrill.settings import PACKAGE, ROOT, cache_dir

REFERENCE = f"{PREFIX}/prober:{__version__}"
WITHOUT = f"{PREFIX}/prober:without"  # with all that it needs, and without pgdrill itself
# What the prober's process imports; the rest of pgdrill is never loaded in the pod.
NEEDS = ("numpy", "psycopg", "psycopg-binary", "typing-extensions")
SITE = "/usr/lib/python3/dist-packages"
HOOK = """\
#!/bin/sh
set -eu
for wheel in "$WHEELS"/*.whl; do
  python3 -m zipfile -e "$wheel" "$1/usr/lib/python3/dist-packages"
done
"""


def archives(known: Catalogue, directory: Path, say: Say) -> list[Path]:
    """Return archives of REFERENCE and WITHOUT, made in a directory; what both share is cached."""
    whole = _base(known, say)
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        files = {
            f"{SITE}/pgdrill/{file.relative_to(PACKAGE)}": file
            for file in sorted(PACKAGE.rglob("*.py"))
        }
        base = oci.compress(whole, Path(scratch) / "base.tar.gz")
        ours = oci.files_layer(files, {}, Path(scratch) / "pgdrill.tar.gz")
        made = []
        for reference, layers in ((REFERENCE, [base, ours]), (WITHOUT, [base])):
            made.append(directory / f"prober-{reference.rpartition(':')[2]}.tar")
            oci.archive(reference, layers, {"User": "65534:65534"}, made[-1])
    return made


def _base(known: Catalogue, say: Say) -> Path:
    """Return a root file system with Python and NEEDS."""
    directory = cache_dir() / "prober"
    directory.mkdir(parents=True, exist_ok=True)
    hook, lock = directory / "customize.sh", directory / "needs.lock"
    hook.write_text(HOOK)
    hook.chmod(0o755)
    lock.write_text(_pinned((ROOT / "requirements/pgdrill.lock").read_text()))
    system = Rootfs("prober", ("python3",), HOST_SUITE, hook=hook, wheels=lock)
    # An image of it alone: the builder keeps its root file system.
    more = replace(known, rootfs={**known.rootfs, system.name: system})
    builder = Builder(more)
    builder.archive(Image("prober-base", "1", rootfs=system.name), say)
    return builder.rootfs_file(system)


def _pinned(lock: str) -> str:
    """Return the part of a lock file about NEEDS, with the hashes."""
    entries = re.findall(r"^\S+==.*(?:\n +.*)*", lock, re.M)
    return "\n".join(one for one in entries if one.partition("==")[0] in NEEDS) + "\n"
