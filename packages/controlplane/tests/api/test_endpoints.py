"""The API with a view that stands still, in-process and over its sockets."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from plait_controlplane.api.endpoints import create
from plait_controlplane.api.guards import shared_token
from plait_controlplane.api.serving import ApiServer, tcp, unix
from still_view import MESH, Still

TOKEN = "0123456789abcdef0123456789abcdef"


def client(app: FastAPI, **headers: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://plait", headers=headers)


async def test_answers_have_the_promised_names() -> None:
    async with client(create(Still())) as api:
        assert (await api.get("/healthz")).json() == {"status": "ok"}
        assert (await api.get("/v1/mesh")).json() == MESH.model_dump()
        for path in ("objects", "proxies", "workloads", "hooks"):
            assert (await api.get(f"/v1/{path}")).json() == []
        schema = (await api.get("/openapi.json")).json()
    assert set(schema["paths"]) == {"/healthz", *(f"/v1/{name}" for name in (
        "mesh", "objects", "proxies", "workloads", "hooks", "resources", "metrics", "join-tokens"))}  # fmt: skip


async def test_resources_are_bytes() -> None:
    async with client(create(Still())) as api:
        answer = await api.get("/v1/resources", params={"workload": "shop/web-1"})
        assert (answer.content, answer.headers["content-type"]) == (b"bytes", "application/x-protobuf")
        missing = await api.get("/v1/resources", params={"workload": "shop/nobody"})
    assert (missing.status_code, missing.json()["detail"]) == (404, "the mesh has no Workload shop/nobody")


@pytest.mark.parametrize(
    ("question", "status"),
    [
        ({"workload": "shop/web-1"}, 200),
        ({"workload": "shop/web-1", "ttl_seconds": 60}, 200),
        ({"workload": "shop/away"}, 503),
        ({"workload": "shop/web-1", "ttl_seconds": 0}, 422),
        ({"workload": "shop/web-1", "ttl_seconds": 90_000}, 422),
        ({"workload": "x" * 400}, 422),
        ({}, 422),
    ],
)
async def test_join_tokens(question: dict[str, Any], status: int) -> None:
    async with client(create(Still())) as api:
        answer = await api.post("/v1/join-tokens", json=question)
    assert answer.status_code == status
    if status == 200:
        assert answer.json()["token"] == f"shop/web-1 {question.get('ttl_seconds', 3600)}"


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (TOKEN, 401),
        ("Bearer é", 401),
        ("", 401),
    ],
)
@pytest.mark.parametrize("path", ["/healthz", "/v1/mesh", "/openapi.json", "/docs", "/nowhere"])
async def test_a_token_guards_every_path(header: str, status: int, path: str) -> None:
    async with client(create(Still(), shared_token(TOKEN))) as api:
        answer = await api.get(path, headers={"authorization": header.encode("latin-1")})  # type: ignore[dict-item]
    assert answer.status_code == (404 if path == "/nowhere" and status == 200 else status)


async def test_nothing_changes_by_get() -> None:
    async with client(create(Still())) as api:
        assert (await api.get("/v1/join-tokens")).status_code == 405


async def test_both_sockets_serve(tmp_path: Path, free_address: str) -> None:
    path = tmp_path / "api.sock"
    path.touch()  # what a crash left behind
    servers = [
        ApiServer(create(Still()), unix(path)),
        ApiServer(create(Still(), shared_token(TOKEN)), tcp(free_address)),
    ]
    for server in servers:
        await server.start()
    assert path.stat().st_mode & 0o777 == 0o600
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path))) as local:
        assert (await local.get("http://plait/v1/mesh")).status_code == 200
    async with httpx.AsyncClient(trust_env=False) as remote:
        url = f"http://{free_address}/v1/mesh"
        assert (await remote.get(url)).status_code == 401
        assert (await remote.get(url, headers={"authorization": f"Bearer {TOKEN}"})).status_code == 200
    for server in servers:
        await server.stop()
