"""Owns the mesh of these tests: two real sidecars with mutual TLS between them, and where each Service is to be found.

Called by the fixtures. No control plane: the resources stand in files, as in integration/load, whose messages and
certificates it uses.
"""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import certificates
import httpx
import ours
from plait_sdk.contracts import (
    discovery_pb2,
    endpoint_pb2,
    policy_pb2,
    resource_pb2,
    route_pb2,
    service_pb2,
    workload_pb2,
)

PATIENCE_SECONDS = 20.0
# Not those of other tests and of the demo, nor those that the kernel hands out.
PORTS = range(22_000, 30_000)
PROTOCOLS = {
    "http": workload_pb2.PROTOCOL_HTTP,
    "http2": workload_pb2.PROTOCOL_HTTP2,
    "tcp": workload_pb2.PROTOCOL_TCP,
    "tls": workload_pb2.PROTOCOL_TLS,
    "undeclared": workload_pb2.PROTOCOL_AUTO,
}


def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Waits for a condition; fails at the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"within {seconds:g} s it did not happen that {what}"
        time.sleep(0.01)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port(taken: set[int]) -> int:
    """A port of loopback on which nobody listens, added to `taken`."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            if port not in taken and probe.connect_ex(("127.0.0.1", port)) != 0:
                taken.add(port)
                return port


@dataclass(frozen=True)
class Service:
    """A Service with one port.

    `processes`: where it runs. `sidecars`: one each, or none: then they are called in plaintext. `bind`: where the
    caller's application calls it. `check`: what the caller's sidecar checks of it.
    """

    name: str
    protocol: str
    port: int
    bind: int
    processes: list[int]
    sidecars: list[int]
    denied: bool = False
    check: service_pb2.HealthCheck | None = None

    @property
    def authority(self) -> str:
        return f"{self.name}:{self.port}"


@dataclass
class Mesh:
    """`outbound`: where applications of the caller send what they call by name."""

    folder: Path
    services: dict[str, Service] = field(default_factory=dict)
    routes: list[resource_pb2.Resource] = field(default_factory=list)
    outbound: int = 0
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    taken: set[int] = field(default_factory=set)

    def add(self, name: str, protocol: str, port: int, places: int = 1, denied: bool = False) -> Service:
        """Before the start: one more Service. `denied`: a policy lets nobody call it."""
        processes = [free_port(self.taken) for _ in range(places)]
        sidecars = [free_port(self.taken) for _ in range(places)]
        service = Service(name, protocol, port, free_port(self.taken), processes, sidecars, denied)
        self.services[name] = service
        return service

    def again(
        self, name: str, service: Service, protocol: str, check: service_pb2.HealthCheck | None = None
    ) -> Service:
        """Before the start: the process of another Service under a second name, with other settings."""
        sidecars = [free_port(self.taken) for _ in service.processes]
        bind = free_port(self.taken)
        found = Service(name, protocol, service.port, bind, service.processes, sidecars, check=check)
        self.services[name] = found
        return found

    def in_plaintext(self, name: str, service: Service) -> Service:
        """Before the start: the process of another Service under a second name, called without a sidecar of its own."""
        found = Service(name, service.protocol, service.port, free_port(self.taken), service.processes, [])
        self.services[name] = found
        return found

    def by_name(self, service: Service, server_name: str, weights: dict[str, int]) -> None:
        """Before the start: a TLSRoute of a Service. Who asks for `server_name` comes to one of these Services."""
        name = f"{service.name}-{len(self.routes)}"
        backends = [
            route_pb2.Backend(service=f"bench/{other}", port=self.services[other].port, weight=weight)
            for other, weight in weights.items()
        ]
        route = route_pb2.Route(
            object=resource_pb2.ObjectRef(kind="TLSRoute", namespace="bench", name=name),
            kind=route_pb2.ROUTE_KIND_TLS,
            parents=[route_pb2.RouteParent(service=f"bench/{service.name}", port=service.port)],
            hostnames=[server_name],
            rules=[route_pb2.RouteRule(backends=backends)],
        )
        self.routes.append(ours.resource(resource_pb2.RESOURCE_KIND_ROUTE, f"TLSRoute/bench/{name}", route))

    def start(self) -> None:
        root = certificates.make(self.folder, ["caller", "called"])
        self.outbound, inbound = free_port(self.taken), free_port(self.taken)
        self._run("called", self._called(root))
        self._run("caller", self._caller(root, inbound))
        for port in [self.outbound, *(service.bind for service in self.services.values())]:
            until(lambda port=port: listens(port), f"the caller's sidecar listens on {port}")
        for service in self.services.values():
            for port in service.sidecars:
                until(lambda port=port: listens(port), f"the sidecar of {service.name} listens on {port}")

    def stop(self) -> None:
        for process in self.running:
            process.send_signal(signal.SIGTERM)
        for process in self.running:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def ask(self, proxy: str, path: str) -> str:
        """What a sidecar, "caller" or "called", says on its admin socket."""
        transport = httpx.HTTPTransport(uds=str(self.folder / f"{proxy}.sock"))
        with httpx.Client(transport=transport, timeout=10) as client:
            return client.get(f"http://admin{path}").text

    def config(self, proxy: str) -> dict[str, Any]:
        return dict(json.loads(self.ask(proxy, "/config")))

    def heard(self) -> dict[str, str]:
        """By Service, what the caller's sidecar heard last where no protocol is declared."""
        found = self.config("caller")["undeclared"]
        return {one["destination"].removeprefix("bench/"): one["spoken"] for one in found}

    def total(self, proxy: str, metric: str) -> float:
        """The sum over all series of a metric."""
        lines = self.ask(proxy, "/metrics").splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{metric}{{", f"{metric} ")))

    def _run(self, name: str, changes: bytes) -> None:
        command = ours.command(self.folder, name, changes, ".")
        command[0] = binary()
        with (self.folder / f"{name}.log").open("wb") as log:
            self.running.append(subprocess.Popen(command, stdout=log, stderr=log))

    def _caller(self, root: bytes, inbound: int) -> bytes:
        binds = [
            workload_pb2.Bind(
                listen=f"127.0.0.1:{service.bind}",
                destination=f"bench/{service.name}",
                port=service.port,
                authority=service.authority,
            )
            for service in self.services.values()
        ]
        workload = workload_pb2.Workload(
            namespace="bench",
            name="caller",
            service_account="caller",
            address="127.0.0.1",
            inbound=f"127.0.0.1:{inbound}",
            outbound=f"127.0.0.1:{self.outbound}",
            binds=binds,
        )
        upserts = [ours.mesh(root), ours.resource(resource_pb2.RESOURCE_KIND_WORKLOAD, "bench/caller", workload)]
        for service in self.services.values():
            upserts += service_resources(service)
        upserts += self.routes
        known = [f"bench/{name}" for name in self.services]
        return discovery_pb2.ChangeSet(nonce=1, generation=1, upserts=upserts, known=known).SerializeToString()

    def _called(self, root: bytes) -> bytes:
        upserts = [ours.mesh(root), *policies()]
        for service in self.services.values():
            for number, (process, sidecar) in enumerate(zip(service.processes, service.sidecars, strict=False)):
                port = workload_pb2.WorkloadPort(
                    name="main", port=process, protocol=PROTOCOLS[service.protocol], service=f"bench/{service.name}"
                )
                workload = workload_pb2.Workload(
                    namespace="bench",
                    name=f"{service.name}-{number}",
                    service_account="called",
                    address="127.0.0.1",
                    inbound=f"127.0.0.1:{sidecar}",
                    ports=[port],
                    policies=[workload_pb2.PolicyRef(name="bench/nobody" if service.denied else "bench/callers")],
                )
                key = f"bench/{workload.name}"
                upserts.append(ours.resource(resource_pb2.RESOURCE_KIND_WORKLOAD, key, workload))
        return discovery_pb2.ChangeSet(nonce=1, generation=1, upserts=upserts).SerializeToString()


def service_resources(service: Service) -> list[resource_pb2.Resource]:
    port = service_pb2.ServicePort(name="main", port=service.port, protocol=PROTOCOLS[service.protocol])
    # Each in turn: which of two like places the default takes to depends on what a busy machine let it measure.
    turns = service_pb2.BackendTraffic(
        load_balancer=service_pb2.LoadBalancer(algorithm=service_pb2.ALGORITHM_ROUND_ROBIN),
        health_check=service.check,
    )
    body = service_pb2.Service(namespace="bench", name=service.name, ports=[port], backend=turns)
    places = [
        endpoint_pb2.Endpoint(
            workload=f"bench/{service.name}-{number}",
            address=f"127.0.0.1:{sidecar}",
            identity=ours.identity("called"),
            server_name=f"{service.name}-{number}.bench.{certificates.DOMAIN}",
            target_port=process,
        )
        for number, (process, sidecar) in enumerate(zip(service.processes, service.sidecars, strict=False))
    ] or [ours.plaintext(process) for process in service.processes]
    key = f"bench/{service.name}"
    endpoints = endpoint_pb2.Endpoints(
        service=key, ports=[endpoint_pb2.PortEndpoints(port=service.port, endpoints=places)]
    )
    return [
        ours.resource(resource_pb2.RESOURCE_KIND_SERVICE, key, body),
        ours.resource(resource_pb2.RESOURCE_KIND_ENDPOINTS, key, endpoints),
    ]


def policies() -> Sequence[resource_pb2.Resource]:
    """ "callers" lets the caller alone in, "nobody" lets nobody in."""
    found = []
    for name, accounts in {"callers": ["caller"], "nobody": ["somebody-else"]}.items():
        source = policy_pb2.PolicySource(identities=[ours.identity(account) for account in accounts])
        policy = policy_pb2.Policy(
            object=resource_pb2.ObjectRef(kind="AuthorizationPolicy", namespace="bench", name=name),
            action=policy_pb2.POLICY_ACTION_ALLOW,
            rules=[policy_pb2.PolicyRule(**{"from": [source]})],
        )
        found.append(ours.resource(resource_pb2.RESOURCE_KIND_POLICY, f"bench/{name}", policy))
    return found


def binary() -> str:
    """The proxy: in PLAIT_BIN, beside this Python, then on the path."""
    places = [os.environ.get("PLAIT_BIN", ""), str(Path(sys.executable).parent)]
    for place in filter(None, places):
        if os.access(Path(place) / "plait-proxy", os.X_OK):
            return str(Path(place) / "plait-proxy")
    found = shutil.which("plait-proxy")
    assert found, "plait-proxy is not installed: ./dev setup"
    return found
