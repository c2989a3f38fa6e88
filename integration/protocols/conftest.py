"""One mesh for all tests of this folder. Its Services have no processes: who needs one starts it on `processes`."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from chat import Chat
from greeter import SERVICE, Greeter
from mesh import Mesh
from plait_sdk.contracts import service_pb2
from servers import name_of


def check() -> service_pb2.HealthCheck:
    """As a policy with `healthCheck: {grpc: {service: …}}` is translated, but sooner."""
    found = service_pb2.HealthCheck(
        unhealthy_threshold=3,
        healthy_threshold=2,
        min_healthy_percent=50,
        grpc=service_pb2.GrpcProbe(service=SERVICE),
    )
    found.interval.FromMilliseconds(100)
    found.timeout.FromSeconds(10)
    return found


@pytest.fixture(scope="session")
def mesh() -> Iterator[Mesh]:
    """Two sidecars, and Services without processes."""
    with tempfile.TemporaryDirectory() as place:
        found = Mesh(Path(place))
        greeter = found.add("greeter", "http2", 50051, places=2)
        found.again("twins", greeter, "http2")
        found.again("checked", greeter, "http2", check())
        found.add("greeter-one", "http2", 50051)
        found.add("locked", "http2", 50052, denied=True)
        found.add("empty", "http2", 50053)
        found.add("chat", "http", 80)
        for name, port in {"postgres": 5432, "mariadb": 3306, "redis": 6379, "smtp": 25}.items():
            service = found.add(name, "tcp", port)
            found.again(f"{name}-undeclared", service, "undeclared")
        web = found.add("web", "http", 80)
        found.again("web-undeclared", web, "undeclared")
        found.add("web-http2", "http2", 80)
        found.add("blue", "tls", 443)
        found.add("green", "tls", 443)
        secure = found.add("secure", "tls", 443)
        found.by_name(secure, name_of("secure"), {"blue": 3, "green": 1})
        found.by_name(secure, name_of("*"), {"green": 1})
        try:
            found.start()
            yield found
        finally:
            found.stop()


@pytest.fixture(scope="module")
def greeters(mesh: Mesh) -> Iterator[list[Greeter]]:
    """Both places of the Service."""
    found = [Greeter(port) for port in mesh.services["greeter"].processes]
    yield found
    for greeter in found:
        greeter.stop()


@pytest.fixture(params=["bind", "name"])
def place(request: pytest.FixtureRequest, mesh: Mesh) -> tuple[str, int]:
    """By a local port for the Service, and by its name at the port for all calls."""
    return ("127.0.0.1", mesh.services["chat"].bind if request.param == "bind" else mesh.outbound)


@pytest_asyncio.fixture
async def server(mesh: Mesh) -> AsyncIterator[Chat]:
    """The process of Service chat."""
    made = Chat()
    async with made.listening(mesh.services["chat"].processes[0]):
        yield made
