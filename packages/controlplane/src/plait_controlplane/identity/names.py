"""SPIFFE IDs: how they are written, and how one is read from a certificate. Pure."""

import re
from dataclasses import dataclass

from cryptography import x509

CONTROL_PLANE_NAMESPACE = "plait-system"
CONTROL_PLANE_ACCOUNT = "plait-controlplane"

_WORKLOAD = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


class BadName(ValueError):
    """A certificate or a request names nobody, or more than one."""


@dataclass(frozen=True)
class SpiffeId:
    """An identity of the mesh. Compared as a value, never by prefix or pattern."""

    trust_domain: str
    namespace: str
    account: str

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.account}"

    @property
    def is_control_plane(self) -> bool:
        """Whether it is the control plane's own, which no workload may have."""
        return (self.namespace, self.account) == (CONTROL_PLANE_NAMESPACE, CONTROL_PLANE_ACCOUNT)


def control_plane(trust_domain: str) -> SpiffeId:
    """The identity of the control plane's own servers."""
    return SpiffeId(trust_domain, CONTROL_PLANE_NAMESPACE, CONTROL_PLANE_ACCOUNT)


def workload_namespace(workload: str) -> str:
    """The namespace of "namespace/name"; raises BadName when it is no such name."""
    if not _WORKLOAD.fullmatch(workload):
        raise BadName(f'"{workload[:80]}" is no workload; write namespace/name')
    return workload.partition("/")[0]


def identity_of(certificate: x509.Certificate) -> str:
    """The one URI name of a certificate; raises BadName when there is none or there are several names."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        raise BadName(f"the certificate has no readable subject alternative name: {error}") from error
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1 or len(list(names)) != 1:
        raise BadName(f"the certificate has {len(list(names))} names; exactly one URI is an identity")
    return uris[0]
