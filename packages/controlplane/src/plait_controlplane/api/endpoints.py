"""The endpoints. Called by `serving`; answers come from a View. With a guard no request is answered that it stops."""

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.middleware.base import RequestResponseEndpoint

from plait_controlplane.api.answers import (
    Health,
    HookAnswer,
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
from plait_controlplane.api.guards import Guard, Stranger

PROTOBUF = "application/x-protobuf"


def create(view: View, guard: Guard | None = None, makes_tokens: bool = True) -> FastAPI:
    """The application; `guard` stands before it on TCP, where anybody may knock.

    Whoever has a join token can be a workload: on a cluster, where pods need none, those who look on cannot make them.
    """
    app = FastAPI(title="Plait control plane", version="1", description=__doc__)
    if guard is not None:
        _demand(app, guard)
    _errors(app)
    _reads(app, view)
    if makes_tokens:

        @app.post("/v1/join-tokens")
        async def join_tokens(question: JoinTokenQuestion) -> JoinTokenAnswer:
            """Makes a join token."""
            return await view.join_token(question.workload, question.ttl_seconds)

    return app


def _reads(app: FastAPI, view: View) -> None:

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

    @app.get("/v1/hooks")
    async def hooks() -> list[HookAnswer]:
        """Every plugin of the control plane and how it is."""
        return await view.hooks()

    @app.get("/v1/resources", response_class=Response, responses={200: {"content": {PROTOBUF: {}}}})
    async def resources(workload: str) -> Response:
        """A serialised plait.v1.ChangeSet: what the proxy of `workload` would hold with all destinations."""
        return Response(view.resources(workload), media_type=PROTOBUF)

    @app.get("/v1/metrics")
    async def metrics(workload: str) -> PlainTextResponse:
        """What the proxy of a pod counts, as Prometheus text."""
        return PlainTextResponse(await view.metrics(workload))


def _demand(app: FastAPI, guard: Guard) -> None:
    @app.middleware("http")
    async def stand(request: Request, answer: RequestResponseEndpoint) -> Response:
        try:
            await guard(request)
        except Stranger as stranger:
            return JSONResponse({"detail": str(stranger)}, 401, {"www-authenticate": "Bearer"})
        except Unavailable as error:
            return JSONResponse({"detail": str(error)}, 503)
        return await answer(request)


def _errors(app: FastAPI) -> None:
    async def unknown(request: Request, error: Exception) -> Response:
        return JSONResponse({"detail": str(error)}, 404)

    async def unavailable(request: Request, error: Exception) -> Response:
        return JSONResponse({"detail": str(error)}, 503)

    app.add_exception_handler(Unknown, unknown)
    app.add_exception_handler(Unavailable, unavailable)
