"""The two webhooks that the API server calls: injection and validation, over HTTPS. Served by `server`.

Knows no cluster but by the two functions that it is given, and holds no key of the mesh.
"""

import base64
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from opentelemetry import metrics

from plait_controlplane.admission.judge import ask, judge, shown
from plait_controlplane.apiserver import ApiError
from plait_controlplane.hooks.answers import Judge
from plait_controlplane.injection.pod import Outcome, Refused, inject
from plait_controlplane.injection.template import Template

LOG = logging.getLogger(__name__)
REVIEWED = metrics.get_meter(__name__).create_counter("plait_admissions_total", description="By webhook and outcome.")

Object = dict[str, Any]

# The API server sends no more than 3 MiB; whoever sends more is not the API server.
LONGEST_BYTES = 4 * 1024 * 1024
# An answer is for people.
MOST_PROBLEMS = 20

Labels = Callable[[str], Awaitable[Mapping[str, str]]]
"""The labels of a namespace; raises ApiError."""


class Unreadable(Exception):
    """What came is no AdmissionReview."""


def create(template: Callable[[], Template], labels: Labels, plugins: Judge | None = None) -> FastAPI:
    """The application. `template` says how proxies are started now; `plugins` judge what our own rules let pass."""
    app = FastAPI(title="Plait webhooks", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/ready")
    async def ready() -> str:
        return "ready"

    @app.post("/inject")
    async def mutate(request: Request) -> JSONResponse:
        asked = await _read(request)
        pod, namespace = asked.get("object") or {}, str(asked.get("namespace", ""))
        try:
            outcome = inject(namespace, await labels(namespace), pod, template())
        except ApiError as error:
            # Without its labels nobody can say whether the pod may go without a proxy.
            return JSONResponse({"error": f"the namespace {namespace} cannot be read: {error}"}, 503)
        except Refused as refused:
            return _answer("inject", asked, {"allowed": False, "status": {"code": 403, "message": f"plait: {refused}"}})
        return _answer("inject", asked, _allowed(outcome))

    @app.post("/validate")
    async def validate(request: Request) -> JSONResponse:
        asked = await _read(request)
        given = asked.get("object") or {}
        problems, notes = judge(given)[:MOST_PROBLEMS], list[str]()
        if not problems and plugins is not None and (resource := shown(given)) is not None:
            problems, notes = await ask(plugins, resource)
        if not problems:
            return _answer("validate", asked, {"allowed": True, **({"warnings": notes} if notes else {})})
        message = "plait: " + "; ".join(problems)
        return _answer("validate", asked, {"allowed": False, "status": {"code": 422, "message": message}})

    @app.exception_handler(Unreadable)
    async def unreadable(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 400)

    return app


async def _read(request: Request) -> Object:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > LONGEST_BYTES:
            raise Unreadable("too long")
    try:
        asked = json.loads(data)["request"]
        uid = asked["uid"]
    except (ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"this is no AdmissionReview: {error!r}") from error
    if not isinstance(uid, str):
        raise Unreadable("the request has no uid")
    return dict(asked)


def _allowed(outcome: Outcome) -> Object:
    answer: Object = {"allowed": True}
    if outcome.patch:
        patch = base64.b64encode(json.dumps(outcome.patch).encode()).decode()
        answer |= {"patchType": "JSONPatch", "patch": patch}
    if outcome.warnings:
        answer["warnings"] = list(outcome.warnings)
    return answer


def _answer(webhook: str, asked: Object, answer: Object) -> JSONResponse:
    refused = not answer["allowed"]
    REVIEWED.add(1, {"webhook": webhook, "outcome": "refused" if refused else "allowed"})
    if refused:
        named = (asked.get("object") or {}).get("metadata") or {}
        name = named.get("name") or named.get("generateName") or "?"
        LOG.info("%s refused %s/%s: %s", webhook, asked.get("namespace"), name, answer["status"]["message"])
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
    return JSONResponse({**review, "response": {"uid": asked["uid"], **answer}})
