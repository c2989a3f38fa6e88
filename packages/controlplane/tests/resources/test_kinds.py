"""Which kind a user meant."""

import pytest
from plait_controlplane.resources.kinds import GATEWAY, KINDS, PLAIT, PLANNED, edits, meant


@pytest.mark.parametrize(
    ("version", "kind", "expected"),
    [
        ("v1", "Servce", ("v1", "Service")),
        ("v1", "service", ("v1", "Service")),
        ("v1", "Secrets", ("v1", "Secret")),
        ("v1", "ConfigMaps", ("v1", "ConfigMap")),
        (GATEWAY, "HTTPRoutes", (GATEWAY, "HTTPRoute")),
        ("gateway.networking.k8s.io/v1beta1", "HTTPRout", (GATEWAY, "HTTPRoute")),
        ("gateway.networking.k8.io/v1", "HTTPRout", (GATEWAY, "HTTPRoute")),
        ("networking.k8s.io/v1", "HTTPRoute", (GATEWAY, "HTTPRoute")),
        ("plait.de/v1alpha1", "AuthorisationPolicy", (PLAIT, "AuthorizationPolicy")),
        ("plait.dev/v2", "Mehs", (PLAIT, "Mesh")),
        (PLAIT, "AuthenticatonPolicy", (PLAIT, "AuthenticationPolicy")),
        (PLAIT, "Deployment", None),
        ("v1", "Pod", None),
        ("v1", "ServiceAccount", None),
        ("v1", "Node", None),
        ("apps/v1", "Deployment", None),
        ("apps/v1", "Servce", None),
        (GATEWAY, "Gateway", None),
        (GATEWAY, "GRPCRoutes", (GATEWAY, "GRPCRoute")),
        ("gateway.networking.k8s.io/v1alpha3", "BackendTLSPolicy", (GATEWAY, "BackendTLSPolicy")),
        (GATEWAY, "BackendTlsPolicies", None),
        ("gateway.networking.k8s.io/v1alpha2", "TCPRoute", (GATEWAY, "TCPRoute")),
        ("gateway.networking.k8s.io/v1alpha2", "TLSRoute", (GATEWAY, "TLSRoute")),
        ("gateway.networking.k8s.io/v1alpha2", "UDPRoute", None),
        ("gateway.networking.k8s.io/v1beta1", "ReferenceGrant", None),
        ("security.istio.io/v1", "RequestAuthentication", None),
        ("", "", None),
    ],
)
def test_a_kind_is_ours_or_somebody_elses(version: str, kind: str, expected: tuple[str, str] | None) -> None:
    assert meant(version, kind) == expected


def test_every_kind_is_itself() -> None:
    for version, kind in [*KINDS, *PLANNED]:
        assert meant(version, kind) == (version, kind)


@pytest.mark.parametrize(
    ("one", "other", "expected"), [("", "", 0), ("a", "", 1), ("ab", "ba", 2), ("route", "rout", 1), ("abc", "axcd", 2)]
)
def test_edits_are_counted(one: str, other: str, expected: int) -> None:
    assert edits(one, other) == edits(other, one) == expected
