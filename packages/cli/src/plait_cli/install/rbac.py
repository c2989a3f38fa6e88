"""What the control plane may do on a cluster: as little as it needs, each rule with its reason. Called by `manifests`.

A golden file keeps this list: whoever adds a right changes two files and says why.
"""

from typing import Any

from plait_cli.install.settings import LABELS, NAME, NAMESPACE

Object = dict[str, Any]

READ = ["get", "list", "watch"]
ROUTES = ["httproutes", "grpcroutes", "tlsroutes", "tcproutes"]


def roles() -> list[Object]:
    """Two roles, one for the cluster and one for our own namespace, and who has them."""
    return [
        {**_head("ClusterRole", "rbac.authorization.k8s.io/v1"), "rules": _of_the_cluster()},
        {
            **_head("ClusterRoleBinding", "rbac.authorization.k8s.io/v1"),
            "roleRef": _reference("ClusterRole"),
            "subjects": [_account()],
        },
        {**_head("Role", "rbac.authorization.k8s.io/v1", NAMESPACE), "rules": _of_our_namespace()},
        {
            **_head("RoleBinding", "rbac.authorization.k8s.io/v1", NAMESPACE),
            "roleRef": _reference("Role"),
            "subjects": [_account()],
        },
    ]


def _of_the_cluster() -> list[Object]:
    return [
        # What traffic depends on. No Secret and no ConfigMap of anybody.
        _rule([""], ["services", "pods", "nodes", "namespaces"], READ),
        _rule(["discovery.k8s.io"], ["endpointslices"], READ),
        # What users wrote, and what became of it.
        _rule(["gateway.networking.k8s.io"], [*ROUTES, "gateways", "gatewayclasses", "referencegrants"], READ),
        _rule(["gateway.networking.k8s.io"], [f"{route}/status" for route in ROUTES], ["get", "update", "patch"]),
        _rule(["plait.dev"], ["*"], READ),
        _rule(["plait.dev"], ["*/status"], ["get", "update", "patch"]),
        _rule(["", "events.k8s.io"], ["events"], ["create", "patch"]),
        # Which kinds there are, and of which version.
        _rule(["apiextensions.k8s.io"], ["customresourcedefinitions"], READ),
        # Who a pod is that shows its token.
        _rule(["authentication.k8s.io"], ["tokenreviews"], ["create"]),
        # The bundle that the API server checks our webhooks with.
        {
            **_rule(["admissionregistration.k8s.io"], ["mutatingwebhookconfigurations"], ["get", "patch"]),
            "resourceNames": ["plait-injection"],
        },
        {
            **_rule(["admissionregistration.k8s.io"], ["validatingwebhookconfigurations"], ["get", "patch"]),
            "resourceNames": ["plait-validation"],
        },
    ]


def _of_our_namespace() -> list[Object]:
    return [
        # The root: made once (a name cannot bound a creation), read by every replica, never written over.
        _rule([""], ["secrets"], ["create"]),
        {**_rule([""], ["secrets"], ["get"]), "resourceNames": ["plait-ca"]},
        {**_rule([""], ["configmaps"], ["get"]), "resourceNames": ["plait-ca-roots"]},
        # Who writes status.
        _rule(["coordination.k8s.io"], ["leases"], ["create"]),
        {
            **_rule(["coordination.k8s.io"], ["leases"], ["get", "update", "patch"]),
            "resourceNames": ["plait-status"],
        },
    ]


def _head(kind: str, version: str, namespace: str = "") -> Object:
    place = {"namespace": namespace} if namespace else {}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": NAME, **place, "labels": dict(LABELS)}}


def _rule(groups: list[str], resources: list[str], verbs: list[str]) -> Object:
    return {"apiGroups": groups, "resources": resources, "verbs": verbs}


def _reference(kind: str) -> Object:
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": NAME}


def _account() -> Object:
    return {"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}
