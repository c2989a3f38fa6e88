"""Workload: a process that is not a pod, where it listens and who it is."""

import ipaddress
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from plait_controlplane.resources.fields import Label, Model, Name, Port, Resource


def _address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError(f'"{value}" is no IP address; write for example 127.0.0.1') from None


def _listen(value: str) -> str:
    host, colon, port = value.rpartition(":")
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        colon = ""
    if not colon or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError(f'"{value}" is no address to listen on; write for example 127.0.0.1:18101')
    return value


Listen = Annotated[str, AfterValidator(_listen)]


class WorkloadPort(Model):
    """spec.ports[i]: a port of the process; Services name it in `targetPort`."""

    name: Label
    port: Port


class Bind(Model):
    """spec.sidecar.binds[i]: a local port for one destination, "service[.namespace]:port"."""

    listen: Listen
    to: str


class Sidecar(Model):
    """spec.sidecar: where the proxy listens; on loopback both default to free ports.

    An `inbound` on every address (0.0.0.0) is called at the address that the proxy says (`plait-proxy run --address`).
    `redirected`: `plait-proxy redirect` sends it the connections of a machine of its own; `outbound` is on loopback.
    """

    inbound: Listen | None = None
    outbound: Listen | None = None
    binds: list[Bind] = Field(default_factory=list)
    redirected: bool = False


class WorkloadSpec(Model):
    """spec."""

    service_account: Name = "default"
    address: Annotated[str, AfterValidator(_address)]
    ports: list[WorkloadPort] = Field(default_factory=list)
    zone: str = ""
    sidecar: Sidecar = Sidecar()

    @model_validator(mode="after")
    def _own_address(self) -> Self:
        """The rules of a redirection leave loopback alone."""
        if self.sidecar.redirected and ipaddress.ip_address(self.address).is_loopback:
            raise ValueError(
                "a redirected Workload has an address of its own; write that of its machine in spec.address"
            )
        return self


class Workload(Resource):
    """A process beside a sidecar; Services select it by its labels."""

    kind: Literal["Workload"]
    spec: WorkloadSpec
