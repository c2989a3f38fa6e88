"""Plugins that look at bodies, trailers and connections; attached by test_bodies.py and test_connections.py."""

import logging

import plait_sdk as plait
from pydantic import Field

PEEK_BYTES = 8


class PeekConfig(plait.PluginConfig):
    """`refuse` is the beginning of a body, either way, that nobody gets."""

    refuse: str = "stop"


class Peeks(plait.Plugin[PeekConfig]):
    """Refuses bodies by how they begin, and says what it saw of the answer."""

    reads = plait.Reads(body=plait.peek(PEEK_BYTES), response_body=plait.peek(PEEK_BYTES))

    @plait.hookimpl
    def on_request_body(self, body: plait.Body) -> plait.Verdict | None:
        """Looks."""
        return self.judged(body, "request")

    @plait.hookimpl
    def on_response_body(self, body: plait.Body) -> plait.Verdict | None:
        """Looks."""
        return self.judged(body, "answer")

    def judged(self, body: plait.Body, which: str) -> plait.Verdict | None:
        if len(body.data) > PEEK_BYTES:
            return plait.Deny(f"saw {len(body.data)} bytes of the {which}", 500)
        refused = body.data.startswith(self.config.refuse.encode())
        return plait.Deny(f"the {which} begins with {self.config.refuse}", 422) if refused else None


class Streams(plait.Plugin[plait.PluginConfig]):
    """Writes every piece in capital letters, both ways, and wants no more when it meets a `!`."""

    reads = plait.Reads(body=plait.stream(), response_body=plait.stream())
    writes = plait.Writes(body=True, response_body=True)

    @plait.hookimpl
    def on_request_body(self, body: plait.Body) -> plait.Verdict | None:
        """Changes it."""
        if b"!" in body.data:
            return plait.Deny("no shouting", 422)
        body.replace(body.data.upper())
        return None

    @plait.hookimpl
    def on_response_body(self, body: plait.Body) -> None:
        """Changes it, and makes it longer."""
        body.replace(body.data.upper() + (b"END" if body.last else b""))


class Reads(plait.Plugin[plait.PluginConfig]):
    """Reads every piece, changes none, and wants no more when it meets a `!`."""

    reads = plait.Reads(body=plait.stream(), response_body=plait.stream())

    @plait.hookimpl
    def on_request_body(self, body: plait.Body) -> plait.Verdict | None:
        """Reads it."""
        return plait.Deny("no shouting", 422) if b"!" in body.data else None

    @plait.hookimpl
    def on_response_body(self, body: plait.Body) -> None:
        """Reads it."""


class Trails(plait.Plugin[plait.PluginConfig]):
    """Checks, changes and adds what follows a body."""

    reads = plait.Reads(trailers=True, response_headers={"x-sum"})
    writes = plait.Writes(response_headers={"x-sum", "x-seal"})

    @plait.hookimpl
    def on_trailers(self, trailers: plait.Headers) -> None:
        """Changes them."""
        trailers["x-seal"] = f"{','.join(sorted(trailers))}={trailers.get('x-sum')}"
        del trailers["x-sum"]


class DoorConfig(plait.PluginConfig):
    """`closed_to` are service accounts."""

    closed_to: list[str] = Field(default_factory=list)


class Door(plait.Plugin[DoorConfig]):
    """Judges connections by who calls and what is called, and tells how they ended."""

    reads = plait.Reads(peer=True, destination=True)

    @plait.hookimpl
    def on_connect(self, peer: plait.Peer, destination: plait.Destination) -> plait.Verdict | None:
        """Lets it in or not."""
        if peer.service_account in self.config.closed_to:
            return plait.Deny(f"{peer.identity} may not call {destination.service}")
        return None

    @plait.hookimpl
    def on_disconnect(self, connection: plait.Connection, outcome: plait.Outcome) -> None:
        """Tells it."""
        told = f"{connection.peer.service_account} {connection.destination.service}"
        logging.getLogger(__name__).info("ended %s in %d out %d", told, outcome.bytes_in, outcome.bytes_out)
