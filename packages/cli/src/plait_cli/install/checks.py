"""What must be so before an installation, and after it: what was found and what to do. Called by the verbs."""

import re
from dataclasses import asdict, dataclass

from plait_controlplane.apiserver import ApiError, ApiServer

from plait_cli.install import progress
from plait_cli.install.cluster import Object, find, path
from plait_cli.install.manifests import control_plane, crds, hooks
from plait_cli.install.settings import NAMESPACE, Settings

# Native sidecars are there, and on by default, from this minor version on.
OLDEST = (1, 29)
GATEWAY_OLDEST = (1, 1)
GATEWAY_HINT = (
    "kubectl apply --server-side -f"
    " https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.6.3/standard-install.yaml"
)
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ROUTES = ("httproutes", "grpcroutes", "tlsroutes", "tcproutes")
INJECT, INJECTED = "plait.dev/inject", "plait.dev/injected"
NEVER = ("plait-system", "kube-system")


@dataclass(frozen=True)
class Line:
    """One finding. `state`: passed, warning, or failed."""

    category: str
    what: str
    state: str
    said: str
    hint: str = ""

    def text(self) -> str:
        """For people."""
        mark = {"passed": "✓", "warning": "!", "failed": "✗"}[self.state]
        hint = f"\n    {self.hint}" if self.hint and self.state != "passed" else ""
        return f"{mark} {self.what:14} {self.said}{hint}"

    def facts(self) -> dict[str, str]:
        """For programs."""
        return asdict(self)


async def before(api: ApiServer) -> list[Line]:
    """What an installation needs."""
    return [await _version(api), await _gateway_api(api), await _rights(api)]


async def after(api: ApiServer) -> list[Line]:
    """What an installation must be."""
    lines = [await _version(api), await _gateway_api(api)]
    if await find(api, f"/api/v1/namespaces/{NAMESPACE}") is None:
        return [*lines, Line("installation", "mesh", "failed", "there is none on this cluster", "plait install")]
    for what, objects in (
        ("CRDs", crds()),
        ("objects", [*control_plane(Settings()), *hooks()]),
    ):
        missing = [f"{one['kind']} {one['metadata']['name']}" for one in objects if await find(api, path(one)) is None]
        lines.append(_line("installation", what, _few(missing), f"{len(objects)} there", "plait install"))
    pods = "kubectl -n plait-system describe pods"
    lines.append(_line("control plane", "replicas", await progress.available(api), "all ready", pods))
    logs = "kubectl -n plait-system logs deployment/plait-controlplane"
    lines.append(
        _line("control plane", "webhooks", await progress.hooked(api, hooks()), "known to the API server", logs)
    )
    lines.append(await _slipped(api))
    return lines


async def proxies(api: ApiServer) -> list[tuple[str, str]]:
    """Every pod that has a proxy, and of which image."""
    found = await api.ask("GET", "/api/v1/pods", query={"labelSelector": f"{INJECTED}=true"})
    return [
        (f"{pod['metadata']['namespace']}/{pod['metadata']['name']}", container["image"])
        for pod in found.get("items") or []
        for container in pod["spec"].get("initContainers") or []
        if container["name"] == "plait-proxy"
    ]


def _line(category: str, what: str, missing: str, good: str, hint: str) -> Line:
    return Line(category, what, "failed" if missing else "passed", missing or good, hint)


async def _version(api: ApiServer) -> Line:
    said = str((await api.ask("GET", "/version")).get("gitVersion", ""))
    found = _numbers(said)
    old = f"{said} is too old: sidecars that start first and end last came with v{OLDEST[0]}.{OLDEST[1]}"
    return _line("cluster", "cluster", old if found < OLDEST else "", said, "upgrade the cluster")


async def _gateway_api(api: ApiServer) -> Line:
    missing, versions = [], set()
    for route in ROUTES:
        crd = await find(api, f"{CRDS}/{route}.gateway.networking.k8s.io")
        if crd is None:
            missing.append(route)
            continue
        notes = crd["metadata"].get("annotations") or {}
        version = notes.get("gateway.networking.k8s.io/bundle-version", "of unknown version")
        versions.add(f"{version}, {notes.get('gateway.networking.k8s.io/channel', 'unknown')} channel")
    told = "; ".join(sorted(versions)) or "not installed"
    if missing:
        said = f"{told}: without {', '.join(missing)}; the mesh does without such routes"
        return Line("cluster", "Gateway API", "warning", said, GATEWAY_HINT)
    if len(versions) > 1 or _numbers(told) < GATEWAY_OLDEST:
        return Line(
            "cluster", "Gateway API", "warning", f"{told}: of one version, v1.1 or later, is meant", GATEWAY_HINT
        )
    return Line("cluster", "Gateway API", "passed", told)


async def _rights(api: ApiServer) -> Line:
    """Whoever installs gives rights, so that they need them themselves."""
    attributes = {"group": "rbac.authorization.k8s.io", "resource": "clusterroles", "verb": "escalate"}
    question = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    try:
        answer = await api.ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", question)
    except ApiError as error:
        return Line("cluster", "rights", "warning", f"it is not known whether you may install: {error}")
    if (answer.get("status") or {}).get("allowed"):
        return Line("cluster", "rights", "passed", "you may install")
    return Line("cluster", "rights", "warning", "you may perhaps not give rights", "ask for the role cluster-admin")


async def _slipped(api: ApiServer) -> Line:
    """Pods that belong in the mesh and have no proxy: started before the label, or past the webhook."""
    namespaces = await api.ask("GET", "/api/v1/namespaces")
    labels = {one["metadata"]["name"]: one["metadata"].get("labels") or {} for one in namespaces.get("items") or []}
    pods = (await api.ask("GET", "/api/v1/pods")).get("items") or []
    found = sorted(f"{one['metadata']['namespace']}/{one['metadata']['name']}" for one in pods if _lacks(one, labels))
    said = f"{len(found)} without a proxy: {_few(found)}" if found else ""
    hint = "start them again: kubectl rollout restart, or delete the pod"
    return _line("data plane", "pods", said, "every pod that belongs in the mesh has its proxy", hint)


def _lacks(pod: Object, namespaces: dict[str, dict[str, str]]) -> bool:
    metadata, spec = pod["metadata"], pod.get("spec") or {}
    own = (metadata.get("labels") or {}).get(INJECT)
    wanted = own if own is not None else namespaces.get(metadata["namespace"], {}).get(INJECT)
    if wanted != "enabled" or metadata["namespace"] in NEVER or spec.get("hostNetwork"):
        return False
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return False
    return not any(one["name"] == "plait-proxy" for one in spec.get("initContainers") or [])


def _few(names: list[str]) -> str:
    """Enough to begin with."""
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")


def _numbers(text: str) -> tuple[int, int]:
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)
