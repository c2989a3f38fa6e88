"""Health checks of the mesh, answered by the health service of the official library, through two sidecars."""

import collections

import grpc
import pytest
from greeter import OPTIONS, SERVICE, Greeter
from grpc_health.v1.health_pb2 import HealthCheckResponse
from mesh import Mesh, until

PATIENCE_SECONDS = 20


def places(channel: grpc.Channel, calls: int) -> collections.Counter[int]:
    """Where so many calls came to."""
    call = channel.unary_unary(f"/{SERVICE}/Where")
    return collections.Counter(int(call(b"", timeout=PATIENCE_SECONDS)) for _ in range(calls))


@pytest.mark.parametrize("status", [HealthCheckResponse.NOT_SERVING, HealthCheckResponse.UNKNOWN])
def test_a_server_that_says_it_does_not_serve_gets_no_calls(
    mesh: Mesh, greeters: list[Greeter], status: HealthCheckResponse.ServingStatus
) -> None:
    def unhealthy(count: int) -> None:
        until(lambda: mesh.total("caller", "plait_unhealthy_endpoints") == count, f"{count} endpoints are unhealthy")

    one, other = greeters
    with grpc.insecure_channel(f"127.0.0.1:{mesh.services['checked'].bind}", OPTIONS) as channel:
        assert set(places(channel, 10)) == {one.port, other.port}
        one.health.set(SERVICE, status)
        try:
            unhealthy(1)
            assert places(channel, 40) == {other.port: 40}
        finally:
            one.health.set(SERVICE, HealthCheckResponse.SERVING)
        unhealthy(0)
        assert places(channel, 40) == {one.port: 20, other.port: 20}
