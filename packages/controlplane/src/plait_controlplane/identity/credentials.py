"""The control plane's own key and leaf, in the form that gRPC servers take. Used by the signer for itself and by `app`
for the discovery server. Keys stay in memory; a new leaf is offered to the next handshake, no listener is reopened.
"""

import threading
from dataclasses import dataclass
from datetime import datetime

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True)
class KeyPair:
    """A key with its certificates. `chain` is what is shown to others, leaf first; `roots` is who is trusted."""

    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...]
    roots: tuple[x509.Certificate, ...]

    @property
    def half_life(self) -> datetime:
        """When to renew."""
        leaf = self.chain[0]
        return leaf.not_valid_before_utc + (leaf.not_valid_after_utc - leaf.not_valid_before_utc) / 2


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def request(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A request for a certificate of `key`, DER. It names nobody: names come from the proof."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def der(certificates: tuple[x509.Certificate, ...] | list[x509.Certificate]) -> list[bytes]:
    """As the contract carries them."""
    return [certificate.public_bytes(serialization.Encoding.DER) for certificate in certificates]


class ServerIdentity:
    """What a server shows and whom it trusts; `replace` it at any time."""

    def __init__(self, pair: KeyPair, clients: bool) -> None:
        """`clients`: whether a client must show a certificate of a trusted root."""
        self._clients = clients
        self._giving = threading.Lock()
        self._fresh: grpc.ServerCertificateConfiguration | None = None
        self.replace(pair)

    def replace(self, pair: KeyPair) -> None:
        """Takes effect with the next handshake."""
        self.pair = pair
        self._shown = self._fresh = self._configuration()

    def credentials(self) -> grpc.ServerCredentials:
        """For `add_secure_port`."""
        self._fresh = None
        return grpc.dynamic_ssl_server_credentials(self._shown, self._fetch, self._clients)  # type: ignore[arg-type]

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Called at each handshake, on a thread of gRPC's; None = as before.

        Only what is new may be given: for each that it is given gRPC frees the one before, also while another thread
        begins a handshake with it (grpc issue 36693), and hundreds of proxies that come at once end the process.
        """
        with self._giving:
            fresh, self._fresh = self._fresh, None
            return fresh

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        key = self.pair.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        chain, roots = _pem(self.pair.chain), _pem(self.pair.roots)
        return grpc.ssl_server_certificate_configuration([(key, chain)], roots if self._clients else None)


def _pem(certificates: tuple[x509.Certificate, ...]) -> bytes:
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)
