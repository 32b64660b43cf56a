"""The kustomize tree as it is applied: ours, the modules' manifests, the images that were built."""

import shutil
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from pgdrill.provision.components import catalogue
from pgdrill.provision.toolchain import manifest
from pgdrill.settings import ROOT, cache_dir

# Where in the tree a module's manifest belongs.
PLACES = {
    "metallb": "base/metallb/manifest.yaml",
    "cnpg": "base/operators/manifest.yaml",
    "prometheus-operator": "base/monitoring/manifest.yaml",
}


def kustomize_tree(into: Path, overlay: str, *, built: bool) -> Path:
    """Write the tree and return the directory to build."""
    shutil.rmtree(into, ignore_errors=True)
    shutil.copytree(ROOT / "infra/kustomize", into)
    for name, place in PLACES.items():
        (into / place).write_bytes(_manifest(name))
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


def _manifest(name: str) -> bytes:
    """Read a manifest from its module, and keep it for a machine without Go."""
    wanted = catalogue().manifests[name]
    version = catalogue().versions[wanted.directory.name]
    kept = cache_dir() / "manifests" / f"{name}-{version}.yaml"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(".partial")
        partial.write_bytes(manifest(wanted).read_bytes())
        partial.rename(kept)
    return kept.read_bytes()
