"""Routes of every kind: each YAML in routes/ beside the messages that it becomes. PLAIT_UPDATE=1 writes them anew."""

import json
import os
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict
from plait_controlplane.lint import offline
from plait_controlplane.resources.grpcroute import MethodMatch
from plait_controlplane.resources.reader import read
from plait_controlplane.resources.world import world_of
from plait_controlplane.translate.grpcroute import method_path
from plait_sdk.contracts import resource_pb2, route_pb2, service_pb2, workload_pb2

CASES = sorted((Path(__file__).parent / "routes").glob("*.yaml"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_routes_become_these_messages(case: Path) -> None:
    found, problems = read(case.name, case.read_text())
    assert problems == []
    said = {
        one.name: MessageToDict(route_pb2.Route.FromString(one.body))
        for one in offline(world_of(found)[0]).resources
        if one.kind == resource_pb2.RESOURCE_KIND_ROUTE
    }
    text = json.dumps(said, indent=1, sort_keys=True) + "\n"
    golden = case.with_suffix(".json")
    if os.environ.get("PLAIT_UPDATE"):
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize(
    ("match", "kind", "path"),
    [
        (None, "PREFIX", "/"),
        (MethodMatch(service="a.B", method="C"), "EXACT", "/a.B/C"),
        (MethodMatch(service="a.B", method=""), "PREFIX", "/a.B"),
        (MethodMatch(method="C"), "REGEX", "/(?:[^/]+)/(?:C)"),
        (MethodMatch(type="RegularExpression", service="a|b"), "REGEX", "/(?:a|b)/(?:[^/]+)"),
        (MethodMatch(type="RegularExpression", service="a|b", method="C|D"), "REGEX", "/(?:a|b)/(?:C|D)"),
    ],
)
def test_service_and_method_are_a_path(match: MethodMatch | None, kind: str, path: str) -> None:
    assert method_path(match) == (route_pb2.MatchType.Value(f"MATCH_TYPE_{kind}"), path)


@pytest.mark.parametrize(
    ("port", "protocol"),
    [
        ("{port: 1}", "AUTO"),
        ("{port: 1, appProtocol: tls}", "TLS"),
        ("{port: 1, appProtocol: https}", "TLS"),
        ("{name: tls-main, port: 1}", "TLS"),
        ("{name: https, port: 1, appProtocol: tcp}", "TCP"),
        ("{port: 1, appProtocol: kubernetes.io/h2c}", "HTTP2"),
    ],
)
def test_a_port_says_what_is_spoken(port: str, protocol: str) -> None:
    text = f"apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {{ports: [{port}]}}\n"
    made = offline(world_of(read("test.yaml", text)[0])[0]).resources
    body = next(one.body for one in made if one.kind == resource_pb2.RESOURCE_KIND_SERVICE)
    expected = workload_pb2.Protocol.Value(f"PROTOCOL_{protocol}")
    assert service_pb2.Service.FromString(body).ports[0].protocol == expected
