"""An API server of Kubernetes over real HTTP, as far as the control plane asks one, that misbehaves when told to.

Lists in pages, watches with bookmarks, merge patches, conflicts, the status subresource, one resourceVersion for all.
Used by tests of the source, of the status writer and of the whole control plane.
"""

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import yaml
from aiohttp import web

Object = dict[str, Any]

KINDS = {
    "Service": ("", "v1", "services"),
    "Pod": ("", "v1", "pods"),
    "Node": ("", "v1", "nodes"),
    "Namespace": ("", "v1", "namespaces"),
    "Event": ("", "v1", "events"),
    "EndpointSlice": ("discovery.k8s.io", "v1", "endpointslices"),
    "Lease": ("coordination.k8s.io", "v1", "leases"),
    "HTTPRoute": ("gateway.networking.k8s.io", "v1", "httproutes"),
    "GRPCRoute": ("gateway.networking.k8s.io", "v1", "grpcroutes"),
    "TLSRoute": ("gateway.networking.k8s.io", "v1", "tlsroutes"),
    "TCPRoute": ("gateway.networking.k8s.io", "v1alpha2", "tcproutes"),
    "Mesh": ("plait.dev", "v1alpha1", "meshes"),
    "Workload": ("plait.dev", "v1alpha1", "workloads"),
    "AuthorizationPolicy": ("plait.dev", "v1alpha1", "authorizationpolicies"),
    "TrafficPolicy": ("plait.dev", "v1alpha1", "trafficpolicies"),
    "Plugin": ("plait.dev", "v1alpha1", "plugins"),
}
CLUSTER_SCOPED = {"Node", "Namespace", "Mesh"}


@dataclass
class Fault:
    """What a request gets in the place of its answer: `times` times."""

    status: int
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    watches: bool = True
    lists: bool = True


