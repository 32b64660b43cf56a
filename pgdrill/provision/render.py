"""The kustomize tree as it is applied: ours, manifests of releases, the images that were built."""

import shutil
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from pgdrill.provision.commands import Say
from pgdrill.provision.components import Manifest
from pgdrill.provision.download import NotFetchedError
from pgdrill.provision.releases import kept_manifest, manifest
from pgdrill.provision.supply import Supply
from pgdrill.provision.toolchain import has_go, module_directory
from pgdrill.settings import ROOT

# Where in the tree a manifest belongs: a file, or a directory of kustomizations.
PLACES = {
    "metallb": "base/metallb/manifest.yaml",
    "cnpg": "base/operators/manifest.yaml",
    "prometheus-operator": "base/monitoring/manifest.yaml",
    "metrics-server": "base/metrics/module",
}


def kustomize_tree(into: Path, supply: Supply, say: Say, *, built: bool) -> Path:
    """Write the tree and return the directory to build.

    Raises:
        BrokenEnvironmentError: a manifest can neither be fetched nor read from its module.
    """
    shutil.rmtree(into, ignore_errors=True)
    shutil.copytree(ROOT / "infra/kustomize", into)
    for name, place in PLACES.items():
        wanted = supply.known.manifests[name]
        _copy(_directory(wanted, supply, say, built=built) / wanted.root, into / place)
    for file in into.rglob("*.j2"):
        file.with_suffix("").write_text(template(file.read_text(), pgdrill_images=images(supply)))
        file.unlink()
    top = into / "build"
    top.mkdir()
    lines = [
        "apiVersion: kustomize.config.k8s.io/v1beta1",
        "kind: Kustomization",
        "resources: [../overlays/kind]",
    ]
    if built:
        lines.append("components: [../components/built-images]")
    (top / "kustomization.yaml").write_text("\n".join(lines) + "\n")
    return top


def images(supply: Supply) -> dict[str, str]:
    """Return the references of our images by name."""
    return {name: image.reference for name, image in supply.known.images.items()}


def template(text: str, **variables: object) -> str:
    """Fill in a template; an unknown variable is an error."""
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(text).render(**variables)


def _directory(wanted: Manifest, supply: Supply, say: Say, *, built: bool) -> Path:
    """Return a directory that holds a manifest's files, fetched or read from its module."""
    kept = kept_manifest(wanted)
    if kept:
        return kept
    if supply.how == "pull" or not (built and has_go()):  # what was built has the module already
        try:
            return manifest(wanted, supply, say)
        except NotFetchedError as error:
            if supply.how == "pull" or not has_go():
                raise NotFetchedError(f"{error}; or use --release-mirror") from None
            say(f"{error}: reading it from its Go module")
    return module_directory(wanted.directory, wanted.module)


def _copy(source: Path, target: Path) -> None:
    """Copy a file or a tree; a module's files are read-only, their copies are not."""
    for file in (source, *source.rglob("*")):
        if file.is_file():
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
