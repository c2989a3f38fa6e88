"""The signer over real sockets and real TLS, a Python client in the place of the proxy."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from plait_controlplane.identity import join_token
from plait_controlplane.identity.authority import Authority, BadRoot
from plait_controlplane.identity.credentials import der, new_key, request
from plait_controlplane.identity.internal import Client
from plait_controlplane.identity.names import SpiffeId, identity_of
from plait_controlplane.identity.proof import Mesh, Refused
from plait_controlplane.identity.server import SignerServer
from plait_controlplane.identity.signer import Signer
from plait_sdk.contracts import identity_pb2, identity_pb2_grpc

ACCOUNTS = {"shop/web-1": "web", "shop/ledger-1": "ledger", "plait-system/thief": "plait-controlplane"}
MESH = Mesh("shop.example", timedelta(hours=24), ACCOUNTS)
OWN = "spiffe://shop.example/ns/plait-system/sa/plait-controlplane"
WEB = "spiffe://shop.example/ns/shop/sa/web"

Code = grpc.StatusCode


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Running:
    """A signer, its clock, and both of its callers."""

    clock: Clock
    authority: Authority
    internal: Client
    stub: Any

    async def sign(self, **fields: Any) -> identity_pb2.SignResponse:
        response: identity_pb2.SignResponse = await self.stub.Sign(identity_pb2.SignRequest(**fields), timeout=5)
        return response

    async def refusal(self, **fields: Any) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.sign(**fields)
        return caught.value.code(), caught.value.details() or ""

    async def enrol(self, workload: str = "shop/web-1") -> tuple[ec.EllipticCurvePrivateKey, list[bytes]]:
        key = new_key()
        token = await self.internal.join_token(workload, 3600)
        response = await self.sign(csr=request(key), workload=workload, join_token=token)
        return key, list(response.chain)


@pytest.fixture
async def running(
    tmp_path: Path, free_address: str, connect: Callable[..., Awaitable[grpc.aio.Channel]]
) -> AsyncIterator[Running]:
    clock = Clock()
    authority = Authority(tmp_path / "ca", clock)
    server = SignerServer(Signer(authority, free_address), free_address, tmp_path / "signer.sock")
    await server.start()
    internal = Client(tmp_path / "signer.sock")
    await internal.tell(MESH)
    channel = await connect(free_address, [authority.root], OWN)
    yield Running(clock, authority, internal, identity_pb2_grpc.IdentityStub(channel))
    await internal.close()
    await server.stop()


def proof(key: ec.EllipticCurvePrivateKey, chain: list[bytes], csr: bytes) -> identity_pb2.LeafProof:
    return identity_pb2.LeafProof(chain=chain, signature=key.sign(csr, ec.ECDSA(hashes.SHA256())))


async def test_enrols_by_token(running: Running) -> None:
    key = new_key()
    token = await running.internal.join_token("shop/web-1", 60)
    answer = await running.sign(csr=request(key), workload="shop/web-1", join_token=token)
    leaf = x509.load_der_x509_certificate(answer.chain[0])
    leaf.verify_directly_issued_by(running.authority.root)
    usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert answer.identity == identity_of(leaf) == WEB
    assert leaf.public_key() == key.public_key()
    assert list(answer.trust_bundle) == der([running.authority.root])
    assert list(usages) == [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    assert leaf.not_valid_before_utc == running.clock.now - timedelta(minutes=1)
    assert leaf.not_valid_after_utc == running.clock.now + timedelta(hours=24)


async def test_a_token_is_usable_again_until_it_expires(running: Running) -> None:
    token = await running.internal.join_token("shop/web-1", 60)
    for _ in range(2):
        await running.sign(csr=request(new_key()), workload="shop/web-1", join_token=token)
    running.clock.now += timedelta(seconds=60)
    code, reason = await running.refusal(csr=request(new_key()), workload="shop/web-1", join_token=token)
    assert (code, "expired" in reason) == (Code.UNAUTHENTICATED, True)


async def test_renews_by_leaf_until_it_expires(running: Running) -> None:
    key, chain = await running.enrol()
    running.clock.now += timedelta(hours=23)
    csr = request(new_key())
    answer = await running.sign(csr=csr, workload="shop/web-1", leaf=proof(key, chain, csr))
    assert answer.identity == WEB
    running.clock.now += timedelta(hours=1)
    code, reason = await running.refusal(csr=csr, workload="shop/web-1", leaf=proof(key, chain, csr))
    assert (code, "join with a token again" in reason) == (Code.UNAUTHENTICATED, True)


async def test_a_leaf_renews_only_its_own_workload(running: Running) -> None:
    key, chain = await running.enrol()
    csr = request(new_key())
    code, reason = await running.refusal(csr=csr, workload="shop/ledger-1", leaf=proof(key, chain, csr))
    assert (code, reason) == (Code.PERMISSION_DENIED, f"the leaf is for {WEB}, and shop/ledger-1 is {WEB[:-3]}ledger")


async def test_a_renewal_is_signed_by_the_leaf_of_a_trusted_root(running: Running, tmp_path: Path) -> None:
    key, chain = await running.enrol()
    csr = request(new_key())
    cases = {
        "other key": proof(new_key(), chain, csr),
        "other request": proof(key, chain, request(new_key())),
        "no certificate": identity_pb2.LeafProof(signature=b"x"),
        "no DER": identity_pb2.LeafProof(chain=[b"x"], signature=b"x"),
        "a root": proof(key, der([running.authority.root]), csr),
    }
    for name, case in cases.items():
        code, reason = await running.refusal(csr=csr, workload="shop/web-1", leaf=case)
        assert code is Code.UNAUTHENTICATED, (name, reason)
    other = Authority(tmp_path / "other")
    foreign = identity_like(other, key)
    refused = await running.refusal(csr=csr, workload="shop/web-1", leaf=proof(key, foreign, csr))
    assert refused == (Code.UNAUTHENTICATED, "the leaf was not signed by a root that this mesh trusts")


def identity_like(authority: Authority, key: ec.EllipticCurvePrivateKey) -> list[bytes]:
    """web's leaf, by another root."""
    return der([authority.leaf(SpiffeId("shop.example", "shop", "web"), key.public_key(), timedelta(hours=1))])


