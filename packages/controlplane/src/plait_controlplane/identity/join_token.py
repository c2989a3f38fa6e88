"""Join tokens: what a proxy shows the first time. Text, signed by the root key, bound to one Workload.

"plait1.<base64url of JSON>.<base64url of the signature over all before the last dot>", both without padding.
"""

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from plait_controlplane.identity.authority import Authority

PREFIX = "plait1"
# A token of a longer name than Kubernetes allows and a dozen roots has about 2,000 characters.
LONGEST = 8192


class BadToken(Exception):
    """Why a token proves nothing."""


@dataclass(frozen=True)
class JoinToken:
    """What a valid token says."""

    workload: str
    account: str
    trust_domain: str
    expires_unix: int


def issue(authority: Authority, claim: JoinToken, identity_address: str) -> str:
    """The text of a token; `identity_address` is where the signer serves, for whoever holds only this."""
    payload = {
        "workload": claim.workload,
        "serviceAccount": claim.account,
        "trustDomain": claim.trust_domain,
        "exp": claim.expires_unix,
        "roots": [fingerprint(root) for root in authority.bundle()],
        "identity": identity_address,
    }
    signed = f"{PREFIX}.{_encode(json.dumps(payload, separators=(',', ':')).encode())}"
    return f"{signed}.{_encode(authority.sign_bytes(signed.encode()))}"


def verify(authority: Authority, token: str) -> JoinToken:
    """What the token says, when our own root signed it and it has not expired; else raises BadToken."""
    if len(token) > LONGEST:
        raise BadToken("the join token is too long to be one")
    signed, dot, signature = token.strip().rpartition(".")
    prefix, _, payload = signed.partition(".")
    if not dot or prefix != PREFIX:
        raise BadToken(f'this is no join token: it does not begin with "{PREFIX}."')
    key = authority.root.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise BadToken("the root's key signs no tokens")
    try:
        key.verify(_decode(signature), signed.encode(), ec.ECDSA(hashes.SHA256()))
        said = json.loads(_decode(payload))
        claim = JoinToken(said["workload"], said["serviceAccount"], said["trustDomain"], said["exp"])
    except InvalidSignature:
        raise BadToken("the join token was not signed by this mesh's root; make a new one") from None
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise BadToken(f"the join token cannot be read: {error}") from error
    late = int(authority.clock().timestamp()) - claim.expires_unix
    if late >= 0:
        raise BadToken(f"the join token expired {late} s ago; make a new one: plait join-token create")
    return claim


def fingerprint(root: x509.Certificate) -> str:
    """Hex SHA-256 of the certificate's DER."""
    return hashlib.sha256(root.public_bytes(serialization.Encoding.DER)).hexdigest()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
