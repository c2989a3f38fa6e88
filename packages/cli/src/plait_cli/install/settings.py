"""What may differ between installations. Read from the command line by the verbs; never from the cluster."""

from dataclasses import dataclass

from plait_cli import __version__

NAMESPACE = "plait-system"
NAME = "plait-controlplane"
WEBHOOKS = "plait-webhooks"
# The role of those who ask the mesh, and the account whose tokens the API takes.
VIEWER = "plait-viewer"

DISCOVERY_PORT = 15012
IDENTITY_PORT = 15013
API_PORT = 15014
WEBHOOK_PORT = 15017

# Whose the fields of our objects are, for server-side apply.
FIELD_MANAGER = "plait-install"

SELECTOR_TEXT = "app.kubernetes.io/name=plait,app.kubernetes.io/component=controlplane"

LABELS = {"app.kubernetes.io/name": "plait", "app.kubernetes.io/part-of": "plait"}


@dataclass(frozen=True)
class Settings:
    """`registry` stands before the images' public names; empty = the default registry of the nodes."""

    registry: str = ""
    image_tag: str = __version__
    replicas: int = 2

    def image(self, name: str) -> str:
        """ "plait/proxy:0.1.0", behind the registry if there is one."""
        prefix = f"{self.registry.rstrip('/')}/" if self.registry else ""
        return f"{prefix}plait/{name}:{self.image_tag}"
