"""The proof of a pod: the signer over real TLS, the API server as a fake that reviews tokens."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from objectstore import Object, ObjectStore, failure
from plait_controlplane.identity.authority import Authority
from plait_controlplane.identity.credentials import new_key, request
from plait_controlplane.identity.internal import Client
from plait_controlplane.identity.names import identity_of
from plait_controlplane.identity.proof import Mesh, Refused
from plait_controlplane.identity.server import SignerServer
from plait_controlplane.identity.service_account import POD_NAME, REVIEWS, Bound, read, reviewer
from plait_controlplane.identity.signer import Signer
from plait_sdk.contracts import identity_pb2, identity_pb2_grpc

OWN = "spiffe://shop.example/ns/plait-system/sa/plait-controlplane"
GOOD = "e30.e30.good"
Code = grpc.StatusCode


def status(**changed: Any) -> Object:
    user = {"username": "system:serviceaccount:shop:web", "extra": {POD_NAME: ["web-1"]}}
    return {"authenticated": True, "audiences": ["plait"], "user": user, **changed}


def user(name: str = "system:serviceaccount:shop:web", **extra: Any) -> Object:
    return {"username": name, "extra": extra or {POD_NAME: ["web-1"]}}


def test_a_review_says_who_the_pod_is() -> None:
    assert read(status()) == Bound("shop", "web", "web-1")
    assert read(status(audiences=["other", "plait"])) == Bound("shop", "web", "web-1")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (None, "does not accept"),
        ({}, "does not accept"),
        ({"authenticated": False, "error": "token expired"}, "does not accept the token: token expired"),
        (status(authenticated="true"), "does not accept"),
        (status(audiences=["https://kubernetes.default.svc"]), "audience"),
        (status(audiences=[]), "audience"),
        (status(audiences=None), "audience"),
        (status(user=None), "no service account's"),
        (status(user=user("system:node:n1")), "no service account's"),
        (status(user=user("system:serviceaccount:shop")), "no service account's"),
        (status(user=user("system:serviceaccount:shop:web/../root")), "no service account's"),
        (status(user=user("x\nsystem:serviceaccount:shop:web")), "no service account's"),
        (status(user=user(other=["web-1"])), "bound to no pod"),
        (status(user=user(**{POD_NAME: []})), "bound to no pod"),
        (status(user=user(**{POD_NAME: ["web-1", "web-2"]})), "bound to no pod"),
    ],
)
def test_what_vouches_for_no_pod_is_refused(said: Any, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        read(said)


@dataclass
class Running:
    """A signer on a cluster."""

    store: ObjectStore
    internal: Client
    stub: Any

    def says(self, said: Callable[[Object], tuple[int, Object]]) -> None:
        self.store.answers[("POST", REVIEWS)] = said

    async def sign(self, workload: str = "shop/web-1", token: str = GOOD, csr: bytes = b"") -> Any:
        question = identity_pb2.SignRequest(
            csr=csr or request(new_key()), workload=workload, service_account_token=token
        )
        return await self.stub.Sign(question, timeout=30)

    async def refusal(self, **fields: Any) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.sign(**fields)
        return caught.value.code(), caught.value.details() or ""


@pytest.fixture
async def running(
    tmp_path: Path, free_address: str, connect: Callable[..., Awaitable[grpc.aio.Channel]]
) -> AsyncIterator[Running]:
    store = ObjectStore()
    async with store.serve() as api:
        authority = Authority(tmp_path / "ca")
        signer = Signer(authority, free_address, reviewer(api))
        server = SignerServer(signer, free_address, tmp_path / "signer.sock")
        await server.start()
        internal = Client(tmp_path / "signer.sock")
        await internal.tell(Mesh("shop.example", timedelta(hours=24)))
        stub = identity_pb2_grpc.IdentityStub(await connect(free_address, [authority.root], OWN))
        found = Running(store, internal, stub)
        found.says(lambda asked: (201, {**asked, "status": status()}))
        yield found
        await internal.close()
        await server.stop()


async def test_a_pod_becomes_its_service_account(running: Running) -> None:
    asked: list[Object] = []
    running.says(lambda body: (201, {"status": status()}) if not asked.append(body) else (500, {}))
    answer = await running.sign()
    leaf = x509.load_der_x509_certificate(answer.chain[0])
    assert answer.identity == identity_of(leaf) == "spiffe://shop.example/ns/shop/sa/web"
    assert [one["spec"] for one in asked] == [{"token": GOOD, "audiences": ["plait"]}]


async def test_a_token_gives_nothing_to_another_pod(running: Running) -> None:
    for workload in ("shop/web-2", "bank/web-1", "web-1", ""):
        code, reason = await running.refusal(workload=workload)
        assert (code, f"is for the pod shop/web-1, not for {workload}" in reason) == (Code.PERMISSION_DENIED, True)


async def test_nobody_becomes_the_control_plane_by_a_token(running: Running) -> None:
    own = user("system:serviceaccount:plait-system:plait-controlplane", **{POD_NAME: ["thief"]})
    running.says(lambda _: (201, {"status": status(user=own)}))
    code, reason = await running.refusal(workload="plait-system/thief")
    assert (code, "the control plane's own" in reason) == (Code.PERMISSION_DENIED, True)


async def test_an_api_server_that_does_not_answer_is_no_refusal_and_no_certificate(running: Running) -> None:
    running.says(lambda _: failure(500, "InternalError", "etcd is away"))
    code, reason = await running.refusal()
    assert (code, "etcd is away" in reason) == (Code.UNAVAILABLE, True)


async def test_the_api_server_is_asked_only_what_could_be_good(running: Running) -> None:
    for token in ("", "x", "a.b", "a.b.c.d", "a b.c.d", "a.b.\u00e9", "a.b." + "c" * 20_000):
        code, reason = await running.refusal(token=token)
        assert code is Code.UNAUTHENTICATED, (token[:10], reason)
    code, _ = await running.refusal(csr=b"no csr")
    assert code is Code.INVALID_ARGUMENT
    assert running.store.asked == []


async def test_off_a_cluster_such_a_token_is_no_proof(tmp_path: Path) -> None:
    signer = Signer(Authority(tmp_path / "ca"), "")
    signer.tell(Mesh("shop.example", timedelta(hours=24)))
    with pytest.raises(Refused, match="on no cluster"):
        await signer.sign(
            identity_pb2.SignRequest(csr=request(new_key()), workload="shop/web-1", service_account_token=GOOD)
        )


async def test_a_server_that_the_cluster_calls_gets_names_of_ours_only(running: Running) -> None:
    pair, domain = await running.internal.server(["plait-webhooks.plait-system.svc"])
    names = pair.chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["plait-webhooks.plait-system.svc"]
    assert (len(list(names)), domain) == (1, "shop.example")
    pair.chain[0].verify_directly_issued_by(pair.roots[0])
    for names_of_others in (["kubernetes.default.svc"], ["a.plait-system.svc.evil.example"], []):
        with pytest.raises(Refused, match="no Services"):
            await running.internal.server(names_of_others)
