"""Plugins of the control plane beside real processes: they decide, they fall, and nothing falls with them."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import house_plugins
import pytest
from plait_sdk.contracts import discovery_pb2, endpoint_pb2, resource_pb2
from serving import OBJECTS, Channel, Serve, enrol

OWNED = OBJECTS.replace("namespace: shop}\nspec: {selector", "namespace: shop, labels: {owner: shop}}\nspec: {selector")
FAR = """
apiVersion: v1
kind: Service
metadata: {name: far, namespace: shop, labels: {owner: shop}}
spec: {ports: [{port: 80}]}
---
"""


@pytest.fixture
async def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Serve]:
    packages = house_plugins.install(tmp_path / "packages")
    monkeypatch.setenv("PYTHONPATH", f"{packages}:{os.environ.get('PYTHONPATH', '')}")
    found = Serve(tmp_path)
    found.file.write_text(OWNED)
    yield found
    await found.stop()


async def states(serve: Serve) -> dict[str, tuple[str, str]]:
    found = await serve.ask("/v1/objects")
    return {one["name"]: (one["status"], " ".join(each["message"] for each in one["problems"])) for one in found}


async def hooks(serve: Serve) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in await serve.ask("/v1/hooks")}


def endpoints(resources: bytes, service: str) -> list[str]:
    found = discovery_pb2.ChangeSet.FromString(resources).upserts
    bodies = [one.body for one in found if (one.kind, one.name) == (resource_pb2.RESOURCE_KIND_ENDPOINTS, service)]
    return [
        one.address
        for body in bodies
        for group in endpoint_pb2.Endpoints.FromString(body).ports
        for one in group.endpoints
    ]


async def test_a_version_that_a_plugin_refuses_is_not_in_force(serve: Serve, tmp_path: Path) -> None:
    file = house_plugins.hooks_file(tmp_path / "hooks.yaml", "owner")
    await serve.start("--hooks", str(file))
    assert (await states(serve))["stock"] == ("Accepted", "")
    found = (await hooks(serve))["owner"]
    assert (found["state"], found["version"], found["hooks"]) == ("Live", "1.0", ["validate"])
    serve.file.write_text(
        OWNED.replace(", labels: {owner: shop}}", "}").replace("port: 80, targetPort", "port: 81, targetPort")
    )

    async def refused() -> bool:
        return any(state == "Stale" for state, _ in (await states(serve)).values())

    await serve.until(refused)
    told = await serve.ask("/v1/objects")
    (service,) = [one for one in told if one["kind"] == "Service"]
    assert service["status"] == "Stale"
    assert [(one["line"], one["path"]) for one in service["problems"]] == [(4, "metadata.labels")]
    assert service["problems"][0]["message"] == "RefusedByPlugin owner: every Service has an owner"


async def test_a_plugin_that_hangs_is_replaced_and_until_then_the_last_good_goes_on(
    serve: Serve, tmp_path: Path
) -> None:
    flag = tmp_path / "hang"
    file = house_plugins.hooks_file(tmp_path / "hooks.yaml", "hangs", deadline="100ms", config={"path": str(flag)})
    await serve.start("--hooks", str(file))
    before = serve.children()
    flag.touch()
    serve.file.write_text(OWNED.replace("weight: 1", "weight: 7"))

    async def unjudged() -> bool:
        return any("PluginFailed" in told for _, told in (await states(serve)).values())

    await serve.until(unjudged)
    assert await serve.generation() == 1
    await serve.until(lambda: serve.children().get("hooks") not in (None, before["hooks"]))
    flag.unlink()

    async def judged() -> bool:
        return await serve.generation() == 2

    await serve.until(judged)
    after = serve.children()
    assert (after["discovery"], after["signer"]) == (before["discovery"], before["signer"])
    assert {state for state, _ in (await states(serve)).values()} == {"Accepted"}


async def test_without_a_last_good_version_nothing_is_served_before_something_was_judged(
    serve: Serve, tmp_path: Path
) -> None:
    flag = tmp_path / "hang"
    flag.touch()
    file = house_plugins.hooks_file(tmp_path / "hooks.yaml", "hangs", deadline="100ms", config={"path": str(flag)})
    starting = asyncio.create_task(serve.start("--hooks", str(file)))
    # Its process was replaced, so it was asked and did not answer; and still nothing is served.
    first: set[int] = set()

    def replaced() -> bool:
        first.update({number for name, number in serve.children().items() if name == "hooks"} if serve.process else ())
        return len(first) > 2

    await serve.until(replaced)
    assert not starting.done()
    flag.unlink()
    await starting
    assert {state for state, _ in (await states(serve)).values()} == {"Accepted"}


async def test_endpoints_are_found_followed_and_kept_when_who_found_them_is_gone(serve: Serve, tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    found.write_text(json.dumps({"shop/far": ["10.0.0.7:8080"]}))
    serve.file.write_text(FAR + OWNED)
    file = house_plugins.hooks_file(tmp_path / "hooks.yaml", "finds", config={"path": str(found)})
    await serve.start("--hooks", str(file))

    async def far() -> list[str]:
        return endpoints(await serve.bytes("/v1/resources?workload=shop/stock-1"), "shop/far")

    async def is_far(*wanted: str) -> bool:
        return await far() == list(wanted)

    assert await far() == ["10.0.0.7:8080"]  # there from the first generation on: a start empties nothing
    found.write_text(json.dumps({"shop/far": ["10.0.0.7:8080", "10.0.0.8:8080"]}))
    await serve.until(lambda: is_far("10.0.0.7:8080", "10.0.0.8:8080"))
    assert (await serve.ask("/v1/mesh"))["change"] == "endpoints of shop/far were discovered"
    found.write_text("{")  # its source fails from now on

    async def failing() -> bool:
        return (await hooks(serve))["finds"]["failures"] > 0

    await serve.until(failing)
    os.kill(serve.children()["hooks"], signal.SIGKILL)

    async def is_back() -> bool:
        state = (await hooks(serve))["finds"]
        return bool(state["state"] == "Live" and state["failures"])

    await serve.until(is_back)
    assert await far() == ["10.0.0.7:8080", "10.0.0.8:8080"]
    await serve.stop()
    await serve.start("--hooks", str(file))
    assert await far() == ["10.0.0.7:8080", "10.0.0.8:8080"]
    found.write_text(json.dumps({"shop/far": []}))
    await serve.until(lambda: is_far())


async def test_a_file_of_hooks_that_says_nothing_ends_the_start_with_its_place(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "hooks.yaml"
    file.write_text("plugins:\n- {package: house-rules, onErorr: Open}\n")
    code, error = await serve.fails("--hooks", str(file))
    assert code == 1
    assert f'{file}:2:26: plugins[0].onErorr: unknown field "onErorr"; did you mean "onError"?' in error


async def test_a_plugin_refuses_a_certificate_and_shortens_another(
    serve: Serve, tmp_path: Path, connect: Channel
) -> None:
    workload = OWNED.split("---")[1].replace("stock-1", "closed-1").replace("8080", "8081")
    closed = workload.replace("serviceAccount: stock", "serviceAccount: closed")
    serve.file.write_text(f"{OWNED.replace('serviceAccount: stock', 'serviceAccount: short')}---{closed}")
    await serve.start("--hooks", str(house_plugins.hooks_file(tmp_path / "hooks.yaml", "issues")))
    leaf = (await enrol(serve, connect)).chain[0]
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc < timedelta(minutes=5)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await enrol(serve, connect, "shop/closed-1")
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert refused.value.details() == "plugin issues: not today"
