"""A root and leaves for one benchmark run. Called by bench.py; nothing here is fit for production."""

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DOMAIN = "bench.example"


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    encoding, style = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(encoding, style, serialization.NoEncryption()))
    path.chmod(0o600)


def make(folder: Path, accounts: list[str]) -> bytes:
    """Writes folder/<account>/{leaf.pem,leaf.key,roots.pem} for each account; returns the root, DER.

    An account is of the namespace "bench" unless it is written namespace/account.
    """
    now = datetime.datetime.now(datetime.UTC)
    root_key = ec.generate_private_key(ec.SECP256R1())

    def builder(subject: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("bench root"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )

    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    root = (
        builder("bench root", root_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(root_key, hashes.SHA256())
    )
    pem = root.public_bytes(serialization.Encoding.PEM)
    for account in accounts:
        key = ec.generate_private_key(ec.SECP256R1())
        namespace, short = account.split("/") if "/" in account else ("bench", account)
        names = [
            x509.UniformResourceIdentifier(f"spiffe://{DOMAIN}/ns/{namespace}/sa/{short}"),
            x509.DNSName(f"{short}.{namespace}.{DOMAIN}"),
        ]
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        leaf = (
            builder(account, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(both), critical=False)
            .sign(root_key, hashes.SHA256())
        )
        place = folder / account
        place.mkdir(parents=True)
        write_key(place / "leaf.key", key)
        (place / "leaf.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
        (place / "roots.pem").write_bytes(pem)
    return root.public_bytes(serialization.Encoding.DER)
