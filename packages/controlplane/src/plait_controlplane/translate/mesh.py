"""Mesh -> the Mesh message, defaults filled in."""

from plait_sdk.contracts import mesh_pb2

from plait_controlplane.resources.mesh import Mesh, MeshSpec
from plait_controlplane.resources.problem import Problem
from plait_controlplane.resources.reader import StoredObject

MTLS = {"Strict": mesh_pb2.MTLS_MODE_STRICT, "Permissive": mesh_pb2.MTLS_MODE_PERMISSIVE}
POLICY = {
    "AllowAuthenticated": mesh_pb2.DEFAULT_POLICY_ALLOW_AUTHENTICATED,
    "DenyAll": mesh_pb2.DEFAULT_POLICY_DENY_ALL,
    "AllowAll": mesh_pb2.DEFAULT_POLICY_ALLOW_ALL,
}
EGRESS = {"Allow": mesh_pb2.EGRESS_ALLOW, "Deny": mesh_pb2.EGRESS_DENY}
FORMAT = {"JSON": mesh_pb2.ACCESS_LOG_FORMAT_JSON, "Off": mesh_pb2.ACCESS_LOG_FORMAT_OFF}
FILTER = {"All": mesh_pb2.ACCESS_LOG_FILTER_ALL, "Errors": mesh_pb2.ACCESS_LOG_FILTER_ERRORS}


def translate_mesh(spec: MeshSpec) -> mesh_pb2.Mesh:
    """The message; roots are added by whoever holds them."""
    limits = spec.proxy.limits
    log = spec.telemetry.access_log
    return mesh_pb2.Mesh(
        trust_domain=spec.trust_domain,
        mtls_mode=MTLS[spec.mtls.mode],
        default_policy=POLICY[spec.default_policy],
        egress=EGRESS[spec.egress],
        access_log=mesh_pb2.AccessLog(format=FORMAT[log.format], filter=FILTER[log.filter]),
        tracing=mesh_pb2.Tracing(sampling=spec.telemetry.tracing.sampling),
        metrics_listen=spec.telemetry.metrics.listen,
        limits=mesh_pb2.ProxyLimits(
            head_bytes=limits.head_bytes or 0,
            headers=limits.headers or 0,
            connections=limits.connections or 0,
            buffered_bytes=limits.buffered_bytes or 0,
        ),
    )


def check_mesh(stored: StoredObject, mesh: Mesh) -> list[Problem]:
    """What is documented and not enforced yet is refused, not ignored."""
    if not mesh.spec.telemetry.tracing.endpoint:
        return []
    path = ("spec", "telemetry", "tracing", "endpoint")
    return [stored.problem(path, "UnsupportedValue: traces are passed on, not exported yet; remove the field")]
