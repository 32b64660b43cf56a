"""The kustomize tree as it is applied: ours, the modules' manifests, the images that were built."""

import shutil
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from pgdrill.provision.components import catalogue
from pgdrill.provision.toolchain import manifest
from pgdrill.settings import ROOT, cache_dir

# Where in the tree a module's manifest belongs: a file, or a directory of kustomizations.
PLACES = {
    "metallb": "base/metallb/manifest.yaml",
    "cnpg": "base/operators/manifest.yaml",
    "prometheus-operator": "base/monitoring/manifest.yaml",
    "metrics-server": "base/metrics/module",
}


def kustomize_tree(into: Path, overlay: str, *, built: bool) -> Path:
    """Write the tree and return the directory to build."""
    shutil.rmtree(into, ignore_errors=True)
    shutil.copytree(ROOT / "infra/kustomize", into)
    for name, place in PLACES.items():
        _copy(_manifest(name), into / place)
    for file in into.rglob("*.j2"):
        file.with_suffix("").write_text(template(file.read_text(), pgdrill_images=images()))
        file.unlink()
    top = into / "build"
    top.mkdir()
    lines = [
        "apiVersion: kustomize.config.k8s.io/v1beta1",
        "kind: Kustomization",
        f"resources: [../overlays/{overlay}]",
    ]
    if built:
        lines.append("components: [../components/built-images]")
    (top / "kustomization.yaml").write_text("\n".join(lines) + "\n")
    return top


def images() -> dict[str, str]:
    """Return the references of our images by name."""
    return {name: image.reference for name, image in catalogue().images.items()}


def template(text: str, **variables: object) -> str:
    """Fill in a template; an unknown variable is an error."""
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(text).render(**variables)


def missing_manifests() -> list[str]:
    """Return the manifests that have not been read from their modules yet."""
    return [name for name in PLACES if not _kept(name).exists()]


def _manifest(name: str) -> Path:
    """Return a manifest from its module, kept for a machine without Go."""
    kept = _kept(name)
    if not kept.exists():
        partial = kept.with_name(f"{kept.name}.partial")
        _copy(manifest(catalogue().manifests[name]), partial)
        partial.rename(kept)
    return kept


def _kept(name: str) -> Path:
    wanted = catalogue().manifests[name]
    version = catalogue().versions[wanted.directory.name]
    return cache_dir() / "manifests" / f"{name}-{version}{Path(wanted.file).suffix}"


def _copy(source: Path, target: Path) -> None:
    """Copy a file or a tree; a module's files are read-only, their copies are not."""
    for file in (source, *source.rglob("*")):
        if file.is_file():
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