async def test_a_root_in_the_folder_is_trusted(running: Running, tmp_path: Path) -> None:
    old = Authority(tmp_path / "old")
    roots = running.authority.folder / "roots"
    roots.mkdir()
    (roots / "old.pem").write_bytes(old.root.public_bytes(serialization.Encoding.PEM))
    key, csr = new_key(), request(new_key())
    answer = await running.sign(csr=csr, workload="shop/web-1", leaf=proof(key, identity_like(old, key), csr))
    assert list(answer.trust_bundle) == der([running.authority.root, old.root])
    assert await running.internal.tell(MESH) == [running.authority.root, old.root]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda token: token[:-4] + "AAAA", "signed by this mesh's root"),
        (lambda token: token.replace("plait1.", "plait2."), "no join token"),
        (lambda token: "x", "no join token"),
        (lambda token: "", "no join token"),
        (lambda token: "plait1.e30.AA", "signed by this mesh's root"),
        (lambda token: "plait1.~.~", "cannot be read"),
        (lambda token: token + "A" * 9000, "too long"),
    ],
)
async def test_wrong_tokens_are_refused(running: Running, change: Callable[[str], str], reason: str) -> None:
    token = change(await running.internal.join_token("shop/web-1", 60))
    code, said = await running.refusal(csr=request(new_key()), workload="shop/web-1", join_token=token)
    assert (code, reason in said) == (Code.UNAUTHENTICATED, True), said


async def test_a_token_is_bound_to_its_workload(running: Running) -> None:
    token = await running.internal.join_token("shop/web-1", 60)
    code, reason = await running.refusal(csr=request(new_key()), workload="shop/ledger-1", join_token=token)
    assert (code, reason) == (Code.PERMISSION_DENIED, "the join token is for shop/web-1, not for shop/ledger-1")


