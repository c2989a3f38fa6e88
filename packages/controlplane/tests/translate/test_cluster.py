"""Objects of a cluster, translated: `x.in.yaml` and what it becomes. PLAIT_UPDATE=1 writes the goldens anew."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from cluster_world import Cluster, items_of
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st
from plait_controlplane.sources.lastgood import Settled, settle
from plait_controlplane.translate.everything import translate
from plait_controlplane.translate.memo import Memo
from plait_sdk.contracts import endpoint_pb2, mesh_pb2, policy_pb2, resource_pb2, route_pb2, service_pb2, workload_pb2

CASES = sorted((Path(__file__).parent / "cluster").glob("*.in.yaml"))
TYPES = {
    resource_pb2.RESOURCE_KIND_MESH: mesh_pb2.Mesh,
    resource_pb2.RESOURCE_KIND_WORKLOAD: workload_pb2.Workload,
    resource_pb2.RESOURCE_KIND_SERVICE: service_pb2.Service,
    resource_pb2.RESOURCE_KIND_ENDPOINTS: endpoint_pb2.Endpoints,
    resource_pb2.RESOURCE_KIND_ROUTE: route_pb2.Route,
    resource_pb2.RESOURCE_KIND_POLICY: policy_pb2.Policy,
    resource_pb2.RESOURCE_KIND_DIRECT: endpoint_pb2.Direct,
}


async def settled(cluster: Cluster, items: list[dict[str, Any]], before: Settled | None = None) -> Settled:
    cluster.show(items)
    reading = await cluster.read()
    return settle(before or Settled(), reading.world, reading.problems, reading.broken)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.partition(".")[0])
def test_a_cluster_translates_as_before(case: Path) -> None:
    cluster = Cluster()
    found = asyncio.run(settled(cluster, items_of(case.read_text())))
    said: dict[str, Any] = {
        f"{resource_pb2.ResourceKind.Name(one.kind)} {one.name}": MessageToDict(TYPES[one.kind].FromString(one.body))
        for one in translate(found.world, cluster.source.listeners(found.world)).resources
    }
    said["problems"] = [
        f"{verdict.state} {problem.severity} {problem.object} {problem.path}: {problem.message}"
        for verdict in found.verdicts
        for problem in verdict.problems
    ]
    text = json.dumps(said, indent=1, sort_keys=True) + "\n"
    golden = case.with_name(case.name.replace(".in.yaml", ".out.json"))
    if os.environ.get("PLAIT_UPDATE"):
        golden.write_text(text)
    assert text == golden.read_text()


POOL = [item for case in CASES for item in items_of(case.read_text())] + items_of(
    """
    {apiVersion: plait.dev/v1alpha1, kind: Mesh, metadata: {name: default}, spec: {trustDomain: shop.example}}
    ---
    {apiVersion: plait.dev/v1alpha1, kind: TrafficPolicy, metadata: {name: t, namespace: shop},
     spec: {targetRefs: [{kind: Service, name: stock}], timeouts: {request: 3s}, connections: {max: 4}}}
    ---
    {apiVersion: plait.dev/v1alpha1, kind: AuthorizationPolicy, metadata: {name: a, namespace: shop},
     spec: {action: Allow, targetRefs: [{kind: Service, name: stock}], rules: [{}]}}
    ---
    {apiVersion: plait.dev/v1alpha1, kind: Workload, metadata: {name: vm, namespace: shop, labels: {app: stock}},
     spec: {address: 192.0.2.7, ports: [{name: web, port: 80}]}}
    ---
    {apiVersion: v1, kind: Node, metadata: {name: n1, labels: {topology.kubernetes.io/zone: z9}}}
    """
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sets(st.integers(0, len(POOL) - 1)), min_size=2, max_size=5))
async def test_what_is_remembered_is_what_would_be_made_anew(steps: list[set[int]]) -> None:
    """The world goes from one set of objects to another; a translation that remembers the last differs in nothing."""
    cluster, memo, last = Cluster(), Memo(), Settled()
    for step in steps:
        items = {(item["kind"], item["metadata"]["name"]): item for index, item in enumerate(POOL) if index in step}
        last = await settled(cluster, list(items.values()), last)
        listeners = cluster.source.listeners(last.world)
        assert translate(last.world, listeners, memo) == translate(last.world, listeners)
