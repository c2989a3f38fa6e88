"""Every object of an installation, in the order in which they are applied. Pure. Called by the verbs."""

from importlib import resources
from typing import Any

import yaml

from plait_cli.install import rbac, webhooks
from plait_cli.install.settings import (
    API_PORT,
    DISCOVERY_PORT,
    IDENTITY_PORT,
    LABELS,
    NAME,
    NAMESPACE,
    VIEWER,
    WEBHOOK_PORT,
    WEBHOOKS,
    Settings,
)

Object = dict[str, Any]

SELECTOR = {"app.kubernetes.io/name": "plait", "app.kubernetes.io/component": "controlplane"}
# Nobody's; the images name the same.
UID = 10001
# How long nodes may take to hear that an endpoint came or went. Meanwhile the API server would call webhooks where
# nobody listens, and injection fails closed: a replica counts this long after it is ready, and serves this long after
# it was told to end.
NEWS_SECONDS = 5
STOP_SECONDS = 30


def crds() -> list[Object]:
    """Our own kinds, as the control plane's package has them."""
    folder = resources.files("plait_controlplane").joinpath("crds")
    if not folder.is_dir():
        return []
    files = sorted((one for one in folder.iterdir() if one.name.endswith(".yaml")), key=lambda one: one.name)
    return [document for one in files for document in yaml.safe_load_all(one.read_text()) if document]


def control_plane(settings: Settings) -> list[Object]:
    """The namespace and what runs in it."""
    return [
        _namespace(),
        {**_head("v1", "ServiceAccount", NAME), "automountServiceAccountToken": False},
        {**_head("v1", "ServiceAccount", VIEWER), "automountServiceAccountToken": False},
        *rbac.roles(),
        _service(NAME, {"tls-discovery": DISCOVERY_PORT, "tls-identity": IDENTITY_PORT}),
        _service(WEBHOOKS, {"https": WEBHOOK_PORT}, {"https": 443}),
        _budget(),
        _deployment(settings),
    ]


def hooks() -> list[Object]:
    """Last of all: where they are, the API server asks us."""
    return webhooks.configurations()


def everything(settings: Settings) -> list[Object]:
    """All of it."""
    return [*crds(), *control_plane(settings), *hooks()]


def text(objects: list[Object]) -> str:
    """As YAML, for GitOps."""
    return yaml.dump_all(objects, Dumper=_Plain, sort_keys=False, width=140)


class _Plain(yaml.SafeDumper):
    """Shared parts are written out: not every reader of others knows anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _namespace() -> Object:
    strict = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    metadata = {"name": NAMESPACE, "labels": {**LABELS, **strict}}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def _service(name: str, ports: dict[str, int], shown: dict[str, int] | None = None) -> Object:
    """Of every replica, ready or not where proxies ask: readiness is for whoever would fail without."""
    found = [
        {"name": port, "port": (shown or {}).get(port, number), "targetPort": number, "protocol": "TCP"}
        for port, number in ports.items()
    ]
    return {**_head("v1", "Service", name), "spec": {"selector": dict(SELECTOR), "ports": found}}


def _budget() -> Object:
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": dict(SELECTOR)}}
    return {**_head("policy/v1", "PodDisruptionBudget", NAME), "spec": spec}


def _deployment(settings: Settings) -> Object:
    spec = {
        "replicas": settings.replicas,
        "minReadySeconds": NEWS_SECONDS,
        # A new replica is ready before an old one goes.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "selector": {"matchLabels": dict(SELECTOR)},
        "template": {"metadata": {"labels": {**LABELS, **SELECTOR}}, "spec": _pod(settings)},
    }
    return {**_head("apps/v1", "Deployment", NAME), "spec": spec}


def _pod(settings: Settings) -> Object:
    spread = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": dict(SELECTOR)}}
    return {
        "serviceAccountName": NAME,
        "automountServiceAccountToken": True,
        "terminationGracePeriodSeconds": STOP_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": UID,
            "runAsGroup": UID,
            "fsGroup": UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [{**spread, "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"}],
        "containers": [_container(settings)],
        "volumes": [
            # Keys, ports and generations: of this replica alone, and on no disk.
            {"name": "state", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}},
            {"name": "sockets", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
        ],
    }


def _container(settings: Settings) -> Object:
    arguments = [
        "serve",
        "--source=kubernetes",
        "--state=/var/lib/plait/state",
        "--sockets=/run/plait/sockets",
        "--host=0.0.0.0",
        f"--advertise={NAME}.{NAMESPACE}.svc",
        f"--ca-namespace={NAMESPACE}",
        f"--api-cluster=0.0.0.0:{API_PORT}",
        f"--webhooks=0.0.0.0:{WEBHOOK_PORT}",
        f"--proxy-image={settings.image('proxy')}",
    ]
    listens = {"discovery": DISCOVERY_PORT, "identity": IDENTITY_PORT, "api": API_PORT, "webhooks": WEBHOOK_PORT}
    ready = {"httpGet": {"path": "/ready", "port": "webhooks", "scheme": "HTTPS"}, "timeoutSeconds": 5}
    alive = {"tcpSocket": {"port": "discovery"}, "timeoutSeconds": 5}
    return {
        "name": "controlplane",
        "image": settings.image("controlplane"),
        "imagePullPolicy": "IfNotPresent",
        "args": arguments,
        "ports": [{"name": name, "containerPort": number} for name, number in listens.items()],
        # Ready: injection answers, which it does once the signer knows the mesh; discovery listens by then or soon.
        "startupProbe": {**alive, "periodSeconds": 1, "failureThreshold": 120},
        "readinessProbe": {**ready, "periodSeconds": 3},
        "livenessProbe": {**alive, "periodSeconds": 10, "failureThreshold": 6},
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(NEWS_SECONDS)]}}},
        "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "state", "mountPath": "/var/lib/plait"},
            {"name": "sockets", "mountPath": "/run/plait"},
        ],
    }


def _head(version: str, kind: str, name: str) -> Object:
    metadata = {"name": name, "namespace": NAMESPACE, "labels": dict(LABELS)}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}