async def test_what_the_mesh_no_longer_has_gets_nothing(running: Running) -> None:
    key, chain = await running.enrol()
    token = await running.internal.join_token("shop/web-1", 60)
    csr = request(new_key())
    await running.internal.tell(Mesh("shop.example", MESH.lifetime, {"shop/web-1": "shop-front"}))
    code, reason = await running.refusal(csr=csr, workload="shop/web-1", join_token=token)
    assert (code, "make a new one" in reason) == (Code.UNAUTHENTICATED, True)
    await running.internal.tell(Mesh("shop.example", MESH.lifetime, {}))
    code, reason = await running.refusal(csr=csr, workload="shop/web-1", leaf=proof(key, chain, csr))
    assert (code, reason) == (Code.PERMISSION_DENIED, "the mesh has no Workload shop/web-1")
    with pytest.raises(Refused, match="no Workload shop/web-1"):
        await running.internal.join_token("shop/web-1", 60)


async def test_nobody_else_becomes_the_control_plane(running: Running) -> None:
    with pytest.raises(Refused, match="the control plane's own"):
        await running.internal.join_token("plait-system/thief", 60)
    claim = join_token.JoinToken("plait-system/thief", "plait-controlplane", "shop.example", 2**40)
    token = join_token.issue(running.authority, claim, "")
    code, _ = await running.refusal(csr=request(new_key()), workload="plait-system/thief", join_token=token)
    assert code is Code.PERMISSION_DENIED


async def test_only_requests_with_a_p256_key_are_signed(running: Running) -> None:
    token = await running.internal.join_token("shop/web-1", 60)
    nobody = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    good = request(new_key())
    cases = {
        "empty": b"",
        "no DER": b"csr",
        "cut": good[:-5],
        "changed": good[:-1] + bytes([good[-1] ^ 1]),
        "other curve": csr_of(nobody, ec.generate_private_key(ec.SECP384R1())),
        "rsa": csr_of(nobody, rsa.generate_private_key(65537, 2048)),
        "large": good + bytes(9000),
    }
    for name, csr in cases.items():
        code, reason = await running.refusal(csr=csr, workload="shop/web-1", join_token=token)
        assert code is Code.INVALID_ARGUMENT, (name, reason)


def csr_of(builder: x509.CertificateSigningRequestBuilder, key: Any) -> bytes:
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


async def test_names_in_the_request_are_ignored(running: Running) -> None:
    key = new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")])
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(OWN), x509.DNSName("bank.example")])
    csr = csr_of(x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(names, False), key)
    token = await running.internal.join_token("shop/web-1", 60)
    answer = await running.sign(csr=csr, workload="shop/web-1", join_token=token)
    leaf = x509.load_der_x509_certificate(answer.chain[0])
    assert (identity_of(leaf), len(leaf.subject)) == (WEB, 0)


async def test_no_proof_is_no_certificate(running: Running) -> None:
    code, _ = await running.refusal(csr=request(new_key()), workload="shop/web-1")
    assert code is Code.UNAUTHENTICATED
    code, _ = await running.refusal(csr=b"x" * 100_000, workload="shop/web-1")
    assert code is Code.RESOURCE_EXHAUSTED


async def test_the_control_plane_gets_its_own_leaf(running: Running, tmp_path: Path) -> None:
    pair = await running.internal.own()
    assert identity_of(pair.chain[0]) == OWN
    assert pair.roots == (running.authority.root,)
    assert (tmp_path / "signer.sock").stat().st_mode & 0o777 == 0o600


def test_the_root_is_kept_and_guarded(tmp_path: Path) -> None:
    first = Authority(tmp_path / "ca")
    assert (tmp_path / "ca" / "root.key").stat().st_mode & 0o777 == 0o600
    assert Authority(tmp_path / "ca").root == first.root
    (tmp_path / "ca" / "root.key").chmod(0o640)
    with pytest.raises(BadRoot, match="chmod 600"):
        Authority(tmp_path / "ca")


def test_a_leaf_never_outlives_its_root(tmp_path: Path) -> None:
    clock = Clock()
    authority = Authority(tmp_path / "ca", clock)
    clock.now = authority.root.not_valid_after_utc - timedelta(hours=1)
    leaf = authority.leaf(SpiffeId("a", "b", "c"), new_key().public_key(), timedelta(hours=24))
    assert leaf.not_valid_after_utc == authority.root.not_valid_after_utc
