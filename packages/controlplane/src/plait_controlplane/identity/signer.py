"""What the signer does, without sockets: sign for those that prove themselves, and for the discovery process beside it.

Called by `server`. Holds the authority; every request ends in a certificate or in a Refused, and either is counted.
"""

import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from cryptography import x509
from opentelemetry import metrics, trace
from plait_sdk.contracts import identity_pb2
from plait_sdk.control import IdentityRequest

from plait_controlplane.hooks.answers import Away, Permit
from plait_controlplane.identity import join_token, service_account
from plait_controlplane.identity.authority import Authority
from plait_controlplane.identity.credentials import KeyPair, der, new_key
from plait_controlplane.identity.names import CONTROL_PLANE_NAMESPACE, SpiffeId, control_plane
from plait_controlplane.identity.proof import Fault, Mesh, Refused, by_leaf, by_token, expected, public_key

LOG = logging.getLogger(__name__)
TRACER = trace.get_tracer(__name__)
SIGNED = metrics.get_meter(__name__).create_counter(
    "plait_identities_signed_total", description="By proof and outcome."
)

LONGEST_TOKEN_SECONDS = 86400
# The control plane renews at half of this; it is never asked to outlive a mesh's own setting of a day.
OWN_LIFETIME = timedelta(hours=24)


Grant = Callable[[IdentityRequest], Awaitable[Permit]]


class NotToldYet(Exception):
    """The discovery process has not said yet what mesh this is."""


@dataclass(frozen=True)
class Signed:
    """A leaf, and what its owner is to trust."""

    identity: SpiffeId
    leaf: x509.Certificate
    roots: list[x509.Certificate]


