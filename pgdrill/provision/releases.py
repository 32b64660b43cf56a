"""Downloads of releases: tools and manifests, checked and then kept in the cache."""

import hashlib
import io
import shutil
import stat
import tarfile
from pathlib import Path

from pgdrill.provision.commands import Say
from pgdrill.provision.components import Manifest, Tool
from pgdrill.provision.download import NotFetchedError, fetch, mirrored, published
from pgdrill.provision.supply import Supply
from pgdrill.settings import cache_dir


def tool(wanted: Tool, supply: Supply, say: Say) -> Path:
    """Return the released program, fetched on first use.

    Its digest is the one that is published beside it: that address is trusted.

    Raises:
        NotFetchedError: it cannot be had.
        WrongBytesError: what came is not what was published.
    """
    target = kept_tool(wanted)
    if target.exists():
        return target
    what = f"{wanted.name} {wanted.version}"
    url = mirrored(wanted.release, supply.releases)
    say(f"fetching {what} from {url}")
    digest = published(what, mirrored(wanted.checksum, supply.releases))
    fetched = target.with_name(f"{wanted.name}.{digest[:12]}")
    size = fetch(what, url, digest, fetched, say)
    if wanted.member:
        _extract(fetched, wanted.member, what)
    fetched.chmod(fetched.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    fetched.rename(target)
    say(f"fetched {what}: {size / 1e6:.0f} MB, SHA-256 as published")
    return target


def kept_tool(wanted: Tool) -> Path:
    """The path of a released program, there or not yet."""
    return cache_dir() / "releases" / f"{wanted.name}-{wanted.version}" / wanted.name


def _extract(archive: Path, member: str, what: str) -> None:
    """Replace an archive by the one program of it that is wanted."""
    inside = archive.with_name(f"{archive.name}.unpacked")
    try:
        with tarfile.open(archive) as opened:
            found = opened.extractfile(member)
            with found or io.BytesIO() as source, inside.open("wb") as target:
                shutil.copyfileobj(source, target)
    except (KeyError, tarfile.TarError) as error:
        archive.unlink()
        raise NotFetchedError(f"{what}: its archive holds no {member} ({error})") from None
    inside.replace(archive)


def manifest(wanted: Manifest, supply: Supply, say: Say) -> Path:
    """Return a directory that holds a manifest's files, fetched on first use.

    Raises:
        NotFetchedError: a file cannot be had.
        WrongBytesError: a file is not the one of components.toml.
    """
    what = f"manifest of {wanted.name} {wanted.version}"
    say(f"fetching the {what}")
    into = _kept(wanted)
    for path, digest in wanted.files.items():
        if not _is(into / path, digest):
            url = mirrored(f"{wanted.url}/{path}", supply.releases)
            fetch(what, url, digest, into / path, say)
    return into


def kept_manifest(wanted: Manifest) -> Path | None:
    """Return the directory of a manifest that was fetched before, if it is whole."""
    into = _kept(wanted)
    whole = all(_is(into / path, digest) for path, digest in wanted.files.items())
    return into if whole else None


def _kept(wanted: Manifest) -> Path:
    return cache_dir() / "releases" / f"{wanted.name}-{wanted.version}"


def _is(file: Path, digest: str) -> bool:
    return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == digest
