"""spec.healthCheck of the TrafficPolicies of a Service. Called by `backend`; levels: `traffic`."""

from datetime import timedelta
from typing import Any

from plait_sdk.contracts import service_pb2

from plait_controlplane.resources.healthcheck import PROBES, GrpcCheck, HttpCheck, TcpCheck
from plait_controlplane.resources.trafficpolicy import TrafficPolicy
from plait_controlplane.translate.names import duration
from plait_controlplane.translate.traffic import first, origin

CHECKS: dict[str, Any] = {
    "interval": timedelta(seconds=10),
    "timeout": timedelta(seconds=1),
    "unhealthyThreshold": 3,
    "healthyThreshold": 2,
    "minHealthyPercent": 50,
}
"""What healthCheck says where no policy does; each is merged on its own."""


def health_check(chain: list[TrafficPolicy], namespace: str, service: str, message: service_pb2.BackendTraffic) -> None:
    """Fills in the checks of a Service, when a policy asks for them."""
    whole = first(chain, "healthCheck")
    if whole is None:
        return
    made = message.health_check
    settings = {field: one for field in CHECKS if (one := first(chain, f"healthCheck.{field}")) is not None}
    values = CHECKS | {field: value for field, (value, _) in settings.items()}
    made.interval.CopyFrom(duration(values["interval"]))
    made.timeout.CopyFrom(duration(values["timeout"]))
    made.unhealthy_threshold = values["unhealthyThreshold"]
    made.healthy_threshold = values["healthyThreshold"]
    made.min_healthy_percent = values["minHealthyPercent"]
    origins = [one for _, one in settings.values()]
    asked = _asked(chain)
    if asked:
        origins.append(asked[1])
    match asked and asked[0]:
        case HttpCheck() as http:
            made.http.path = http.path
            # As callers within the mesh write it.
            made.http.host = http.host or f"{service}.{namespace}"
            made.http.expected_statuses.extend(http.expected_statuses)
        case GrpcCheck() as grpc:
            made.grpc.service = grpc.service
            made.grpc.SetInParent()
        case _:
            made.tcp.SetInParent()
    # A policy that says no more than "{}" is named as a whole.
    message.origins.extend(origins or [whole[1]])


def _asked(chain: list[TrafficPolicy]) -> tuple[HttpCheck | GrpcCheck | TcpCheck, service_pb2.Origin] | None:
    """What the nearest policy asks that asks anything: kinds of check exclude one another."""
    for policy in chain:
        check = policy.spec.health_check
        for probe in PROBES:
            value = getattr(check, probe, None)
            if value is not None:
                return value, origin(f"healthCheck.{probe}", policy)
    return None
