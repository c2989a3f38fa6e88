"""The API server of `fake_apiserver` as people meet it: it knows them by a token, and each may do what a Role says.

It makes tokens for accounts and reviews them, and passes requests on to pods: over TLS that it does not check, without
the header by which it knew who asked. Used by tests of the command on a cluster.
"""

import asyncio
import ssl
from typing import Any

import aiohttp
from aiohttp import web
from fake_apiserver import FakeApiServer, Object, _status

SYSTEM = "/api/v1/namespaces/plait-system/"
CONTROL_PLANE = "control-plane"
"""The token of the one who may do everything."""


class FrontDoor(FakeApiServer):
    """Use: `users` by token and what each may do, `backends` by the pod's name and port; then serve `answer`."""

    def __init__(self) -> None:
        super().__init__()
        self.users: dict[str, list[Object]] = {}
        self.backends: dict[str, str] = {}
        """ "https:pod:port" -> "ip:port"; a pod that is not among them is away."""
        self.made: dict[str, tuple[str, list[str]]] = {}
        """Tokens of accounts: whose, and for whom."""
        self.logs: dict[str, list[str]] = {}
        """What the proxy of a pod, "namespace/name", writes to whoever follows its log; each line once."""
        self.passed: list[str] = []
        """Headers that a pod was shown, by name."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if request.path == "/apis/authentication.k8s.io/v1/tokenreviews":
            return self._review((await request.json())["spec"])
        if token == CONTROL_PLANE:
            return await super().answer(request)
        if token not in self.users:
            return _status(401, "Unauthorized")
        if request.path.endswith("/log"):
            return self._may(token, "get", "pods/log") or await self._log(request)
        match request.path.removeprefix(SYSTEM).split("/"):
            case ["pods"]:
                return self._may(token, "list", "pods") or self._pods()
            case ["serviceaccounts", name, "token"]:
                return self._may(token, "create", "serviceaccounts/token", name) or await self._make(request, name)
            case ["pods", name, "proxy", *path]:
                return self._may(token, "get", "pods/proxy", name) or await self._pass(request, name, "/".join(path))
        return _status(404, "the server could not find the requested resource")

    def _may(self, token: str, verb: str, resource: str, name: str = "") -> web.Response | None:
        for rule in self.users[token]:
            named = rule.get("resourceNames") or [name]
            if verb in rule["verbs"] and resource in rule["resources"] and name in named:
                return None
        return _status(403, f'User "{token}" cannot {verb} resource "{resource}" in the namespace "plait-system"')

    def _pods(self) -> web.Response:
        found = [
            one for (kind, space, _), one in sorted(self.objects.items()) if (kind, space) == ("Pod", "plait-system")
        ]
        return web.json_response({"items": found})

    async def _log(self, request: web.Request) -> web.StreamResponse:
        assert dict(request.query) == {"container": "plait-proxy", "follow": "true", "tailLines": "0"}
        _, _, _, namespace, _, name, _ = request.path.strip("/").split("/")
        response = web.StreamResponse()
        await response.prepare(request)
        for line in self.logs.pop(f"{namespace}/{name}", []):
            await response.write(line.encode() + b"\n")
        await asyncio.Event().wait()  # as a container that runs, and says no more
        return response

    async def _make(self, request: web.Request, account: str) -> web.Response:
        audiences = (await request.json())["spec"]["audiences"]
        token = f"made.for.{len(self.made)}"
        self.made[token] = (f"system:serviceaccount:plait-system:{account}", audiences)
        return web.json_response({"status": {"token": token}}, status=201)

    def _review(self, spec: Object) -> web.Response:
        who, audiences = self.made.get(spec["token"], ("", []))
        both = [one for one in spec["audiences"] if one in audiences]
        status: dict[str, Any] = {"authenticated": bool(both), "audiences": both, "user": {"username": who}}
        return web.json_response({"status": status}, status=201)

    async def _pass(self, request: web.Request, name: str, path: str) -> web.Response:
        if name not in self.backends:
            return _status(503, "error trying to reach service: dial tcp: connection refused")
        headers = {key: value for key, value in request.headers.items() if key not in ("Authorization", "Host")}
        self.passed.extend(headers)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        url = f"https://{self.backends[name]}/{path}"
        async with (
            aiohttp.ClientSession() as session,
            session.get(url, params=request.query, headers=headers, ssl=context) as answer,
        ):
            kind = answer.headers.get("Content-Type", "")
            return web.Response(status=answer.status, body=await answer.read(), headers={"Content-Type": kind})
