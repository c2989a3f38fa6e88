"""An endpoint that a plugin found. Made by `hooks`, read by translate through `World`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Discovered:
    """A process that answers for a Service. `service_port` is the name of the Service's port, empty = every one."""

    address: str
    port: int
    service_port: str = ""
    zone: str = ""
    weight: int = 1
    """Against the others of the Service."""
