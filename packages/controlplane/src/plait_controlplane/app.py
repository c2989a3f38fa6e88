"""The discovery process: source -> what is in force -> translation -> proxies, and the API beside it.

Called by `cli`. The order of the config line stands in `ControlPlane.apply`. Must hold no key but its own leaf's: what
needs the root is asked of the signer.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from cryptography import x509
from opentelemetry import metrics, trace
from plait_sdk.contracts import resource_pb2

from plait_controlplane.discovery.publisher import Publisher
from plait_controlplane.discovery.server import DiscoveryServer
from plait_controlplane.discovery.stream import Hooks as StreamHooks
from plait_controlplane.discovery.stream import Peer, Stranger, Timing, Watch
from plait_controlplane.hooks.client import Client as HooksClient
from plait_controlplane.hooks.following import Hooks
from plait_controlplane.identity.credentials import ServerIdentity, der
from plait_controlplane.identity.internal import Away, Client
from plait_controlplane.identity.names import BadName, control_plane, identity_of
from plait_controlplane.identity.proof import Mesh
from plait_controlplane.interest.publication import Key, Publication, publish, resources_of
from plait_controlplane.resources.mesh import MeshSpec
from plait_controlplane.settings import Settings
from plait_controlplane.sources.history import Generation, what_changed
from plait_controlplane.sources.lastgood import Settled, Verdict, settle
from plait_controlplane.sources.source import Source, Unreadable
from plait_controlplane.status.proxies import Proxies
from plait_controlplane.status.writer import Told
from plait_controlplane.translate.everything import translate
from plait_controlplane.translate.memo import Memo
from plait_controlplane.translate.names import full_name
from plait_controlplane.translate.workload import Listeners

LOG = logging.getLogger(__name__)
TRACER = trace.get_tracer(__name__)
METER = metrics.get_meter(__name__)
GENERATIONS = METER.create_counter("plait_generations_total", description="Generations put in force.")
APPLY_SECONDS = METER.create_histogram("plait_apply_seconds", "s", "From reading the source to waking the streams.")

# The signer is told again and again: it may have been restarted, and a root may have been added or removed.
TELL_SECONDS = 2.0

# How soon files are read again that could not be read, where nothing tells of their change.
REREAD_SECONDS = 0.5

# How soon plugins are asked again about what they could not judge.
REJUDGE_SECONDS = 2.0


class ControlPlane:
    """Everything of the discovery process but the API. Use: `start`, `run`, later `stop`."""

    def __init__(self, settings: Settings, source: Source, timing: Timing | None = None) -> None:
        self.settings = settings
        self.source = source
        self.proxies = Proxies()
        self.signer = Client(settings.signer_socket)
        plugins = HooksClient(settings.hooks_socket) if settings.hooks else None
        self.hooks = Hooks(plugins, settings.state / "discovered.json")
        self.roots: list[x509.Certificate] = []
        self._timing = timing or Timing()
        self.generation: Generation = source.last()
        self.settled = Settled(self.generation.world)
        self.listeners: Mapping[str, Listeners] = {}
        self._unreadable = ""
        self._memo = Memo()
        self._unsettled = False
        self._publisher: Publisher | None = None
        self._identity: ServerIdentity | None = None
        self._server: DiscoveryServer | None = None
        self._applying = asyncio.Lock()
        self._following = asyncio.Lock()

    @property
    def publication(self) -> Publication:
        """What proxies are told now."""
        if self._publisher is None:
            raise RuntimeError("asked before the start")
        return self._publisher.current

    async def start(self) -> None:
        """Reads the source, gets a leaf, serves."""
        await self.source.start()
        await self.hooks.start()
        self.settled = await self._read_first()
        self.roots = await self._tell_until_heard()
        await self.apply(self.settled)
        self._identity = ServerIdentity(await self.signer.own(), clients=True)
        told = StreamHooks(self._reached, self._overtake)
        watch = Watch(self._published(), self.proxies, identify, self._timing, told)
        self._server = DiscoveryServer(watch, self.settings.discovery, self._identity.credentials())
        await self._server.start()

    async def run(self) -> None:
        """Follows the source and the signer until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_source())
            tasks.create_task(self._follow_signer())
            tasks.create_task(self._follow_hooks())
            tasks.create_task(self._ask_hooks_again())

    async def stop(self) -> None:
        """Ends the streams."""
        if self._server is not None:
            await self._server.stop()
        await self.signer.close()
        await self.hooks.stop()
        await self.source.stop()

    def told(self) -> Told:
        """For the status of objects."""
        return Told(self.settled, self.publication, tuple(self.proxies.all()))

    def spec(self) -> MeshSpec:
        """The Mesh in force."""
        mesh = self.settled.world.mesh()
        return mesh.spec if mesh else MeshSpec()

    async def apply(self, settled: Settled | None = None, why: str = "the mesh's own settings changed") -> None:
        """Translates what is in force and, when proxies would see a difference, makes it the next generation.

        Without `settled` the same objects are translated again; `why` is told to people where no object changed.
        """
        began = time.monotonic()
        async with self._applying:
            settled = settled or self.settled
            found = replace(settled.world, discovered=self.hooks.discovered)
            settled = replace(settled, world=found) if self.hooks.discovered != settled.world.discovered else settled
            with TRACER.start_as_current_span("apply") as span:
                before = self.generation
                listeners, resources = await asyncio.to_thread(self._translate, settled)
                digest = digest_of(resources)
                span.set_attribute("resources", len(resources))
                change = what_changed(before.world, settled.world) or why
                changed = digest != before.digest
                now = time.time()
                number = self.source.number(before.number)
                after = Generation(number, digest, now, change, settled.world) if changed else before
                after = replace(after, digest=digest, world=settled.world)
                if changed or _data(before) != _data(after):
                    await self.source.keep(after, settled)
                self.generation, self.settled, self.listeners = after, settled, listeners
                if changed or self._publisher is None:
                    self._publish(after, resources)
                    APPLY_SECONDS.record(time.monotonic() - began)

    def _publish(self, generation: Generation, resources: dict[Key, resource_pb2.Resource]) -> None:
        with TRACER.start_as_current_span("publish", attributes={"generation": generation.number}):
            before = self._publisher.current if self._publisher else None
            publication = publish(generation.number, resources, before)
            if self._publisher is None:
                self._publisher = Publisher(publication)
            else:
                self._publisher.publish(publication)
        GENERATIONS.add(1)
        LOG.info("generation=%d resources=%d: %s", generation.number, len(resources), generation.change)

    def _published(self) -> Publisher:
        if self._publisher is None:
            raise RuntimeError("nothing was applied yet")
        return self._publisher

    def _translate(self, settled: Settled) -> tuple[dict[str, Listeners], dict[Key, resource_pb2.Resource]]:
        listeners = self.source.listeners(settled.world)
        return listeners, resources_of(translate(settled.world, listeners, self._memo), der(self.roots))

    async def _reached(self, workloads: tuple[str, ...], address: str) -> None:
        if await self.source.reached(workloads, address):
            await self.apply(why=f"{', '.join(workloads)} said to be reached at {address}")

    async def _overtake(self, generation: int) -> bool:
        """A proxy has a higher number, from another replica: True when it stands for nothing that we have not seen."""
        async with self._applying:
            if not self.source.covers(generation):
                return False
            if generation > self.generation.number:
                self.generation = replace(self.generation, number=generation)
                self._publish(self.generation, dict(self.publication.resources))
            return True

    async def _read_first(self) -> Settled:
        """Where nothing ever was in force every file must be readable: it may hold what denies."""
        settled = await self._read()
        if self.generation.world.objects:
            return settled
        waiting = ""
        while missing := self._unreadable or settled.unreadable() or self.hooks.unjudged():
            if missing != waiting:
                LOG.error("%s: nothing is served before it can be read", missing)
            waiting = missing
            self.settled = Settled(verdicts=settled.verdicts)  # told, and not in force
            await asyncio.sleep(REREAD_SECONDS)
            settled = await self._read()
        return settled

    async def _read(self) -> Settled:
        """What is in force now; the same as before when the source cannot be read."""
        try:
            reading = await self.source.read()
        except Unreadable as error:
            if str(error) != self._unreadable:
                LOG.error("%s; what is in force stays", error)
            self._unreadable = str(error)
            return self.settled
        self._unreadable, self._unsettled = "", reading.unsettled
        reviewed = await self.hooks.review(reading.world)
        problems, broken = [*reading.problems, *reviewed.problems], [*reading.broken, *reviewed.broken]
        settled = await asyncio.to_thread(settle, self.settled, reviewed.world, problems, broken)
        settled = replace(settled, seen=reading.seen)
        told = set(self.settled.verdicts)
        for verdict in settled.verdicts:
            if verdict.state != "Accepted" and verdict not in told:
                LOG.warning("%s", described(verdict))
        return settled

    async def _follow_source(self) -> None:
        async for _ in self.source.changes():
            await self._follow_change()
            while self._unsettled:  # nothing tells when a writer has ended
                await asyncio.sleep(REREAD_SECONDS)
                await self._follow_change()

    async def _follow_change(self) -> None:
        try:
            async with self._following:  # what was read later is applied later
                await self.apply(await self._read())
        except Exception:
            # Whatever is wrong with our own code, proxies keep what they have and the next change is read again.
            LOG.exception("a change could not be applied; generation %d stays", self.generation.number)
        else:
            await self._tell_quietly()

    async def _follow_hooks(self) -> None:
        async for change in self.hooks.changes():
            if change.anew:
                await self._follow_change()
                continue
            try:
                await self.apply(why=change.why)
            except Exception:
                LOG.exception(
                    "%s, and it could not be applied; generation %d stays", change.why, self.generation.number
                )

    async def _ask_hooks_again(self) -> None:
        while True:
            await asyncio.sleep(REJUDGE_SECONDS)
            if self.hooks.is_short:
                await self._follow_change()

    async def _follow_signer(self) -> None:
        while True:
            await asyncio.sleep(TELL_SECONDS)
            await self._tell_quietly()
            if self._identity is not None and datetime.now(UTC) >= self._identity.pair.half_life:
                await self._renew(self._identity)

    async def _renew(self, identity: ServerIdentity) -> None:
        try:
            identity.replace(await self.signer.own())
        except Away as error:
            LOG.warning("own leaf not renewed, it ends %s: %s", identity.pair.chain[0].not_valid_after_utc, error)

    async def _tell_quietly(self) -> None:
        try:
            roots = await self._tell()
        except Away as error:
            LOG.warning("%s", error)
            return
        identity = self._identity
        if identity is not None:
            named = identity_of(identity.pair.chain[0])
            if roots != self.roots or named != str(control_plane(self.spec().trust_domain)):
                await self._renew(identity)
        if roots != self.roots:
            self.roots = roots
            await self.apply()

    async def _tell_until_heard(self) -> list[x509.Certificate]:
        while True:
            try:
                return await self._tell()
            except Away as error:
                LOG.warning("%s", error)
                await asyncio.sleep(TELL_SECONDS)

    async def _tell(self) -> list[x509.Certificate]:
        spec = self.spec()
        workloads = self.settled.world.workloads
        accounts = {full_name(workload.metadata): workload.spec.service_account for workload in workloads}
        return await self.signer.tell(Mesh(spec.trust_domain, spec.certificates.lifetime, accounts))


def identify(pem: bytes) -> Peer:
    """Who a certificate names; that a trusted root signed it was checked by the handshake."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        return Peer(identity_of(certificate), certificate.not_valid_after_utc)
    except (ValueError, BadName) as error:
        raise Stranger(f"the certificate names nobody: {error}") from error


def digest_of(resources: Mapping[Key, resource_pb2.Resource]) -> str:
    """Equal when proxies would see no difference."""
    whole = hashlib.sha256()
    for (kind, name), one in sorted(resources.items()):
        whole.update(f"{kind} {name} ".encode() + one.version)
    return whole.hexdigest()


def described(verdict: Verdict) -> str:
    """One line of log."""
    name = "/".join(part for part in (verdict.namespace, verdict.name) if part)
    first = verdict.problems[0] if verdict.problems else None
    place = f"{first.file}:{first.line}:{first.column} " if first and first.line else ""
    why = f"{place}{first.path} {first.message}" if first else ""
    return f"{verdict.kind} {name} {verdict.state}: {why}"


def _data(generation: Generation) -> dict[object, object]:
    return {key: (stored.file, stored.document.data) for key, stored in generation.world.objects.items()}
