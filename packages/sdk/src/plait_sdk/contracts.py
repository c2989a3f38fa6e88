"""The contract between control plane and proxy, as generated from `packages/sdk/proto` by `nox -s proto`.

Import the modules from here, never from `_gen`: where generated code lives may change.
"""

from plait_sdk._gen.plait.v1 import (
    discovery_pb2,
    discovery_pb2_grpc,
    endpoint_pb2,
    identity_pb2,
    identity_pb2_grpc,
    mesh_pb2,
    plugin_pb2,
    policy_pb2,
    resource_pb2,
    route_pb2,
    service_pb2,
    workload_pb2,
)

__all__ = [
    "discovery_pb2",
    "discovery_pb2_grpc",
    "endpoint_pb2",
    "identity_pb2",
    "identity_pb2_grpc",
    "mesh_pb2",
    "plugin_pb2",
    "policy_pb2",
    "resource_pb2",
    "route_pb2",
    "service_pb2",
    "workload_pb2",
]
