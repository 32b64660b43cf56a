"""Access to a cluster's API: a kubeconfig file and one context of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kubernetes import client, config
from kubernetes.config import kube_config


@dataclass(frozen=True)
class Access:
    """A kubeconfig and a context in it; '' is the only one of a file that is ours."""

    kubeconfig: Path
    context: str = ""

    def client(self) -> client.ApiClient:
        """Return a client of the API.

        Raises:
            kubernetes.config.ConfigException: the file, or the context, cannot be used.
        """
        settings = client.Configuration()
        config.load_kube_config(
            str(self.kubeconfig), context=self.context or None, client_configuration=settings
        )
        settings.retries = False  # a deadline is a deadline, and an observer must not lag behind
        return client.ApiClient(settings)

    @contextmanager
    def for_chaostoolkit(self) -> Iterator[None]:
        """Let chaostoolkit-kubernetes find this cluster: it reads these variables only."""
        before = kube_config.KUBE_CONFIG_DEFAULT_LOCATION
        ours = {"KUBECONFIG": str(self.kubeconfig)}
        if self.context:
            ours["KUBERNETES_CONTEXT"] = self.context
        kept = {name: os.environ.get(name) for name in ours}
        kube_config.KUBE_CONFIG_DEFAULT_LOCATION = str(self.kubeconfig)
        os.environ |= ours
        try:
            yield
        finally:
            kube_config.KUBE_CONFIG_DEFAULT_LOCATION = before
            for name, value in kept.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
