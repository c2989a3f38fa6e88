"""The application's probes under strict mTLS: kubelet asks the proxy, and the proxy the application. Called by `pod`.

Kubelet has no identity, so that a strict workload refuses it; and its address is no proof, since whoever is on the node
has it. So a probe becomes one of the proxy's own port, which answers for exactly the checks that are written here.
"""

import json
from collections.abc import Iterator
from typing import Any

from plait_controlplane.injection.template import ADMIN_PORT, Object

PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
HOOKS = ("postStart", "preStop")


def rewrite(containers: list[Object]) -> str:
    """Changes the containers in place; returns the table for the proxy as JSON, empty when nothing was changed.

    A check of a host that its owner named, of a port that the container does not name, and what runs inside it (exec)
    stay as they are.
    """
    table: dict[str, Object] = {}
    for container in containers:
        for name, holder in _checks(container):
            check = _check(holder, container)
            if check is None or not isinstance(next(iter(check.values()))["port"], int):
                continue
            path = f"/probe/{container.get('name')}/{name}"
            table[path] = {**check, "timeoutSeconds": holder.get("timeoutSeconds", 1)}
            for kind in ("httpGet", "tcpSocket", "grpc"):
                holder.pop(kind, None)
            holder["httpGet"] = {"path": path, "port": ADMIN_PORT, "scheme": "HTTP"}
    return json.dumps(table, sort_keys=True, separators=(",", ":")) if table else ""


def _checks(container: Object) -> Iterator[tuple[str, Object]]:
    for name in PROBES:
        if isinstance(container.get(name), dict):
            yield name, container[name]
    hooks = container.get("lifecycle") or {}
    for name in HOOKS:
        # A TCP hook never was one: Kubernetes takes it and does nothing.
        if isinstance(hooks.get(name), dict) and "httpGet" in hooks[name]:
            yield name, hooks[name]


def _check(holder: Object, container: Object) -> Object | None:
    if "httpGet" in holder and not holder["httpGet"].get("host"):
        asked = holder["httpGet"]
        found: Object = {"port": _port(asked.get("port"), container), "path": asked.get("path") or "/"}
        if asked.get("scheme") == "HTTPS":
            found["tls"] = True
        headers = [[one["name"], one["value"]] for one in asked.get("httpHeaders") or []]
        return {"http": {**found, **({"headers": headers} if headers else {})}}
    if "tcpSocket" in holder and not holder["tcpSocket"].get("host"):
        return {"tcp": {"port": _port(holder["tcpSocket"].get("port"), container)}}
    if "grpc" in holder:
        asked = holder["grpc"]
        return {"grpc": {"port": asked.get("port"), "service": asked.get("service") or ""}}
    return None


def _port(port: Any, container: Object) -> Any:
    """The number; a name is one of the container's own ports. Any other name is left for kubelet to refuse."""
    if isinstance(port, str):
        named = [one.get("containerPort") for one in container.get("ports") or [] if one.get("name") == port]
        return named[0] if named else port
    return port
