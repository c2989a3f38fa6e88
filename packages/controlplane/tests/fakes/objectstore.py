"""An API server for tests of what writes to one: any object under any path, over real HTTP.

Knows no kind and watches nothing. Tests read `objects` and `asked`; `answers` are their own answers by path.
"""

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from kubernetes.aio import client
from plait_controlplane.apiserver import ApiServer

Object = dict[str, Any]


class ObjectStore:
    """Use: `async with ObjectStore().serve() as api`."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.asked: list[tuple[str, str]] = []
        self.answers: dict[tuple[str, str], Callable[[Object], tuple[int, Object]]] = {}
        self.url = ""
        self._version = 0

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[ApiServer]:
        """Serves until the end; gives a client."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        configuration = client.Configuration()
        configuration.host = self.url
        try:
            async with ApiServer(configuration) as api:
                yield api
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        path = request.path
        text = await request.text()
        body = json.loads(text) if text else {}
        self.asked.append((request.method, path))
        await asyncio.sleep(0)  # what others ask meanwhile comes in between, as with a real one
        special = self.answers.get((request.method, path))
        status, answer = special(body) if special else self._plain(request.method, path, body)
        return web.json_response(answer, status=status)

    def _plain(self, method: str, path: str, body: Object) -> tuple[int, Object]:
        match method:
            case "GET":
                return self._get(path)
            case "POST":
                path = f"{path}/{body['metadata']['name']}"
                if path in self.objects:
                    return failure(409, "AlreadyExists", f"{path} already exists")
                return 201, self._put(path, body)
            case "PUT":
                return 200, self._put(path, body)
            case "PATCH":
                status = 200 if path in self.objects else 201
                return status, self._put(path, merged(self.objects.get(path, {}), body))
            case "DELETE" if path in self.objects:
                return 200, self.objects.pop(path)
        return failure(404, "NotFound", f"{path} not found")

    def _get(self, path: str) -> tuple[int, Object]:
        if path in self.objects:
            return 200, self.objects[path]
        words = path.strip("/").split("/")
        # Behind the version a collection has one word or three, an object two or four.
        if len(words[2 if words[0] == "api" else 3 :]) % 2 == 1:
            items = [one for key, one in sorted(self.objects.items()) if key.rpartition("/")[0] == path]
            return 200, {"kind": "List", "items": items}
        return failure(404, "NotFound", f"{path} not found")

    def _put(self, path: str, body: Object) -> Object:
        self._version += 1
        stored = copy.deepcopy(body)
        stored.setdefault("metadata", {})["resourceVersion"] = str(self._version)
        self.objects[path] = stored
        return stored


def failure(status: int, reason: str, message: str) -> tuple[int, Object]:
    """As the API server says no."""
    return status, {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": status}


def merged(before: Object, patch: Object) -> Object:
    """A merge patch; lists are replaced."""
    found = dict(before)
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, dict) and isinstance(found.get(key), dict):
            found[key] = merged(found[key], value)
        else:
            found[key] = value
    return found
