"""What plugins report of endpoints: checked, kept when its source is away, and called as what stands there."""

import json
from pathlib import Path
from typing import Any

import pytest
from plait_controlplane.hooks.client import Found
from plait_controlplane.hooks.discovering import Reports, discovered
from plait_controlplane.hooks.enabled import Enabled
from plait_controlplane.resources.discovered import Discovered
from plait_controlplane.resources.reader import read
from plait_controlplane.resources.world import World, world_of
from plait_controlplane.translate.everything import translate
from plait_controlplane.translate.memo import Memo
from plait_controlplane.translate.workload import Listeners
from plait_sdk.contracts import endpoint_pb2, resource_pb2
from plait_sdk.control import Endpoint

PLUGIN = Enabled.model_validate({"package": "dns"})

OBJECTS = """
apiVersion: v1
kind: Service
metadata: {name: far, namespace: shop}
spec: {ports: [{name: http, port: 80}, {name: admin, port: 81}]}
---
apiVersion: v1
kind: Service
metadata: {name: near, namespace: shop}
spec: {selector: {app: near}, ports: [{port: 80}]}
---
apiVersion: plait.dev/v1alpha1
kind: Workload
metadata: {name: near-1, namespace: shop, labels: {app: near}}
spec: {serviceAccount: near, address: 127.0.0.1, ports: [{name: http, port: 8080}]}
"""
LISTENERS = {"shop/near-1": Listeners("127.0.0.1:9000", "", "127.0.0.1:9000")}


def made(
    discovered: dict[str, tuple[Discovered, ...]], memo: Memo | None = None
) -> dict[str, list[tuple[int, str, str]]]:
    objects, problems = read("shop.yaml", OBJECTS)
    assert problems == []
    base, _ = world_of(objects)
    found = translate(World(base.objects, base.cluster, discovered), LISTENERS, memo)
    messages = [
        endpoint_pb2.Endpoints.FromString(one.body)
        for one in found.resources
        if one.kind == resource_pb2.RESOURCE_KIND_ENDPOINTS
    ]
    return {
        message.service: [(group.port, one.address, one.identity) for group in message.ports for one in group.endpoints]
        for message in messages
    }


def test_a_service_without_a_selector_runs_where_a_plugin_found_it() -> None:
    found = {"shop/far": (Discovered("10.0.0.7", 8080), Discovered("10.0.0.8", 9090, "admin"))}
    assert made(found)["shop/far"] == [(80, "10.0.0.7:8080", ""), (81, "10.0.0.7:8080", ""), (81, "10.0.0.8:9090", "")]


def test_a_selector_says_where_a_service_runs_whatever_a_plugin_found() -> None:
    near = [(80, "127.0.0.1:9000", "spiffe://cluster.local/ns/shop/sa/near")]
    assert made({"shop/near": (Discovered("10.0.0.7", 8080),)})["shop/near"] in ([], near)
    assert "10.0.0.7:8080" not in str(made({"shop/near": (Discovered("10.0.0.7", 8080),)}))


def test_no_answer_leads_callers_past_the_proxy_that_stands_there() -> None:
    found = made({"shop/far": (Discovered("127.0.0.1", 8080, "http"),)})
    assert found["shop/far"] == [(80, "127.0.0.1:9000", "spiffe://cluster.local/ns/shop/sa/near")]


def test_a_memo_forgets_what_is_found_anew() -> None:
    memo = Memo()
    assert made({"shop/far": (Discovered("10.0.0.7", 1, "http"),)}, memo)["shop/far"] == [(80, "10.0.0.7:1", "")]
    assert made({"shop/far": (Discovered("10.0.0.9", 1, "http"),)}, memo)["shop/far"] == [(80, "10.0.0.9:1", "")]
    assert made({}, memo)["shop/far"] == []


@pytest.mark.parametrize(
    ("endpoint", "told"),
    [
        (Endpoint("web.example.com:80"), "write IP:port"),
        (Endpoint("10.0.0.7"), "write IP:port"),
        (Endpoint("10.0.0.7:0"), "is no port"),
        (Endpoint("0.0.0.0:80"), "nowhere"),
        (Endpoint("169.254.169.254:80"), "nowhere"),
        (Endpoint("10.0.0.7:80", weight=-1), "weight -1"),
        ("10.0.0.7:80", "is no plait.Endpoint"),
    ],
)
def test_what_is_no_endpoint_replaces_nothing(endpoint: Any, told: str) -> None:
    changes: list[int] = []
    reports = Reports(lambda: changes.append(1))
    watch = reports.watch(PLUGIN)
    watch.update("shop/far", [Endpoint("10.0.0.7:80")])
    with pytest.raises(ValueError, match=told):
        watch.update("shop/far", [Endpoint("10.0.0.8:80"), endpoint])
    with pytest.raises(ValueError, match='write "namespace/name"'):
        watch.update("far", [])
    assert [one["address"] for one in reports.facts()["dns"]["services"]["shop/far"]] == ["10.0.0.7"]
    assert changes == [1]


def test_what_says_nothing_new_is_no_change() -> None:
    changes: list[int] = []
    watch = Reports(lambda: changes.append(1)).watch(PLUGIN)
    for addresses in (["10.0.0.7:80", "10.0.0.8:80"], ["10.0.0.8:80", "10.0.0.7:80"], ["[fd00::1]:80"]):
        watch.update("shop/far", [Endpoint(one) for one in addresses])
    assert len(changes) == 2
    assert discovered(Endpoint("[fd00::1]:80")) == Discovered("fd00::1", 80)


def said(config: str = "c", heard: bool = True, **services: list[str]) -> dict[str, Any]:
    found = {f"shop/{name}": [vars(Discovered(one, 80)) for one in all_] for name, all_ in services.items()}
    return {"dns": {"config": config, "heard": heard, "services": found}}


def addresses(found: Found) -> dict[str, list[str]]:
    return {name: [one.address for one in all_] for name, all_ in found.endpoints().items()}


def test_what_was_found_outlives_its_process_and_ours(tmp_path: Path) -> None:
    found = Found(tmp_path / "discovered.json")
    assert found.take(said(heard=False)) == []
    assert found.missing == {"dns"}
    assert found.take(said(far=["10.0.0.7"])) == ["shop/far"]
    assert found.missing == set()
    found.keep()
    again = Found(tmp_path / "discovered.json")
    assert again.take(said(heard=False)) == []
    assert again.missing == set()
    # A start of the plugin's that failed has reported nothing, and takes nothing away.
    assert again.take(said(heard=True)) == []
    assert addresses(again) == {"shop/far": ["10.0.0.7"]}
    assert again.take(said(far=[])) == ["shop/far"]
    assert addresses(again) == {"shop/far": []}


def test_another_configuration_forgets_what_it_no_longer_reports(tmp_path: Path) -> None:
    found = Found(tmp_path / "discovered.json")
    found.take(said(far=["10.0.0.7"], old=["10.0.0.1"]))
    assert found.take(said("d", heard=False)) == []
    assert found.take(said("d", far=["10.0.0.7"])) == ["shop/old"]
    assert found.take({}) == ["shop/far"]


def test_a_file_that_cannot_be_read_is_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / "discovered.json"
    for text in ("{", json.dumps({"dns": 1}), json.dumps([1])):
        file.write_text(text)
        assert Found(file).endpoints() == {}
