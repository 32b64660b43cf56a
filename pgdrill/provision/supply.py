"""The origin of tools, manifests and images: releases, registries, mirrors, or a compiler."""

from dataclasses import dataclass, field, replace

from pgdrill.provision.components import KUBERNETES, OPERATORS, POSTGRES, Catalogue, catalogue
from pgdrill.settings import Mirrors, Settings


@dataclass(frozen=True)
class Supply:
    """The origin of each part, according to the settings.

    how is auto, pull or build; releases is a URL below which releases are fetched by host and path,
    '' for the releases' own; node, operator, postgres and kubernetes are '' where they were not
    requested.
    """

    how: str = "auto"
    mirrors: Mirrors = field(default_factory=Mirrors)
    releases: str = ""
    node: str = ""
    operator: str = ""
    postgres: str = ""
    kubernetes: str = ""

    @classmethod
    def of(cls, settings: Settings) -> "Supply":
        """Return the origin of each part for a run's settings."""
        return cls(
            settings.images,
            settings.registry_mirror,
            settings.release_mirror,
            settings.node_image,
            settings.asked_for("operator"),
            settings.asked_for("postgres"),
            settings.asked_for("kubernetes"),
        )

    def after(
        self, image: str, operator: str, postgres: str, kubernetes: str, mirrors: str
    ) -> "Supply":
        """Return what holds where a cluster runs already: what was not asked for stays as it is.

        image is that of its nodes if it was pulled, else ''.
        """
        return replace(
            self,
            # Another Kubernetes is another node image.
            node=self.node or ("" if self.kubernetes not in ("", kubernetes) else image),
            operator=self.operator or operator,
            postgres=self.postgres or postgres,
            kubernetes=self.kubernetes or kubernetes,
            mirrors=self.mirrors if str(self.mirrors) else Mirrors.parse(mirrors),
        )

    @property
    def known(self) -> Catalogue:
        """The list of components with these versions."""
        return catalogue(self.operator_version, self.postgres_version, self.kubernetes_version)

    @property
    def operator_version(self) -> str:
        """The version of the operator: the requested one, else the default."""
        return self.operator or OPERATORS[0]

    @property
    def postgres_version(self) -> str:
        """The major version of PostgreSQL: the requested one, else the default."""
        return self.postgres or POSTGRES[0]

    @property
    def kubernetes_version(self) -> str:
        """The minor version of Kubernetes: the requested one, else the default."""
        return self.kubernetes or KUBERNETES[0]

    @property
    def node_image(self) -> str:
        """The image of the nodes where it is pulled."""
        return self.node or self.known.pulled["node"].reference
