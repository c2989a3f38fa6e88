"""The endpoints. Called by `serving`; answers come from a View. With a token every request must show it."""

import hmac

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.middleware.base import RequestResponseEndpoint

from plait_controlplane.api.answers import (
    Health,
    JoinTokenAnswer,
    JoinTokenQuestion,
    MeshAnswer,
    ObjectAnswer,
    ProxyAnswer,
    Unavailable,
    Unknown,
    View,
    WorkloadAnswer,
)

PROTOBUF = "application/x-protobuf"


def create(view: View, token: str | None = None) -> FastAPI:
    """The application; `token` is asked for in `Authorization: Bearer`, on TCP, where anybody may knock."""
    app = FastAPI(title="Plait control plane", version="1", description=__doc__)
    if token is not None:
        _demand(app, token)
    _errors(app)

    @app.get("/healthz")
    async def health() -> Health:
        """Whether the process answers."""
        return Health()

    @app.get("/v1/mesh")
    async def mesh() -> MeshAnswer:
        """The mesh as a whole."""
        return view.mesh()

    @app.get("/v1/objects")
    async def objects() -> list[ObjectAnswer]:
        """Every object with its state and problems."""
        return view.objects()

    @app.get("/v1/proxies")
    async def proxies() -> list[ProxyAnswer]:
        """Every connected proxy and the generation that it serves."""
        return view.proxies()

    @app.get("/v1/workloads")
    async def workloads() -> list[WorkloadAnswer]:
        """Every Workload in force."""
        return view.workloads()

    @app.get("/v1/resources", response_class=Response, responses={200: {"content": {PROTOBUF: {}}}})
    async def resources(workload: str) -> Response:
        """A serialised plait.v1.ChangeSet: what the proxy of `workload` would hold with all destinations."""
        return Response(view.resources(workload), media_type=PROTOBUF)

    @app.post("/v1/join-tokens")
    async def join_tokens(question: JoinTokenQuestion) -> JoinTokenAnswer:
        """Makes a join token."""
        return await view.join_token(question.workload, question.ttl_seconds)

    return app


def _demand(app: FastAPI, token: str) -> None:
    wanted = f"Bearer {token}".encode()

    @app.middleware("http")
    async def guard(request: Request, answer: RequestResponseEndpoint) -> Response:
        shown = request.headers.get("authorization", "").encode("latin-1")
        # In constant time: how long a refusal takes says nothing about the token.
        if not hmac.compare_digest(shown, wanted):
            headers = {"www-authenticate": "Bearer"}
            return JSONResponse({"detail": "show the API token: Authorization: Bearer TOKEN"}, 401, headers)
        return await answer(request)


def _errors(app: FastAPI) -> None:
    async def unknown(request: Request, error: Exception) -> Response:
        return JSONResponse({"detail": str(error)}, 404)

    async def unavailable(request: Request, error: Exception) -> Response:
        return JSONResponse({"detail": str(error)}, 503)

    app.add_exception_handler(Unknown, unknown)
    app.add_exception_handler(Unavailable, unavailable)
