"""The root on a cluster: a Secret that every replica reads and the first one makes; further roots in a ConfigMap.

Called by the signer's process, which alone may read the Secret. The files that `Authority` reads are written from it.
"""

import base64
import binascii
import contextlib
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from plait_controlplane.apiserver import ApiError, ApiServer, Object
from plait_controlplane.identity.authority import BadRoot, Clock, create_root, utc_now, write_secret

SECRET = "plait-ca"
ROOTS = "plait-ca-roots"


@dataclass(frozen=True)
class _Found:
    certificate: bytes
    key: bytes
    roots: bytes


class CaSecret:
    """The Secret of one namespace, as files in `folder`. `fetch` again and again: a rotation is an edit of it."""

    def __init__(self, api: ApiServer, namespace: str, folder: Path, clock: Clock = utc_now) -> None:
        self._api = api
        self._namespace = namespace
        self._folder = folder
        self._clock = clock
        self._before: _Found | None = None

    async def fetch(self) -> bool:
        """Writes what the cluster has, making it where there is none; True when it differs from before.

        Raises ApiError, and BadRoot for what cannot be a root: then the files stay as they were.
        """
        secret = await self._read("secrets", SECRET) or await self._create()
        extra = await self._read("configmaps", ROOTS)
        found = _Found(*_pair(secret), roots=_roots(extra))
        if found == self._before:
            return False
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._folder / "roots").mkdir(mode=0o700, exist_ok=True)
        write_secret(self._folder / "roots" / "cluster.pem", found.roots)
        write_secret(self._folder / "root.pem", found.certificate)
        write_secret(self._folder / "root.key", found.key)
        self._before = found
        return True

    async def _create(self) -> Object:
        """Ours, unless another replica was faster: then its one."""
        certificate, key = create_root(self._clock())
        data = {"tls.crt": base64.b64encode(certificate).decode(), "tls.key": base64.b64encode(key).decode()}
        metadata = {"name": SECRET, "namespace": self._namespace, "labels": {"app.kubernetes.io/part-of": "plait"}}
        secret = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata, "data": data}
        with contextlib.suppress(_Taken):
            return await self._post(secret)
        there = await self._read("secrets", SECRET)
        if there is None:
            raise ApiError(0, "Gone", f"the Secret {self._namespace}/{SECRET} was made and deleted at once")
        return there

    async def _post(self, secret: Object) -> Object:
        try:
            return await self._api.ask("POST", f"/api/v1/namespaces/{self._namespace}/secrets", secret)
        except ApiError as error:
            if error.status == 409:
                raise _Taken from error
            raise

    async def _read(self, kind: str, name: str) -> Object | None:
        try:
            return await self._api.ask("GET", f"/api/v1/namespaces/{self._namespace}/{kind}/{name}")
        except ApiError as error:
            if error.status == 404:
                return None
            raise


class _Taken(Exception):
    """Another replica made it first."""


def _pair(secret: Object) -> tuple[bytes, bytes]:
    data = secret.get("data") or {}
    try:
        certificate, key = (base64.b64decode(data[name], validate=True) for name in ("tls.crt", "tls.key"))
        root, *more = x509.load_pem_x509_certificates(certificate)
        own = serialization.load_pem_private_key(key, password=None).public_key()
    except (KeyError, ValueError, TypeError, binascii.Error) as error:
        raise BadRoot(f"the Secret {SECRET} needs tls.crt and tls.key in PEM: {error!r}") from error
    try:
        root.verify_directly_issued_by(root)
        authority = root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        authority = False
    if more or not authority:
        raise BadRoot(f"tls.crt of the Secret {SECRET} must be one root: a CA certificate that signed itself")
    if root.public_key() != own:
        raise BadRoot(f"tls.crt of the Secret {SECRET} does not belong to tls.key")
    return certificate, key


def _roots(extra: Object | None) -> bytes:
    """Further roots, checked; empty when there are none."""
    text = str(((extra or {}).get("data") or {}).get("roots.pem", "")).encode()
    if text.strip():
        try:
            x509.load_pem_x509_certificates(text)
        except ValueError as error:
            raise BadRoot(f"roots.pem of the ConfigMap {ROOTS} holds no certificate: {error}") from error
    return text
