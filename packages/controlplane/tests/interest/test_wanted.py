"""What a proxy is told of the destinations that it asks for."""

import pytest
from plait_controlplane.interest.publication import Publication, publish, resources_of
from plait_controlplane.interest.wanted import wanted
from plait_controlplane.lint import offline
from plait_controlplane.resources.reader import read
from plait_controlplane.resources.world import world_of
from plait_sdk.contracts import endpoint_pb2, resource_pb2, service_pb2, workload_pb2

SERVICE, ENDPOINTS = resource_pb2.RESOURCE_KIND_SERVICE, resource_pb2.RESOURCE_KIND_ENDPOINTS
DIRECT = resource_pb2.RESOURCE_KIND_DIRECT
WORLD = """
apiVersion: v1
kind: Service
metadata: {name: stock, namespace: shop}
spec:
  clusterIPs: [10.96.1.2, "FD00::0:1"]
  selector: {app: stock}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: headless, namespace: shop}
spec: {clusterIP: None, selector: {app: stock}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: plait.dev/v1alpha1
kind: Workload
metadata: {name: stock-1, namespace: shop, labels: {app: stock}}
spec: {serviceAccount: stock, address: 10.244.0.7, ports: [{name: web, port: 8080}, {name: admin, port: 9000}]}
---
apiVersion: plait.dev/v1alpha1
kind: Workload
metadata: {name: local, namespace: shop}
spec: {address: 127.0.0.1}
---
apiVersion: plait.dev/v1alpha1
kind: Workload
metadata: {name: twin-1, namespace: shop}
spec: {address: 10.0.0.9, sidecar: {inbound: "10.0.0.9:15106", outbound: "127.0.0.1:15101"}}
---
apiVersion: plait.dev/v1alpha1
kind: Workload
metadata: {name: twin-2, namespace: shop}
spec: {address: 10.0.0.9, sidecar: {inbound: "10.0.0.9:15206", outbound: "127.0.0.1:15201"}}
"""


@pytest.fixture(scope="module")
def publication() -> Publication:
    found, problems = read("shop.yaml", WORLD)
    assert not problems
    return publish(1, resources_of(offline(world_of(found)[0]), []))


@pytest.mark.parametrize("destination", ["shop/stock", "10.96.1.2", "fd00::1"])
def test_a_service_is_found_by_name_and_by_each_of_its_addresses(publication: Publication, destination: str) -> None:
    found = wanted(publication, [], [destination])
    assert found.known == {destination}
    assert {(SERVICE, "shop/stock"), (ENDPOINTS, "shop/stock")} <= set(found.keys)
    service = service_pb2.Service.FromString(publication.resources[SERVICE, "shop/stock"].body)
    assert list(service.addresses) == ["10.96.1.2", "fd00::1"]


def test_a_workload_that_is_called_by_its_own_address_comes_alone(publication: Publication) -> None:
    found = wanted(publication, [], ["10.244.0.7"])
    assert found.known == {"10.244.0.7"}
    assert {key for key in found.keys if key[0] != resource_pb2.RESOURCE_KIND_MESH} == {(DIRECT, "10.244.0.7")}
    direct = endpoint_pb2.Direct.FromString(publication.resources[DIRECT, "10.244.0.7"].body)
    assert direct == endpoint_pb2.Direct(
        address="10.244.0.7",
        workload="shop/stock-1",
        inbound="10.244.0.7:1",
        identity="spiffe://cluster.local/ns/shop/sa/stock",
        server_name="stock-1.shop.cluster.local",
        ports=[endpoint_pb2.DirectPort(port=8080, protocol=workload_pb2.PROTOCOL_HTTP)],
    )


@pytest.mark.parametrize("stranger", ["10.96.1.3", "None", "127.0.0.1", "10.0.0.9", "fd00:0::1"])
def test_an_address_of_nobody_or_of_several_is_unknown(publication: Publication, stranger: str) -> None:
    assert wanted(publication, [], [stranger]).unknown == {stranger}
