"""The certificate authority: the root key on disk, the bundle of trusted roots, and leaves. Called by the signer only.

Must not decide who gets a leaf: that is `proof`.
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from plait_controlplane.identity.names import SpiffeId

ROOT_LIFETIME = timedelta(days=3650)
# Clocks of a mesh differ a little; a leaf is valid from a minute before it was made.
BACKDATE = timedelta(minutes=1)

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The clock of production."""
    return datetime.now(UTC)


class BadRoot(Exception):
    """The root on disk cannot be used; the message says what to do."""


class Authority:
    """The root in `folder` (made at first use: root.pem, root.key with mode 0600) and the roots in `folder`/roots."""

    def __init__(self, folder: Path, clock: Clock = utc_now) -> None:
        self.folder = folder
        self.clock = clock
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (folder / "root.key").exists():
            certificate, key = create_root(clock())
            # The certificate first: whoever finds the key finds its certificate too.
            write_secret(folder / "root.pem", certificate)
            write_secret(folder / "root.key", key)
        self.reload()

    def reload(self) -> None:
        """Reads the root again, after somebody exchanged it; raises BadRoot and keeps the one before."""
        key = _load_key(self.folder / "root.key")
        root = x509.load_pem_x509_certificate((self.folder / "root.pem").read_bytes())
        if root.public_key() != key.public_key():
            raise BadRoot(f"{self.folder}/root.pem does not belong to root.key; restore the one that does")
        self._key, self.root = key, root

    def bundle(self) -> list[x509.Certificate]:
        """Every root to be trusted, our own first. Read each time: a rotation adds and removes files."""
        roots = [self.root]
        for path in sorted((self.folder / "roots").glob("*.pem")):
            try:
                text = path.read_bytes()
                found = x509.load_pem_x509_certificates(text) if text.strip() else []
            except ValueError as error:
                raise BadRoot(f"{path} holds no certificate: {error}") from error
            roots.extend(root for root in found if root not in roots)
        return roots

    def sign_bytes(self, data: bytes) -> bytes:
        """The root key's signature (ECDSA P-256, SHA-256, ASN.1), for join tokens."""
        return self._key.sign(data, ec.ECDSA(hashes.SHA256()))

    def leaf(self, identity: SpiffeId, key: ec.EllipticCurvePublicKey, lifetime: timedelta) -> x509.Certificate:
        """A certificate of `key` for exactly this identity, for both ends of a connection; never outlives the root."""
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        return self._sign([x509.UniformResourceIdentifier(str(identity))], usages, key, lifetime)

    def server_leaf(self, names: list[str], key: ec.EllipticCurvePublicKey, lifetime: timedelta) -> x509.Certificate:
        """A certificate for callers that know host names and no identities. To proxies it is nobody: it has no URI."""
        dns: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        return self._sign(dns, [ExtendedKeyUsageOID.SERVER_AUTH], key, lifetime)

    def _sign(
        self,
        names: list[x509.GeneralName],
        usages: list[x509.ObjectIdentifier],
        key: ec.EllipticCurvePublicKey,
        lifetime: timedelta,
    ) -> x509.Certificate:
        now = self.clock()
        issuer_id = self.root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))  # who it is stands in the names; an empty subject makes them critical
            .issuer_name(self.root.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(min(now + lifetime, self.root.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id), critical=False)
            .sign(self._key, hashes.SHA256())
        )


def create_root(now: datetime) -> tuple[bytes, bytes]:
    """A new root: its certificate and its key, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    # Two roots of one name would be told apart by their key identifiers only; some verifiers do not.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"plait root {os.urandom(4).hex()}")])
    root = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + ROOT_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return root.public_bytes(serialization.Encoding.PEM), pem


def _key_usage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def write_secret(path: Path, data: bytes) -> None:
    """Whole or not at all, mode 0600."""
    fresh = path.with_suffix(path.suffix + ".new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    mode = path.stat().st_mode & 0o077
    if mode:
        raise BadRoot(f"{path} can be read by others (mode {path.stat().st_mode & 0o777:o}); run chmod 600 {path}")
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadRoot(f"{path} is no P-256 key")
    return key
