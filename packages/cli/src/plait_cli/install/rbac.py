"""What the control plane may do on a cluster, and what those who ask it must be allowed to. Called by `manifests`.

As little as each needs, each rule with its reason.
A golden file keeps this list: whoever adds a right changes two files and says why.
"""

from typing import Any

from plait_cli.install.settings import LABELS, NAME, NAMESPACE, VIEWER

Object = dict[str, Any]

READ = ["get", "list", "watch"]
ROUTES = ["httproutes", "grpcroutes", "tlsroutes", "tcproutes"]


def roles() -> list[Object]:
    """Two roles of ours, one for the cluster and one for our own namespace, and who has them; and the viewers' role."""
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
        {**_head("Role", "rbac.authorization.k8s.io/v1", NAMESPACE, VIEWER), "rules": _of_viewers()},
    ]


def _of_the_cluster() -> list[Object]:
    return [
        # What traffic depends on. No Secret and no ConfigMap of anybody.
        _rule([""], ["services", "pods", "nodes", "namespaces"], READ),
        _rule(["discovery.k8s.io"], ["endpointslices"], READ),
        # What users wrote, and what became of it.
        _rule(["gateway.networking.k8s.io"], ROUTES, READ),
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


def _of_viewers() -> list[Object]:
    """Bound to nobody: whoever runs the cluster binds it to people. A Role, which reaches no other namespace."""
    return [
        # Each replica knows its own proxies, so each is asked. Nothing else runs in our namespace.
        _rule([""], ["pods"], ["list"]),
        _rule([""], ["pods/proxy"], ["get"]),
        # The API takes tokens of this account alone.
        {**_rule([""], ["serviceaccounts/token"], ["create"]), "resourceNames": [VIEWER]},
    ]


def _head(kind: str, version: str, namespace: str = "", name: str = NAME) -> Object:
    place = {"namespace": namespace} if namespace else {}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **place, "labels": dict(LABELS)}}


def _rule(groups: list[str], resources: list[str], verbs: list[str]) -> Object:
    return {"apiGroups": groups, "resources": resources, "verbs": verbs}


def _reference(kind: str) -> Object:
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": NAME}


def _account() -> Object:
    return {"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}
