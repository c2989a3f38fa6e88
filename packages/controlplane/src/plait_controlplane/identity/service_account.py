"""Service-account tokens: what a pod's proxy shows. The API server says whose they are, by TokenReview.

Nothing that a token says of itself is believed. Called by `signer`.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from plait_controlplane.apiserver import ApiError, ApiServer
from plait_controlplane.identity.names import SpiffeId
from plait_controlplane.identity.proof import Fault, Mesh, Refused

# A token for us alone: one that a thief took from another use proves nothing here.
AUDIENCE = "plait"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
POD_NAME = "authentication.kubernetes.io/pod-name"
# A projected token has some 1,200 characters; clusters with long issuers twice that.
LONGEST = 16384

_USER = re.compile(r"system:serviceaccount:([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?):([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)")
_TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)


class Unreviewed(Exception):
    """The API server did not say; asking again may help."""


@dataclass(frozen=True)
class Bound:
    """Whom the API server vouches for: the pod, and the account that it runs as."""

    namespace: str
    account: str
    pod: str


Review = Callable[[str], Awaitable[Bound]]


def reviewer(api: ApiServer) -> Review:
    """Asks this API server; raises Refused or Unreviewed."""

    async def review(token: str) -> Bound:
        token = token.strip()
        if len(token) > LONGEST or not _TOKEN.fullmatch(token):
            raise Refused(Fault.UNPROVEN, "this is no service-account token")
        spec = {"token": token, "audiences": [AUDIENCE]}
        question = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        try:
            answer = await api.ask("POST", REVIEWS, question)
        except ApiError as error:
            raise Unreviewed(f"the API server did not review the token: {error}") from error
        return read(answer.get("status"))

    return review


def read(status: Any) -> Bound:
    """What a TokenReview's status says; raises Refused unless it vouches for a pod and for our audience."""
    if not isinstance(status, dict) or status.get("authenticated") is not True:
        why = status.get("error") if isinstance(status, dict) else ""
        raise Refused(Fault.UNPROVEN, f"the API server does not accept the token{f': {why}' if why else ''}")
    # A server that knows no audiences accepts any token of its own and names none here.
    if AUDIENCE not in (status.get("audiences") or []):
        raise Refused(Fault.UNPROVEN, f'the token is not for the audience "{AUDIENCE}"')
    user = status.get("user") or {}
    named = _USER.fullmatch(str(user.get("username", "")))
    if named is None:
        raise Refused(Fault.UNPROVEN, "the token is no service account's")
    pods = (user.get("extra") or {}).get(POD_NAME) or []
    if len(pods) != 1 or not isinstance(pods[0], str):
        raise Refused(Fault.UNPROVEN, "the token is bound to no pod; give the proxy a projected one")
    return Bound(named[1], named[3], pods[0])


def identity(mesh: Mesh, workload: str, bound: Bound) -> SpiffeId:
    """Who `workload` is, when it is the pod that the token is bound to."""
    if workload != f"{bound.namespace}/{bound.pod}":
        raise Refused(
            Fault.FORBIDDEN, f"the token is for the pod {bound.namespace}/{bound.pod}, not for {workload[:80]}"
        )
    named = SpiffeId(mesh.trust_domain, bound.namespace, bound.account)
    if named.is_control_plane:
        raise Refused(Fault.FORBIDDEN, f"{named} is the control plane's own; give {workload} another service account")
    return named
