"""Service, Secret and ConfigMap of Kubernetes' core group.

They may carry every field of its schema; those that the mesh reads are typed.
"""

from typing import Any, Literal

from pydantic import Field

from plait_controlplane.resources.fields import Model, Port, Resource


class ServicePort(Model):
    """spec.ports[i]. `targetPort` is a number or the name of a workload's port; default: `port`."""

    name: str = ""
    port: Port
    target_port: Port | str | None = None
    app_protocol: str = ""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    node_port: int | None = None


class ServiceSpec(Model):
    """spec."""

    ports: list[ServicePort] = Field(default_factory=list)
    selector: dict[str, str] = Field(default_factory=dict)
    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] = "ClusterIP"
    cluster_ip: str = Field(default="", alias="clusterIP")
    cluster_ips: list[str] = Field(default_factory=list, alias="clusterIPs")
    external_ips: list[str] = Field(default_factory=list, alias="externalIPs")
    external_name: str = ""
    external_traffic_policy: str = ""
    internal_traffic_policy: str = ""
    health_check_node_port: int | None = None
    ip_families: list[str] = Field(default_factory=list)
    ip_family_policy: str = ""
    allocate_load_balancer_node_ports: bool | None = None
    load_balancer_class: str = ""
    load_balancer_ip: str = Field(default="", alias="loadBalancerIP")
    load_balancer_source_ranges: list[str] = Field(default_factory=list)
    publish_not_ready_addresses: bool = False
    session_affinity: Literal["None", "ClientIP"] = "None"
    session_affinity_config: dict[str, Any] = Field(default_factory=dict)
    traffic_distribution: str = ""

    @property
    def carried(self) -> list[ServicePort]:
        """The ports that the mesh carries: those of TCP."""
        return [port for port in self.ports if port.protocol == "TCP"]


class Service(Resource):
    """A name for workloads, with ports and a selector over their labels."""

    kind: Literal["Service"]
    spec: ServiceSpec


class Secret(Resource):
    """Opaque data; read where another object names it."""

    kind: Literal["Secret"]
    type: str = "Opaque"
    data: dict[str, str] = Field(default_factory=dict)
    string_data: dict[str, str] = Field(default_factory=dict)
    immutable: bool = False


class ConfigMap(Resource):
    """Plain data; read where another object names it."""

    kind: Literal["ConfigMap"]
    data: dict[str, str] = Field(default_factory=dict)
    binary_data: dict[str, str] = Field(default_factory=dict)
    immutable: bool = False
