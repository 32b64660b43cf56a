"""Where tools, manifests and images come from: releases, registries, mirrors, or a compiler."""

from dataclasses import dataclass, field

from pgdrill.provision.components import OPERATORS, Catalogue, catalogue
from pgdrill.settings import Mirrors, Settings


@dataclass(frozen=True)
class Supply:
    """What the settings say about it.

    how is auto, pull or build; releases is a URL below which releases are fetched by host and path,
    '' for the releases' own.
    """

    how: str = "auto"
    mirrors: Mirrors = field(default_factory=Mirrors)
    releases: str = ""
    node: str = ""
    operator: str = OPERATORS[0]

    @classmethod
    def of(cls, settings: Settings) -> "Supply":
        """Return what a run was asked for."""
        return cls(
            settings.images,
            settings.registry_mirror,
            settings.release_mirror,
            settings.node_image,
            settings.operator,
        )

    @property
    def known(self) -> Catalogue:
        """The list of components with this version of the operator."""
        return catalogue(self.operator)

    @property
    def node_image(self) -> str:
        """The image of the nodes where it is pulled."""
        return self.node or self.known.pulled["node"].reference
