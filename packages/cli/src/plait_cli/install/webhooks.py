"""Which requests the API server shows us: pods that opted in, and objects that are ours. Called by `manifests`.

What was never labelled is never shown: an outage of ours cannot keep such a pod from starting. The bundle that the API
server checks us with is the control plane's to fill in, so that applying these again does not take it away.
"""

from typing import Any

from plait_cli.install.settings import LABELS, NAMESPACE, WEBHOOKS

Object = dict[str, Any]

INJECT = "plait.dev/inject"
NAME_LABEL = "kubernetes.io/metadata.name"
NEVER = [NAMESPACE, "kube-system"]
TIMEOUT_SECONDS = 10


def configurations() -> list[Object]:
    """Injection and validation."""
    return [_injection(), _validation()]


def _injection() -> Object:
    """Two entries: a namespace that opted in, and a pod that did so where its namespace said nothing."""
    by_namespace = {
        "namespaceSelector": {"matchExpressions": [_in(INJECT, ["enabled"]), _not_in(NAME_LABEL, NEVER)]},
        "objectSelector": {"matchExpressions": [_not_in(INJECT, ["disabled"])]},
    }
    by_pod = {
        "namespaceSelector": {"matchExpressions": [_not_in(INJECT, ["enabled"]), _not_in(NAME_LABEL, NEVER)]},
        "objectSelector": {"matchExpressions": [_in(INJECT, ["enabled"])]},
    }
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    return {
        **_head("MutatingWebhookConfiguration", "plait-injection"),
        "webhooks": [
            # Closed: a pod that belongs in the mesh does not start outside of it.
            {**_hook(f"{name}.inject.plait.dev", "/inject", pods), **chosen, "failurePolicy": "Fail"}
            for name, chosen in (("namespace", by_namespace), ("pod", by_pod))
        ],
    }


def _validation() -> Object:
    """Open: what slips through while we are away is refused by translation, and its status says so."""
    operations = ["CREATE", "UPDATE"]
    ours = {"apiGroups": ["plait.dev"], "apiVersions": ["*"], "operations": operations, "resources": ["*"]}
    routes = {**ours, "apiGroups": ["gateway.networking.k8s.io"], "resources": ["httproutes", "grpcroutes"]}
    streams = {**routes, "resources": ["tlsroutes", "tcproutes"]}
    return {
        **_head("ValidatingWebhookConfiguration", "plait-validation"),
        "webhooks": [
            {**_hook(f"{name}.validate.plait.dev", "/validate", *rules), "failurePolicy": "Ignore"}
            for name, rules in (("objects", [ours]), ("routes", [routes, streams]))
        ],
    }


def _hook(name: str, path: str, *rules: Object) -> Object:
    service = {"name": WEBHOOKS, "namespace": NAMESPACE, "path": path, "port": 443}
    found: Object = {
        "name": name,
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": service},
        "matchPolicy": "Equivalent",
        "rules": list(rules),
        "sideEffects": "None",
        "timeoutSeconds": TIMEOUT_SECONDS,
    }
    # Another webhook may add a container after us, and a pod that has its proxy stays as it is.
    return {**found, "reinvocationPolicy": "Never"} if path == "/inject" else found


def _head(kind: str, name: str) -> Object:
    metadata = {"name": name, "labels": dict(LABELS)}
    return {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": metadata}


def _in(key: str, values: list[str]) -> Object:
    return {"key": key, "operator": "In", "values": values}


def _not_in(key: str, values: list[str]) -> Object:
    return {"key": key, "operator": "NotIn", "values": values}
