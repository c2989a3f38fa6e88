"""The webhooks as the API server calls them: over HTTPS, checked with the bundle that was published."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from objectstore import Object, ObjectStore
from plait_controlplane.hooks.answers import Judged, Said
from plait_controlplane.identity.authority import Authority, create_root, utc_now
from plait_controlplane.identity.internal import Client
from plait_controlplane.identity.join_token import fingerprint
from plait_controlplane.identity.proof import Mesh
from plait_controlplane.identity.server import SignerServer
from plait_controlplane.identity.signer import Signer
from plait_controlplane.webhooks.server import CONFIGURATIONS, NAME, OURS, Hooks, WebhookServer, differences
from plait_sdk.control import Resource

POD = {"metadata": {"name": "web"}, "spec": {"containers": [{"name": "app", "image": "i"}]}}


def configurations() -> dict[str, Object]:
    found = {}
    for kind, name in OURS:
        webhooks = [{"name": f"{one}.plait.dev", "clientConfig": {"service": {"name": "x"}}} for one in "ab"]
        found[f"{CONFIGURATIONS}/{kind}/{name}"] = {"metadata": {"name": name}, "webhooks": webhooks}
    return found


class Plugins:
    """Say the same of every object."""

    def __init__(self) -> None:
        self.said: tuple[Said, ...] = ()
        self.asked: list[Resource] = []

    async def judge(self, resources: Sequence[Resource]) -> list[Judged]:
        self.asked += resources
        return [Judged(said=self.said) for _ in resources]


@dataclass
class Running:
    """The process, as tasks of this one."""

    store: ObjectStore
    authority: Authority
    server: WebhookServer
    address: str
    plugins: Plugins

    def bundles(self) -> set[str]:
        paths = [f"{CONFIGURATIONS}/{kind}/{name}" for kind, name in OURS]
        return {
            one["clientConfig"].get("caBundle", "") for path in paths for one in self.store.objects[path]["webhooks"]
        }

    async def post(self, path: str, data: Any) -> tuple[int, Object]:
        """As the API server: the host name of the Service, checked with the bundle alone."""
        (bundle,) = self.bundles()
        context = ssl.create_default_context(cadata=base64.b64decode(bundle).decode())
        url = f"https://{self.address}{path}"
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=data, ssl=context, server_hostname=NAME) as answer,
        ):
            return answer.status, await answer.json()

    async def review(self, path: str, given: Object, namespace: str = "shop") -> Object:
        asked = {"uid": "u-1", "namespace": namespace, "operation": "CREATE", "object": given}
        status, answer = await self.post(path, json.dumps({"request": asked}))
        assert (status, answer["kind"], answer["response"]["uid"]) == (200, "AdmissionReview", "u-1")
        response: Object = answer["response"]
        return response


def patched(store: ObjectStore, path: str) -> Any:
    """What a JSON patch of ours does."""

    def apply(steps: Any) -> tuple[int, Object]:
        webhooks = store.objects[path]["webhooks"]
        for step in steps:
            _, _, index, *way = step["path"].split("/")
            if step["op"] == "test":
                assert webhooks[int(index)][way[0]] == step["value"]
            else:
                webhooks[int(index)][way[0]][way[1]] = step["value"]
        return 200, store.objects[path]

    return apply


@pytest.fixture
async def running(tmp_path: Path, free_address: str) -> AsyncIterator[Running]:
    store = ObjectStore()
    store.objects |= configurations()
    for kind, name in OURS:
        path = f"{CONFIGURATIONS}/{kind}/{name}"
        store.answers[("PATCH", path)] = patched(store, path)
    store.objects["/api/v1/namespaces/shop"] = {"metadata": {"labels": {"plait.dev/inject": "enabled"}}}
    store.objects["/api/v1/namespaces/other"] = {"metadata": {"name": "other"}}
    authority = Authority(tmp_path / "ca")
    signer = SignerServer(Signer(authority, ""), "127.0.0.1:0", tmp_path / "signer.sock")
    await signer.start()
    client = Client(tmp_path / "signer.sock")
    await client.tell(Mesh("shop.example", timedelta(hours=24)))
    async with store.serve() as api:
        hooks, plugins = Hooks(free_address, tmp_path, "plait/proxy:1", "cp:15012", "cp:15013"), Plugins()
        server = WebhookServer(hooks, client, api, plugins)
        await server.start()
        yield Running(store, authority, server, free_address, plugins)
        await server.stop()
    await client.close()
    await signer.stop()


async def test_a_pod_gets_its_proxy(running: Running) -> None:
    answer = await running.review("/inject", POD)
    steps = {step["path"]: step["value"] for step in json.loads(base64.b64decode(answer["patch"]))}
    assert (answer["allowed"], answer["patchType"]) == (True, "JSONPatch")
    arguments = steps["/spec/initContainers"][1]["args"]
    assert {"--join=cp:15012", "--trust-domain=shop.example", f"--root={fingerprint(running.authority.root)}"} <= {
        *arguments
    }
    assert "patch" not in await running.review("/inject", POD, namespace="other")


async def test_what_cannot_be_in_the_mesh_is_refused_with_the_reason(running: Running) -> None:
    windows = {**POD, "spec": {**POD["spec"], "os": {"name": "windows"}}}
    answer = await running.review("/inject", windows)
    assert (answer["allowed"], answer["status"]["message"][:32]) == (False, "plait: the proxy runs on Linux o")


async def test_a_namespace_that_cannot_be_read_is_no_leave_to_go_without(running: Running) -> None:
    asked = {"request": {"uid": "u", "namespace": "gone", "object": POD}}
    status, _ = await running.post("/inject", json.dumps(asked))
    assert status == 503


async def test_an_object_is_judged(running: Running) -> None:
    policy: Object = {"apiVersion": "plait.dev/v1alpha1", "kind": "AuthorizationPolicy", "metadata": {"name": "a"}}
    assert (await running.review("/validate", {**policy, "spec": {"action": "Allow", "rules": [{}]}}))["allowed"]
    answer = await running.review("/validate", {**policy, "spec": {"action": "Allow", "ruls": []}})
    assert (answer["allowed"], answer["status"]["code"]) == (False, 422)
    assert 'spec.ruls: unknown field "ruls"' in answer["status"]["message"]


async def test_plugins_judge_what_our_own_rules_let_pass(running: Running) -> None:
    policy = {"apiVersion": "plait.dev/v1alpha1", "kind": "AuthorizationPolicy", "metadata": {"name": "p"}}
    sound = {**policy, "spec": {"action": "Allow", "rules": [{}]}}
    running.plugins.said = (Said("owner", "metadata.labels", "write a team", "note"),)
    answer = await running.review("/validate", sound)
    assert (answer["allowed"], answer["warnings"]) == (True, ["metadata.labels: owner: write a team"])
    running.plugins.said = (Said("owner", "metadata.labels", "no owner", "error"),)
    answer = await running.review("/validate", sound)
    assert (answer["allowed"], answer["status"]["code"]) == (False, 422)
    assert answer["status"]["message"] == "plait: RefusedByPlugin metadata.labels: owner: no owner"
    asked = len(running.plugins.asked)
    await running.review("/validate", {**policy, "spec": {"action": "Allow", "ruls": []}})
    await running.review("/validate", {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}})
    assert len(running.plugins.asked) == asked


@pytest.mark.parametrize("data", ["", "{}", "[]", '{"request": {}}', '{"request": {"uid": 7}}', "x" * 5_000_000])
async def test_what_is_no_review_is_refused(running: Running, data: str) -> None:
    for path in ("/inject", "/validate"):
        assert (await running.post(path, data))[0] == 400


async def test_a_new_root_is_published_and_shown(running: Running) -> None:
    before = running.bundles()
    for name, text in zip(("root.pem", "root.key"), create_root(utc_now()), strict=True):
        (running.authority.folder / name).write_bytes(text)
    running.authority.reload()
    await running.server._follow()
    await running.server._publish()
    assert len(running.bundles()) == 1
    assert running.bundles() != before
    assert (await running.review("/inject", POD))["allowed"]
    assert not list(running.authority.folder.parent.glob("webhooks.pem")), "no key stays on disk"


def test_only_what_differs_is_written() -> None:
    webhooks = [{"name": "a", "clientConfig": {"caBundle": "x"}}, {"name": "b", "clientConfig": {}}]
    steps = differences({"webhooks": webhooks}, "x")
    assert [(one["op"], one["path"]) for one in steps] == [
        ("test", "/webhooks/1/name"),
        ("add", "/webhooks/1/clientConfig/caBundle"),
    ]
    assert differences({}, "x") == []


async def test_nothing_is_served_before_there_is_a_leaf(tmp_path: Path, free_address: str) -> None:
    store = ObjectStore()
    signer = SignerServer(Signer(Authority(tmp_path / "ca"), ""), "127.0.0.1:0", tmp_path / "signer.sock")
    await signer.start()
    client = Client(tmp_path / "signer.sock")
    async with store.serve() as api:
        server = WebhookServer(Hooks(free_address, tmp_path, "i", "cp:1", "cp:2"), client, api)
        starting = asyncio.create_task(server.start())
        assert not await server._follow(), "discovery has not said what mesh this is"
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*free_address.split(":"))
        await client.tell(Mesh("shop.example", timedelta(hours=24)))
        await asyncio.wait_for(starting, 30)
        await server.stop()
    await client.close()
    await signer.stop()
