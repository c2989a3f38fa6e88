"""What every injected pod gets: the two containers and the volumes. Called by `pod`; decides nothing.

The proxy runs as a user of its own: its traffic is told from the application's by that, in the rules that redirect.
"""

from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]

PROXY = "plait-proxy"
REDIRECT = "plait-redirect"
TOKEN = "plait-token"
STATE = "plait-state"

# Nobody's in common images; who runs as this user is not redirected, so no container of an application may.
PROXY_UID = 1337

OUTBOUND_PORT = 15001
INBOUND_PORT = 15006
# Read-only: /ready, /metrics, and the application's probes. Not redirected, since kubelet has no identity.
ADMIN_PORT = 15020
PORTS = {OUTBOUND_PORT, INBOUND_PORT, ADMIN_PORT}

AUDIENCE = "plait"
# The shortest life that a cluster gives is ten minutes; kubelet renews at 80 % of this.
TOKEN_SECONDS = 3600

# A startup probe gives up after this many seconds: then the pod tells that it has no configuration.
STARTUP_SECONDS = 300


@dataclass(frozen=True)
class Template:
    """How proxies of this mesh are started. Addresses are "host:port", `roots` hexadecimal SHA-256."""

    image: str
    discovery: str
    identity: str
    trust_domain: str
    roots: tuple[str, ...]
    pull_policy: str = "IfNotPresent"


def proxy(template: Template, probes: str) -> Object:
    """The sidecar. `probes` is the table of the application's probes, JSON; empty = there are none."""
    environment: list[Object] = [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    if probes:
        # Kubernetes puts variables in where a dollar stands; two of them are one.
        environment.append({"name": "PLAIT_PROBES", "value": probes.replace("$", "$$")})
    return {
        "name": PROXY,
        "image": template.image,
        "imagePullPolicy": template.pull_policy,
        # An init container that stays: up before the application starts, down after it ended; a Job completes.
        "restartPolicy": "Always",
        "args": [
            "run",
            f"--join={template.discovery}",
            f"--identity={template.identity}",
            f"--trust-domain={template.trust_domain}",
            *(f"--root={root}" for root in template.roots),
            "--token-file=/run/plait/token/token",
            "--state=/var/lib/plait/state",
            "--admin=/var/lib/plait/admin.sock",
            "--address=$(POD_IP)",
            f"--metrics-port={ADMIN_PORT}",
        ],
        "env": environment,
        "ports": [{"name": "plait-metrics", "containerPort": ADMIN_PORT, "protocol": "TCP"}],
        "startupProbe": {**_ready(), "periodSeconds": 1, "failureThreshold": STARTUP_SECONDS},
        "readinessProbe": {**_ready(), "periodSeconds": 5, "failureThreshold": 3},
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": PROXY_UID,
            "runAsGroup": PROXY_UID,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [
            {"name": TOKEN, "mountPath": "/run/plait/token", "readOnly": True},
            {"name": STATE, "mountPath": "/var/lib/plait"},
        ],
    }


def redirect(template: Template) -> Object:
    """The init container that makes the pod's traffic pass through the proxy, and ends."""
    return {
        "name": REDIRECT,
        "image": template.image,
        "imagePullPolicy": template.pull_policy,
        "args": ["redirect", f"--proxy-uid={PROXY_UID}", f"--exclude-inbound={ADMIN_PORT}"],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
        "securityContext": {
            "runAsNonRoot": False,
            "runAsUser": 0,
            "runAsGroup": 0,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def volumes() -> list[Object]:
    """The token that the cluster renews, and memory for what no disk may keep."""
    token = {"path": "token", "audience": AUDIENCE, "expirationSeconds": TOKEN_SECONDS}
    return [
        {"name": TOKEN, "projected": {"sources": [{"serviceAccountToken": token}]}},
        {"name": STATE, "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
    ]


def _ready() -> Object:
    return {"httpGet": {"path": "/ready", "port": ADMIN_PORT}, "timeoutSeconds": 3}
