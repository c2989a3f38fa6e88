"""The root on a cluster: made once by whoever is first, given by the user, exchanged without a gap."""

import asyncio
import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from objectstore import Object, ObjectStore
from plait_controlplane.apiserver import ApiError
from plait_controlplane.identity.authority import Authority, BadRoot, create_root
from plait_controlplane.identity.ca_secret import CaSecret
from plait_controlplane.identity.credentials import new_key
from plait_controlplane.identity.names import SpiffeId

SECRET = "/api/v1/namespaces/plait-system/secrets/plait-ca"
ROOTS = "/api/v1/namespaces/plait-system/configmaps/plait-ca-roots"


def root() -> tuple[bytes, bytes]:
    return create_root(datetime.now(UTC))


def secret(certificate: bytes, key: bytes) -> Object:
    return {"data": {"tls.crt": base64.b64encode(certificate).decode(), "tls.key": base64.b64encode(key).decode()}}


async def test_replicas_that_start_together_share_one_root(tmp_path: Path) -> None:
    store = ObjectStore()
    async with store.serve() as api:
        folders = [tmp_path / str(number) for number in range(5)]
        keepers = [CaSecret(api, "plait-system", folder) for folder in folders]
        assert await asyncio.gather(*(keeper.fetch() for keeper in keepers)) == [True] * 5
        assert len({Authority(folder).root for folder in folders}) == 1
        assert [await keeper.fetch() for keeper in keepers] == [False] * 5
        assert (folders[0] / "root.key").stat().st_mode & 0o777 == 0o600
        assert [path for method, path in store.asked if method == "PUT"] == [], "nobody ever writes over a root"


async def test_a_root_that_is_given_is_used(tmp_path: Path) -> None:
    store = ObjectStore()
    certificate, key = root()
    store.objects[SECRET] = secret(certificate, key)
    async with store.serve() as api:
        await CaSecret(api, "plait-system", tmp_path).fetch()
        assert Authority(tmp_path).root == x509.load_pem_x509_certificate(certificate)
        assert not [one for one in store.asked if one[0] != "GET"]


async def test_a_rotation_never_leaves_a_leaf_without_a_root_that_vouches(tmp_path: Path) -> None:
    store = ObjectStore()
    old, new = root(), root()
    store.objects[SECRET] = secret(*old)
    async with store.serve() as api:
        keeper = CaSecret(api, "plait-system", tmp_path)
        await keeper.fetch()
        authority = Authority(tmp_path)
        first = leaf(authority)
        steps: list[tuple[dict[str, Object], int]] = [
            ({ROOTS: {"data": {"roots.pem": new[0].decode()}}}, 2),  # everybody learns of the new one
            (
                {SECRET: secret(*new), ROOTS: {"data": {"roots.pem": old[0].decode()}}},
                2,
            ),  # it signs, the old one counts
        ]
        for objects, trusted in steps:
            store.objects.update(objects)
            assert await keeper.fetch()
            authority.reload()
            assert len(authority.bundle()) == trusted
            assert vouched(authority, first)
            assert vouched(authority, leaf(authority))
        del store.objects[ROOTS]  # no leaf of the old one is left
        assert await keeper.fetch()
        authority.reload()
        assert not vouched(authority, first)
        assert vouched(authority, leaf(authority))


def leaf(authority: Authority) -> x509.Certificate:
    return authority.leaf(SpiffeId("a", "b", "c"), new_key().public_key(), timedelta(hours=1))


def vouched(authority: Authority, leaf: x509.Certificate) -> bool:
    for one in authority.bundle():
        try:
            leaf.verify_directly_issued_by(one)
        except (ValueError, InvalidSignature):
            continue
        return True
    return False


def leaf_pair(folder: Path) -> tuple[bytes, bytes]:
    key, authority = new_key(), Authority(folder)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    made = authority.leaf(SpiffeId("a", "b", "c"), key.public_key(), timedelta(hours=1))
    return made.public_bytes(serialization.Encoding.PEM), pem


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (lambda _: {}, "needs tls.crt and tls.key"),
        (lambda _: {"data": {"tls.crt": "~", "tls.key": "~"}}, "needs tls.crt and tls.key"),
        (lambda _: secret(b"x", b"x"), "needs tls.crt and tls.key"),
        (lambda _: secret(root()[0], root()[1]), "does not belong to tls.key"),
        (lambda folder: secret(*leaf_pair(folder)), "must be one root"),
    ],
)
async def test_what_is_no_root_changes_nothing(tmp_path: Path, bad: Callable[[Path], Object], reason: str) -> None:
    store = ObjectStore()
    async with store.serve() as api:
        keeper = CaSecret(api, "plait-system", tmp_path / "ca")
        await keeper.fetch()
        before = Authority(tmp_path / "ca").root
        store.objects[SECRET] = bad(tmp_path / "other")
        with pytest.raises(BadRoot, match=reason):
            await keeper.fetch()
        assert Authority(tmp_path / "ca").root == before
        store.objects[ROOTS] = {"data": {"roots.pem": "no certificate"}}
        store.objects[SECRET] = secret(*root())
        with pytest.raises(BadRoot, match=r"roots\.pem"):
            await keeper.fetch()
        assert Authority(tmp_path / "ca").root == before


async def test_a_cluster_that_does_not_answer_is_told_apart_from_one_without_a_root(tmp_path: Path) -> None:
    store = ObjectStore()
    async with store.serve() as api:
        store.answers[("GET", SECRET)] = lambda _: (503, {"message": "starting"})
        with pytest.raises(ApiError, match="starting") as caught:
            await CaSecret(api, "plait-system", tmp_path).fetch()
        assert caught.value.is_away
        assert not [one for one in store.asked if one[0] == "POST"], "it makes no second root"
