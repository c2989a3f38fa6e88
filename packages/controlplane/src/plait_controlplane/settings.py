"""What the control plane is told when it starts. Made by `cli`, read by `app` and `supervisor`."""

import json
from dataclasses import dataclass
from pathlib import Path

CLUSTER = "kubernetes"
"""The source that is no folder."""


@dataclass(frozen=True)
class Settings:
    """Folders and addresses. `discovery` and `identity` are "ip:port"."""

    source: Path | None
    """The folder of YAML; None = a cluster."""
    state: Path
    sockets: Path
    discovery: str
    identity: str
    api_listen: str | None = None
    api_token_file: Path | None = None
    api_cluster: str = ""
    """Where the API listens for whom the cluster lets ask, "ip:port"; empty = nowhere."""
    ca_namespace: str = ""
    """Where the root is the Secret plait-ca of a cluster; empty = it is a file of ours."""
    webhooks: str = ""
    """Where the webhooks listen, "ip:port"; empty = there are none."""
    proxy_image: str = ""
    """What is injected."""
    advertise: str = ""
    """The host at which others reach us; empty = the addresses above are right for them too."""
    hooks: Path | None = None
    """The file that names the plugins of the control plane; None = there are none."""
    kubeconfig: Path | None = None
    """How the cluster is reached; None = as the pod that we are."""

    @property
    def api_socket(self) -> Path:
        """Where the API listens."""
        return self.sockets / "api.sock"

    @property
    def signer_socket(self) -> Path:
        """Where the signer listens for the discovery process."""
        return signer_socket(self.sockets)

    @property
    def hooks_socket(self) -> Path:
        """Where the plugins of the control plane are asked."""
        return self.sockets / "hooks.sock"

    def for_others(self, listen: str) -> str:
        """The "host:port" at which others reach an address of ours."""
        host, port = self.advertise, listen.rpartition(":")[2]
        if not host:
            return listen
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def authority(self) -> Path:
        """The folder of the root key and of the roots that are trusted beside it."""
        return self.state / "ca"

    @property
    def mesh_name(self) -> str:
        """As `plait up` was told in the mesh.json around our state; else the base name of the source."""
        if self.source is None:
            return CLUSTER
        try:
            name = json.loads((self.state.parent / "mesh.json").read_text())["name"]
        except (OSError, ValueError, KeyError, TypeError):
            return self.source.absolute().name
        return str(name)


def signer_socket(sockets: Path) -> Path:
    """Where the signer listens for processes beside it that may use the root key."""
    return sockets / "signer.sock"