class Signer:
    """Signs for one mesh. `tell` says which; until then nothing is signed."""

    def __init__(
        self,
        authority: Authority,
        address: str,
        review: service_account.Review | None = None,
        grant: Grant | None = None,
    ) -> None:
        """`address` is "host:port" of the server, for join tokens; `review` asks a cluster whose a token is; `grant`
        asks plugins about each certificate of a workload.
        """
        self.authority = authority
        self.address = address
        self._review = review
        self._grant = grant
        self._mesh: Mesh | None = None

    @property
    def mesh(self) -> Mesh:
        """What discovery said last; raises NotToldYet."""
        if self._mesh is None:
            raise NotToldYet("the control plane is starting: it has not read the mesh yet; ask again")
        return self._mesh

    def tell(self, mesh: Mesh) -> bool:
        """Takes what discovery says; True when the trust domain is another than before."""
        before, self._mesh = self._mesh, mesh
        return before is None or before.trust_domain != mesh.trust_domain

    async def sign(self, request: identity_pb2.SignRequest) -> identity_pb2.SignResponse:
        """Answers a workload; raises Refused, NotToldYet, or Unreviewed."""
        proof = request.WhichOneof("proof") or "none"
        with TRACER.start_as_current_span("sign", attributes={"workload": request.workload, "proof": proof}):
            try:
                identity = await self._prove(request)
                public_key(request.csr)  # plugins are not asked about what will be refused anyway
                lifetime = await self._granted(identity, request.workload, proof)
                signed = self._leaf(identity, request.csr, lifetime)
            except Refused as refused:
                SIGNED.add(1, {"proof": proof, "outcome": refused.fault.value})
                LOG.warning("no certificate workload=%r proof=%s: %s", request.workload[:80], proof, refused.reason)
                raise
            SIGNED.add(1, {"proof": proof, "outcome": "signed"})
            until = signed.leaf.not_valid_after_utc.isoformat(timespec="seconds")
            LOG.info("signed identity=%s workload=%s proof=%s until=%s", identity, request.workload, proof, until)
        return identity_pb2.SignResponse(
            chain=der([signed.leaf]), trust_bundle=der(signed.roots), identity=str(identity)
        )

    def own(self, csr: bytes) -> Signed:
        """The control plane's leaf for the discovery process; the caller is trusted by its place behind the socket."""
        return self._leaf(control_plane(self.mesh.trust_domain), csr, OWN_LIFETIME)

    def server(self, csr: bytes, names: list[str]) -> Signed:
        """A leaf for a server of ours that the API server calls by a host name; raises Refused for names of others."""
        ours = re.compile(rf"[a-z0-9-]+\.{CONTROL_PLANE_NAMESPACE}\.svc")
        if not names or not all(ours.fullmatch(name) for name in names):
            raise Refused(Fault.FORBIDDEN, f"{names} are no Services of {CONTROL_PLANE_NAMESPACE}")
        leaf = self.authority.server_leaf(names, public_key(csr), OWN_LIFETIME)
        return Signed(control_plane(self.mesh.trust_domain), leaf, self.authority.bundle())

    def own_pair(self) -> KeyPair:
        """The signer's own key and leaf. The root travels along: a join token names it by its hash alone."""
        key = new_key()
        identity = control_plane(self.mesh.trust_domain)
        leaf = self.authority.leaf(identity, key.public_key(), OWN_LIFETIME)
        return KeyPair(key, (leaf, self.authority.root), tuple(self.authority.bundle()))

    def join_token(self, workload: str, ttl_seconds: int) -> str:
        """A join token for a workload of the mesh; raises Refused."""
        if not 1 <= ttl_seconds <= LONGEST_TOKEN_SECONDS:
            raise Refused(Fault.MALFORMED, f"ttl_seconds must be from 1 to {LONGEST_TOKEN_SECONDS}")
        identity = expected(self.mesh, workload)
        expiry = int(self.authority.clock().timestamp()) + ttl_seconds
        claim = join_token.JoinToken(workload, identity.account, identity.trust_domain, expiry)
        LOG.info("join token workload=%s ttl_seconds=%d", workload, ttl_seconds)
        return join_token.issue(self.authority, claim, self.address)

    async def _prove(self, request: identity_pb2.SignRequest) -> SpiffeId:
        match request.WhichOneof("proof"):
            case "join_token":
                return by_token(self.authority, self.mesh, request.workload, request.join_token)
            case "leaf":
                return by_leaf(self.authority, self.mesh, request.workload, request.csr, request.leaf)
            case "service_account_token":
                return await self._by_service_account(request)
            case None:
                raise Refused(Fault.UNPROVEN, "the request holds no proof: send a token or a leaf")

    async def _by_service_account(self, request: identity_pb2.SignRequest) -> SpiffeId:
        mesh = self.mesh
        if self._review is None:
            raise Refused(Fault.UNPROVEN, "this mesh is on no cluster: send a join token")
        public_key(request.csr)  # the API server is not asked for what will be refused anyway
        return service_account.identity(mesh, request.workload, await self._review(request.service_account_token))

    async def _granted(self, identity: SpiffeId, workload: str, proof: str) -> timedelta:
        """How long the certificate may live; never longer than the mesh says. Raises Refused."""
        lifetime = self.mesh.lifetime
        if self._grant is None:
            return lifetime
        seconds = int(lifetime.total_seconds())
        attributes = {"workload": workload, "proof": proof}
        asked = IdentityRequest(str(identity), identity.namespace, identity.account, seconds, attributes)
        try:
            permit = await self._grant(asked)
        except Away as error:
            raise Refused(Fault.FORBIDDEN, f"nobody could say whether it may have one: {error}") from error
        if permit.refused:
            raise Refused(Fault.FORBIDDEN, permit.refused)
        return min(lifetime, timedelta(seconds=permit.lifetime_seconds))

    def _leaf(self, identity: SpiffeId, csr: bytes, lifetime: timedelta) -> Signed:
        key = public_key(csr)
        return Signed(identity, self.authority.leaf(identity, key, lifetime), self.authority.bundle())