class FakeApiServer:
    """Use as `async with serving() as fake`; then `apply`, `delete`, and the faults."""

    def __init__(self) -> None:
        self.url = ""
        self.installed = set(KINDS)
        self.version = 100
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.events: list[tuple[int, str, str, Object]] = []
        self.forgotten = 0
        """Watches from before this resourceVersion get 410."""
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self.open = asyncio.Event()
        """Cleared = the server takes connections and answers nothing."""
        self.open.set()
        self._news = asyncio.Condition()
        self._cut = 0

    # What tests do to it.

    async def apply(self, text: str) -> None:
        """Creates or replaces the objects of a YAML text."""
        for item in yaml.safe_load_all(text):
            await self.put(item)

    async def put(self, item: Object) -> Object:
        """Creates or replaces one; its status stays unless it brings one."""
        item = copy.deepcopy(item)
        kind, meta = item["kind"], item["metadata"]
        if kind not in CLUSTER_SCOPED:
            meta.setdefault("namespace", "default")
        key = (kind, meta.get("namespace", ""), meta["name"])
        before = self.objects.get(key)
        self.version += 1
        meta.setdefault("uid", f"uid-{kind}-{meta['name']}")
        meta["creationTimestamp"] = (before or item)["metadata"].get("creationTimestamp", "2026-01-01T00:00:00Z")
        changed = before is None or before.get("spec") != item.get("spec")
        meta["generation"] = (before["metadata"]["generation"] if before else 0) + changed
        if before and "status" in before:
            item.setdefault("status", before["status"])
        await self._record("MODIFIED" if before else "ADDED", key, item)
        return item

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        item = self.objects.pop((kind, namespace, name))
        self.version += 1
        await self._record("DELETED", (kind, namespace, name), item)

    async def bookmark(self) -> None:
        """To every watch."""
        async with self._news:
            self.events.append((self.version, "*", "BOOKMARK", {}))
            self._news.notify_all()

    async def disconnect(self) -> None:
        """Every watch ends."""
        async with self._news:
            self._cut += 1
            self._news.notify_all()

    def forget(self) -> None:
        """No watch from before now can go on."""
        self.version += 1
        self.forgotten = self.version

    def asked(self, path: str, method: str = "GET") -> int:
        """How often."""
        return sum((method, path) == (how, where) for how, where in self.requests)

    def status(self, kind: str, namespace: str, name: str) -> Object:
        return dict(self.objects[kind, namespace, name].get("status", {}))

    async def _record(self, event: str, key: tuple[str, str, str], item: Object) -> None:
        item["metadata"]["resourceVersion"] = str(self.version)
        if event != "DELETED":
            self.objects[key] = item
        async with self._news:
            self.events.append((self.version, key[0], event, copy.deepcopy(item)))
            self._news.notify_all()

    # What it answers.

    async def answer(self, request: web.Request) -> web.StreamResponse:
        await self.open.wait()
        watch = request.query.get("watch") == "true"
        self.requests.append((request.method, request.path + ("?watch" if watch else "")))
        for fault in self.faults:
            if fault.times and (fault.watches if watch else fault.lists):
                fault.times -= 1
                return _status(fault.status, "told to fail", fault.headers)
        parts = request.path.strip("/").split("/")
        group, version, rest = ("", parts[1], parts[2:]) if parts[0] == "api" else (parts[1], parts[2], parts[3:])
        if not rest:
            return self._discovery(group, version)
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        kind = next(
            (kind for kind in self.installed if KINDS[kind][::2] == (group, rest[0]) and KINDS[kind][1] == version),
            None,
        )
        if kind is None:
            return _status(404, "the server could not find the requested resource")
        if len(rest) == 1:
            if request.method == "POST":
                return await self._create(request, kind, namespace)
            return await self._watch(request, kind) if watch else self._list(request, kind)
        return await self._one(request, (kind, namespace, rest[1]), rest[2] if len(rest) > 2 else "")

    def _discovery(self, group: str, version: str) -> web.Response:
        names = [{"name": KINDS[k][2], "kind": k} for k in sorted(self.installed) if KINDS[k][:2] == (group, version)]
        return web.json_response({"resources": names}) if names else _status(404, "not found")

    def _list(self, request: web.Request, kind: str) -> web.Response:
        found = [copy.deepcopy(item) for key, item in sorted(self.objects.items()) if key[0] == kind]
        for item in found:  # items of a list do not say what they are
            item.pop("kind")
            item.pop("apiVersion")
        start, limit = int(request.query.get("continue", "0")), int(request.query.get("limit", "500"))
        meta: Object = {"resourceVersion": str(self.version)}
        if start + limit < len(found):
            meta["continue"] = str(start + limit)
        return web.json_response({"metadata": meta, "items": found[start : start + limit]})

    async def _watch(self, request: web.Request, kind: str) -> web.StreamResponse:
        since, cut = int(request.query["resourceVersion"]), self._cut
        if since < self.forgotten:
            return _status(410, "too old resource version")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        at = next((index for index, event in enumerate(self.events) if event[0] > since), len(self.events))
        while self._cut == cut:
            for version, whose, event, item in self.events[at:]:
                at += 1
                if whose == kind:
                    await _write(response, event, item)
                elif event == "BOOKMARK":
                    await _write(response, event, {"kind": kind, "metadata": {"resourceVersion": str(version)}})
            async with self._news:
                await self._news.wait_for(lambda at=at: len(self.events) > at or self._cut != cut)
            await self.open.wait()
        return response

    async def _create(self, request: web.Request, kind: str, namespace: str) -> web.Response:
        item = await request.json()
        if namespace:
            item["metadata"]["namespace"] = namespace
        if "generateName" in item["metadata"]:
            item["metadata"]["name"] = f"{item['metadata']['generateName']}{self.version}"
        if (kind, namespace, item["metadata"]["name"]) in self.objects:
            return _status(409, "already exists")
        item.setdefault("kind", kind)
        return web.json_response(await self.put(item), status=201)

    async def _one(self, request: web.Request, key: tuple[str, str, str], part: str) -> web.Response:
        item = self.objects.get(key)
        if item is None:
            return _status(404, "not found")
        if request.method == "GET":
            return web.json_response(item)
        said = await request.json()
        wanted = said.get("metadata", {}).get("resourceVersion")
        if wanted and wanted != item["metadata"]["resourceVersion"]:
            return _status(409, "the object has been modified")
        merged = said if request.method == "PUT" else _merged(copy.deepcopy(item), said)
        if part == "status":
            merged = {**copy.deepcopy(item), "status": merged.get("status", {})}
        merged["metadata"] = {**item["metadata"], **merged["metadata"]}
        if merged == item:
            return web.json_response(item)
        return web.json_response(await self.put(merged))


def _merged(into: Any, patch: Any) -> Any:
    if not isinstance(into, dict) or not isinstance(patch, dict):
        return patch
    for name, value in patch.items():
        if value is None:
            into.pop(name, None)
        else:
            into[name] = _merged(into.get(name), value)
    return into


def _status(code: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    said = {
        "kind": "Status",
        "code": code,
        "reason": {404: "NotFound", 409: "Conflict"}.get(code, ""),
        "message": message,
    }
    return web.json_response(said, status=code, headers=headers)


async def _write(response: web.StreamResponse, event: str, item: Object) -> None:
    await response.write(json.dumps({"type": event, "object": item}).encode() + b"\n")


@asynccontextmanager
async def serving() -> AsyncIterator[FakeApiServer]:
    """A server on loopback."""
    fake = FakeApiServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield fake
    finally:
        fake.open.set()
        await fake.disconnect()
        await runner.cleanup()
