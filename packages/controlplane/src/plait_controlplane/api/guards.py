"""Who may ask over TCP, where anybody may knock: whoever shows the API's token, or one that Kubernetes gave them.

Asked by `endpoints` before every answer. Must not know what is asked: a guard lets in or does not.
"""

import asyncio
import hmac
import re
import time
from collections.abc import Awaitable, Callable
from hashlib import sha256

from fastapi import Request

from plait_controlplane.api.answers import Unavailable
from plait_controlplane.apiserver import ApiError, ApiServer

VIEWER = "system:serviceaccount:plait-system:plait-viewer"
"""Whose tokens open the API of a cluster. Who may have one made is up to the cluster's RBAC."""
AUDIENCE = "plait-api"
"""What they must be made for: a token for anything else opens nothing here, and ours opens nothing elsewhere."""
HEADER = "plait-authorization"
"""The API server keeps `Authorization` to itself when it passes a request on."""

REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
TOKEN = re.compile(r"Bearer ([\w-]+\.[\w-]+\.[\w-]+)", re.ASCII)
LONGEST = 16384
# A command asks many things in a row. What the cluster takes back is taken back here so much later.
KEPT_SECONDS = 10.0
MOST_KEPT = 256
# Whoever reaches the port can show tokens: the API server is asked about so many at a time.
MOST_REVIEWS = 4


class Stranger(Exception):
    """Who asks has shown nothing that lets them in."""


Guard = Callable[[Request], Awaitable[None]]
"""Raises Stranger or Unavailable."""


def shared_token(token: str) -> Guard:
    """Lets in whoever shows this token."""
    wanted = f"Bearer {token}".encode()

    async def guard(request: Request) -> None:
        shown = request.headers.get("authorization", "").encode("latin-1")
        # In constant time: how long a refusal takes says nothing about the token.
        if not hmac.compare_digest(shown, wanted):
            raise Stranger("show the API token: Authorization: Bearer TOKEN")

    return guard


class Viewers:
    """Lets in whom the cluster gave a token of the viewers' account; the API server is asked about each."""

    def __init__(self, api: ApiServer, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._let_in: dict[bytes, float] = {}
        self._reviewing = asyncio.Semaphore(MOST_REVIEWS)

    async def guard(self, request: Request) -> None:
        """A Guard."""
        shown = TOKEN.fullmatch(request.headers.get(HEADER, "")[: LONGEST + 1])
        if shown is None or len(shown[1]) > LONGEST:
            raise Stranger(f"show a token of {VIEWER} for the audience {AUDIENCE}, as {HEADER}: Bearer TOKEN")
        digest = sha256(shown[1].encode()).digest()
        if self._let_in.get(digest, 0.0) > self._clock():
            return
        async with self._reviewing:
            await self._review(shown[1])
        now = self._clock()
        self._let_in = {key: until for key, until in self._let_in.items() if until > now}
        if len(self._let_in) < MOST_KEPT:
            self._let_in[digest] = now + KEPT_SECONDS

    async def _review(self, token: str) -> None:
        spec = {"token": token, "audiences": [AUDIENCE]}
        question = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        try:
            status = (await self._api.ask("POST", REVIEWS, question)).get("status") or {}
        except ApiError as error:
            raise Unavailable(f"the API server did not review the token: {error}") from error
        # A server that knows no audiences accepts any token of its own and names none here.
        if status.get("authenticated") is not True or AUDIENCE not in (status.get("audiences") or []):
            raise Stranger(f"the cluster does not vouch for the token: {status.get('error') or 'not authenticated'}")
        who = str((status.get("user") or {}).get("username", ""))
        if who != VIEWER:
            raise Stranger(f"{who} may not ask; {VIEWER} may")
