"""One proxy's stream without I/O: what it holds, what it asked for, and what to send next. Driven by `stream`.

One change set is under way at a time: what changes meanwhile joins the next one, and a nack means that the state before
it is still in force.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from plait_sdk.contracts import discovery_pb2, plugin_pb2, resource_pb2

from plait_controlplane.interest.publication import Key, Publication
from plait_controlplane.interest.wanted import wanted
from plait_controlplane.status.proxies import PluginState, ProxyState, Rejection

# A proxy that calls more destinations than this within an hour is no sidecar but a crawler or a bug.
DESTINATIONS = 10_000
LONGEST_DESTINATION = 512
# A node of a cluster has some hundred workloads, and each of them a handful of plugins.
PLUGINS = 10_000
LONGEST_REASON = 4096
STATES: dict[int, Literal["Loading", "Live", "Failed"]] = {
    plugin_pb2.PLUGIN_STATE_LOADING: "Loading",
    plugin_pb2.PLUGIN_STATE_LIVE: "Live",
    plugin_pb2.PLUGIN_STATE_FAILED: "Failed",
}
CHANGE_SET_TAG = bytes([discovery_pb2.WatchResponse.CHANGE_SET_FIELD_NUMBER << 3 | 2])


class ProtocolError(Exception):
    """The proxy broke the contract; its stream ends with this reason."""


@dataclass(frozen=True)
class _State:
    """What the proxy has in force."""

    held: dict[Key, bytes]
    known: frozenset[str]
    unknown: frozenset[str]

    def unanswered(self, destinations: frozenset[str]) -> "_State":
        """The same with no answer given to these."""
        return replace(self, known=self.known - destinations, unknown=self.unknown - destinations)


@dataclass(frozen=True)
class _Pending:
    nonce: int
    generation: int
    after: _State
    touched: frozenset[Key]


class Subscription:
    """Use: `next` until it returns None; again after every request and every publication."""

    def __init__(self, hello: discovery_pb2.Hello, state: ProxyState) -> None:
        self.workloads = tuple(hello.workloads)
        self.status = state
        held: dict[Key, bytes] = {(one.kind, one.name): one.version for one in hello.held}
        self._in_force = _State(held, frozenset(), frozenset())
        state.acked = state.sent = held
        self._destinations: set[str] = set()
        self._pending: _Pending | None = None
        self._nonce = 0
        self._told = 0
        # After a nack the same thing is not sent again until something is different.
        self._refused: tuple[int, frozenset[str]] | None = None
        self._subscribe(hello.destinations)
        state.generation = hello.generation

    @property
    def waiting(self) -> bool:
        """Whether an answer of the proxy is outstanding."""
        return self._pending is not None

    def receive(self, request: discovery_pb2.WatchRequest) -> None:
        """Takes a request other than Hello; raises ProtocolError."""
        match request.WhichOneof("message"):
            case "subscribe":
                self._subscribe(request.subscribe.destinations)
            case "unsubscribe":
                self._unsubscribe(request.unsubscribe.destinations)
            case "ack":
                self._ack(request.ack)
            case "nack":
                self._nack(request.nack)
            case "plugins":
                self._plugins(request.plugins)
            case "hello":
                raise ProtocolError("Hello comes once, first")
            case None:
                raise ProtocolError("an empty request, or one of a newer protocol")

    def next(self, publication: Publication) -> bytes | None:
        """The serialised message to send now, None when there is nothing to say."""
        if self._pending is not None:
            return None
        if self._refused == (publication.generation, frozenset(self._destinations)):
            return None
        message = self._change_set(publication)
        if message is None and publication.generation != self._told:
            return self._current(publication.generation)
        return message

    def heartbeat(self) -> bytes:
        """The generation that this proxy serves, for the one that comes every few seconds."""
        return _heartbeat(self.status.generation)

    def _current(self, generation: int) -> bytes:
        self._told = generation
        self.status.generation, self.status.settled = generation, True
        return _heartbeat(generation)

    def _change_set(self, publication: Publication) -> bytes | None:
        want = wanted(publication, self.workloads, self._destinations)
        before = self._in_force
        versions = {key: publication.resources[key].version for key in want.keys}
        upserts = [key for key in want.keys if before.held.get(key) != versions[key]]
        removals = [key for key in before.held if key not in versions]
        known, unknown = want.known - before.known, want.unknown - before.unknown
        after = _State(versions, want.known, want.unknown)
        if not (upserts or removals or known or unknown):
            self._in_force = after
            self.status.acked = self.status.sent = versions
            return None
        self._nonce += 1
        self._told = publication.generation
        self._pending = _Pending(self._nonce, publication.generation, after, frozenset([*upserts, *removals]))
        self.status.settled, self.status.sent = False, versions
        head = discovery_pb2.ChangeSet(
            nonce=self._nonce,
            generation=publication.generation,
            removals=[resource_pb2.ResourceKey(kind=kind, name=name) for kind, name in removals],
            known=sorted(known),
            unknown=sorted(unknown),
        )
        body = b"".join([head.SerializeToString(), *(publication.wire[key] for key in upserts)])
        return CHANGE_SET_TAG + _varint(len(body)) + body

    def _subscribe(self, destinations: Iterable[str]) -> None:
        for destination in destinations:
            if not destination or len(destination) > LONGEST_DESTINATION:
                raise ProtocolError(f"a destination of {len(destination)} characters is none")
            self._destinations.add(destination)
        if len(self._destinations) > DESTINATIONS:
            raise ProtocolError(f"more than {DESTINATIONS} destinations")

    def _unsubscribe(self, destinations: Iterable[str]) -> None:
        """Forgets what was answered, also in what is under way: asked for again, it is answered again."""
        left = frozenset(destinations)
        self._destinations -= left
        self._in_force = self._in_force.unanswered(left)
        if self._pending is not None:
            self._pending = replace(self._pending, after=self._pending.after.unanswered(left))

    def _ack(self, ack: discovery_pb2.Ack) -> None:
        pending = self._answered(ack.nonce)
        self._in_force = pending.after
        self.status.acked = pending.after.held
        self._refused = None
        self.status.generation, self.status.settled = pending.generation, True
        rejections = self.status.rejections
        for kind, name in [*((_kind(kind), name) for kind, name in pending.touched), ("", "")]:
            rejections.pop((kind, name), None)
        for one in ack.rejections:
            kind = _kind(one.resource.kind)
            found = Rejection(kind, one.resource.name, one.path, one.reason, pending.generation)
            rejections[kind, one.resource.name] = found

    def _nack(self, nack: discovery_pb2.Nack) -> None:
        pending = self._answered(nack.nonce)
        self._refused = (pending.generation, frozenset(self._destinations))
        self.status.rejections["", ""] = Rejection("", "", "", nack.reason, pending.generation)

    def _plugins(self, reports: plugin_pb2.PluginReports) -> None:
        if len(reports.plugins) > PLUGINS:
            raise ProtocolError(f"more than {PLUGINS} plugins")
        self.status.plugins = tuple(
            PluginState(one.name, one.version, state, one.reason[-LONGEST_REASON:], one.earlier_serves)
            for one in reports.plugins
            if (state := STATES.get(one.state)) is not None
        )

    def _answered(self, nonce: int) -> _Pending:
        pending, self._pending = self._pending, None
        if pending is None or pending.nonce != nonce:
            raise ProtocolError(f"an answer to nonce {nonce}, which is not outstanding")
        return pending


def _kind(kind: resource_pb2.ResourceKind.ValueType) -> str:
    """ "ROUTE" -> as people write it: "Route"."""
    names = resource_pb2.ResourceKind.values()
    if kind not in names:
        return str(kind)
    return resource_pb2.ResourceKind.Name(kind).removeprefix("RESOURCE_KIND_").capitalize()


def _heartbeat(generation: int) -> bytes:
    message = discovery_pb2.WatchResponse(heartbeat=discovery_pb2.Heartbeat(generation=generation))
    return message.SerializeToString()


def _varint(number: int) -> bytes:
    """A length as protobuf writes it."""
    data = bytearray()
    while number > 127:
        data.append(number & 127 | 128)
        number >>= 7
    data.append(number)
    return bytes(data)
