"""Who is asking: the request for a certificate, and the two proofs that need nobody else (see `service_account`).

Called by `signer`; raises Refused with a reason.

Pure but for the clock of the authority.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from plait_sdk.contracts import identity_pb2

from plait_controlplane.identity.authority import Authority
from plait_controlplane.identity.join_token import BadToken, verify
from plait_controlplane.identity.names import BadName, SpiffeId, identity_of, workload_namespace

# A P-256 request has some 300 bytes; names in it are ignored, so nobody needs more.
CSR_BYTES = 8192


class Fault(Enum):
    """What is wrong with a request, as the contract tells errors apart."""

    UNPROVEN = "unproven"
    MALFORMED = "malformed"
    FORBIDDEN = "forbidden"


class Refused(Exception):
    """No certificate, and why."""

    def __init__(self, fault: Fault, reason: str) -> None:
        super().__init__(reason)
        self.fault, self.reason = fault, reason


@dataclass(frozen=True)
class Mesh:
    """What the signer must know of the mesh: told by the discovery process, since the signer reads no objects."""

    trust_domain: str
    lifetime: timedelta
    accounts: Mapping[str, str] = field(default_factory=dict)
    """Service account by workload ("namespace/name")."""


def public_key(csr: bytes) -> ec.EllipticCurvePublicKey:
    """The key that a request proves to hold. Its subject and names are ignored."""
    if len(csr) > CSR_BYTES:
        raise Refused(Fault.MALFORMED, f"the CSR has {len(csr)} bytes; {CSR_BYTES} are the most")
    try:
        request = x509.load_der_x509_csr(csr)
        key = request.public_key()
        signed = request.is_signature_valid
    except (ValueError, TypeError, x509.InvalidVersion, InvalidSignature, NotImplementedError) as error:
        raise Refused(Fault.MALFORMED, f"not a PKCS#10 request in DER: {error}") from error
    except Exception as error:  # the library raises UnsupportedAlgorithm and others for curves that it does not know
        raise Refused(Fault.MALFORMED, f"the CSR cannot be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Refused(Fault.MALFORMED, "the CSR's key is not ECDSA P-256")
    if not signed:
        raise Refused(Fault.MALFORMED, "the CSR is not signed by its own key")
    return key


def by_token(authority: Authority, mesh: Mesh, workload: str, token: str) -> SpiffeId:
    """The identity that a join token gives to `workload`."""
    try:
        claim = verify(authority, token)
    except BadToken as error:
        raise Refused(Fault.UNPROVEN, str(error)) from error
    if claim.workload != workload:
        raise Refused(Fault.FORBIDDEN, f"the join token is for {claim.workload}, not for {workload}")
    named = SpiffeId(claim.trust_domain, workload_namespace(workload), claim.account)
    wanted = expected(mesh, workload)
    if named != wanted:
        raise Refused(Fault.UNPROVEN, f"the join token is for {named}, and {workload} is {wanted} now; make a new one")
    return wanted


def by_leaf(authority: Authority, mesh: Mesh, workload: str, csr: bytes, proof: identity_pb2.LeafProof) -> SpiffeId:
    """The identity that a valid leaf may renew for `workload`."""
    leaf = _trusted_leaf(authority, proof)
    key = leaf.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise Refused(Fault.UNPROVEN, "the leaf's key is not ECDSA")
    try:
        key.verify(proof.signature, csr, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Refused(Fault.UNPROVEN, "the CSR is not signed by the key of the leaf") from None
    try:
        named = identity_of(leaf)
    except BadName as error:
        raise Refused(Fault.UNPROVEN, str(error)) from error
    wanted = expected(mesh, workload)
    if named != str(wanted):
        raise Refused(Fault.FORBIDDEN, f"the leaf is for {named}, and {workload} is {wanted}")
    return wanted


def expected(mesh: Mesh, workload: str) -> SpiffeId:
    """The identity of a workload of the mesh."""
    try:
        namespace = workload_namespace(workload)
    except BadName as error:
        raise Refused(Fault.MALFORMED, str(error)) from error
    if workload not in mesh.accounts:
        raise Refused(Fault.FORBIDDEN, f"the mesh has no Workload {workload}")
    wanted = SpiffeId(mesh.trust_domain, namespace, mesh.accounts[workload])
    if wanted.is_control_plane:
        raise Refused(Fault.FORBIDDEN, f"{wanted} is the control plane's own; give {workload} another service account")
    return wanted


def _trusted_leaf(authority: Authority, proof: identity_pb2.LeafProof) -> x509.Certificate:
    if not proof.chain:
        raise Refused(Fault.UNPROVEN, "the proof holds no certificate")
    try:
        leaf = x509.load_der_x509_certificate(proof.chain[0])
        usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension) as error:
        raise Refused(Fault.UNPROVEN, f"the leaf cannot be read: {error}") from error
    if constraints.ca or ExtendedKeyUsageOID.CLIENT_AUTH not in usages:
        raise Refused(Fault.UNPROVEN, "the certificate is no leaf of a client")
    if not any(_issued(leaf, root) for root in authority.bundle()):
        raise Refused(Fault.UNPROVEN, "the leaf was not signed by a root that this mesh trusts")
    now = authority.clock()
    if not leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc:
        expiry = f"{leaf.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC"
        raise Refused(Fault.UNPROVEN, f"the leaf is valid until {expiry} and it is not now; join with a token again")
    return leaf


def _issued(leaf: x509.Certificate, root: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
