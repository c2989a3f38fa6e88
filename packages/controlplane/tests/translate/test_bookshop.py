"""The bookshop as it stands, translated: the golden holds every message. PLAIT_UPDATE=1 writes it anew."""

import json
import os
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st
from plait_controlplane.lint import lint_directory, offline
from plait_controlplane.resources.reader import StoredObject, read
from plait_controlplane.resources.world import world_of
from plait_controlplane.sources.directory import load
from plait_sdk.contracts import endpoint_pb2, mesh_pb2, policy_pb2, resource_pb2, route_pb2, service_pb2, workload_pb2

BOOKSHOP = Path(__file__).parents[3] / "cli" / "src" / "plait_cli" / "demo" / "mesh"
GOLDEN = Path(__file__).with_name("bookshop.json")
TYPES = {
    resource_pb2.RESOURCE_KIND_MESH: mesh_pb2.Mesh,
    resource_pb2.RESOURCE_KIND_WORKLOAD: workload_pb2.Workload,
    resource_pb2.RESOURCE_KIND_SERVICE: service_pb2.Service,
    resource_pb2.RESOURCE_KIND_ENDPOINTS: endpoint_pb2.Endpoints,
    resource_pb2.RESOURCE_KIND_ROUTE: route_pb2.Route,
    resource_pb2.RESOURCE_KIND_POLICY: policy_pb2.Policy,
}


def objects() -> list[StoredObject]:
    return [stored for path in sorted(BOOKSHOP.glob("*.yaml")) for stored in read(path.name, path.read_text())[0]]


def test_the_bookshop_has_no_problems() -> None:
    report = lint_directory(BOOKSHOP)
    assert report.problems == []
    assert report.objects == 18


def test_the_bookshop_translates_as_before() -> None:
    world, _ = load(BOOKSHOP)
    said = {
        f"{resource_pb2.ResourceKind.Name(one.kind)} {one.name}": MessageToDict(TYPES[one.kind].FromString(one.body))
        for one in offline(world).resources
    }
    text = json.dumps(said, indent=1, sort_keys=True) + "\n"
    if os.environ.get("PLAIT_UPDATE"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


@settings(max_examples=30, deadline=None)
@given(st.permutations(objects()))
def test_the_order_of_files_does_not_matter(shuffled: list[StoredObject]) -> None:
    expected = offline(world_of(objects())[0])
    assert offline(world_of(list(shuffled))[0]) == expected


@pytest.mark.parametrize("missing", [stored.title for stored in objects() if stored.resource.kind != "Service"])
def test_an_object_that_goes_changes_only_what_names_it(missing: str) -> None:
    whole = {(one.kind, one.name): one.version for one in offline(world_of(objects())[0]).resources}
    rest = world_of([stored for stored in objects() if stored.title != missing])[0]
    after = {(one.kind, one.name): one.version for one in offline(rest).resources}
    changed = {key for key in whole if after.get(key) != whole[key]}
    limits = {
        "Mesh default": 99,  # the trust domain stands in every identity
        "HTTPRoute bookshop/reviews": 1,
        "TrafficPolicy bookshop/catalog": 1,
        "TrafficPolicy bookshop/reviews-everyone": 1,
        "AuthorizationPolicy bookshop/reviews-readers": 4,  # itself, and the three workloads that it guards
        "AuthorizationPolicy bookshop/ledger-clients": 2,
    }
    assert 1 <= len(changed) <= limits.get(missing, 4), changed
