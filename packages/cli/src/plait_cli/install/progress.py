"""What an installation waits for: questions to the cluster that answer with what is missing. Called by the verbs."""

from plait_controlplane.apiserver import ApiServer

from plait_cli.install.cluster import Object, find, path
from plait_cli.install.settings import NAME, NAMESPACE, SELECTOR_TEXT


async def established(api: ApiServer, crds: list[Object]) -> str:
    """Our kinds are served."""
    for one in crds:
        found = await find(api, path(one)) or {}
        conditions = (found.get("status") or {}).get("conditions") or []
        if not any(each.get("type") == "Established" and each.get("status") == "True" for each in conditions):
            return f"{one['metadata']['name']} is not served yet"
    return ""


async def available(api: ApiServer) -> str:
    """Every replica of the control plane is of the newest template, and ready."""
    found = await find(api, f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{NAME}")
    if found is None:
        return f"there is no Deployment {NAMESPACE}/{NAME}"
    status, wanted = found.get("status") or {}, found["spec"]["replicas"]
    if status.get("observedGeneration", 0) < found["metadata"].get("generation", 1):
        return "the Deployment was not seen yet"
    ready = min(status.get("updatedReplicas", 0), status.get("availableReplicas", 0))
    old = status.get("replicas", 0) - status.get("updatedReplicas", 0)
    if ready >= wanted and old <= 0:
        return ""
    return f"{ready} of {wanted} ready{await _trouble(api)}"


async def hooked(api: ApiServer, configurations: list[Object]) -> str:
    """The control plane has told the API server by which root its webhooks are known."""
    for one in configurations:
        found = await find(api, path(one)) or {}
        hooks = found.get("webhooks") or []
        if not hooks or not all((hook.get("clientConfig") or {}).get("caBundle") for hook in hooks):
            return f"{one['metadata']['name']} has no CA bundle yet"
    return ""


async def gone(api: ApiServer, objects: list[Object]) -> str:
    """Nothing of these is left."""
    for one in objects:
        if await find(api, path(one)) is not None:
            return f"{one['kind']} {one['metadata']['name']} is still going"
    return ""


async def _trouble(api: ApiServer) -> str:
    """Why a replica does not start, when the cluster says so."""
    pods = await api.ask("GET", f"/api/v1/namespaces/{NAMESPACE}/pods", query={"labelSelector": SELECTOR_TEXT})
    for pod in pods.get("items") or []:
        status = pod.get("status") or {}
        for container in status.get("containerStatuses") or []:
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
                return f"; {pod['metadata']['name']}: {waiting['reason']} {waiting.get('message', '')}".rstrip()
        for condition in status.get("conditions") or []:
            if condition.get("reason") == "Unschedulable":
                return f"; {pod['metadata']['name']}: {condition.get('message', 'unschedulable')}"
    return ""
