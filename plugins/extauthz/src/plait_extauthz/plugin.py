"""The plugin: asks an authorizer about each request and does what it says.

Loaded by a plugin worker through the entry point `extauthz`. An authorizer that is away, late or unintelligible is an
error of the plugin: `onError` and `onTimeout` of the Plugin object decide, and refuse unless told otherwise.
"""

import plait_sdk as plait

from plait_extauthz.config import Config
from plait_extauthz.question import Answer, Authorizer, Question, named


def _read(config: Config) -> set[str]:
    return set(config.headers)


def _written(config: Config) -> set[str]:
    return set(config.allowed_upstream_headers)


class ExtAuthz(plait.Plugin[Config]):
    """Lets those requests pass that an authorizer allows."""

    reads = plait.Reads(method=True, path=True, query=True, authority=True, peer=True, destination=True, headers=_read)
    writes = plait.Writes(headers=_written)
    uses_network = True

    @plait.hookimpl
    async def worker_started(self) -> None:
        """Makes the client: in the worker, since connections are no zygote's to share."""
        self._authorizer = authorizer(self.config)

    @plait.hookimpl
    async def authorize(self, request: plait.Request, peer: plait.Peer) -> plait.Verdict | None:
        """Asks, and answers in the authorizer's name."""
        answer = await self._authorizer.ask(self._question(request, peer))
        if answer.allows:
            self._change(request, answer)
            return None
        headers = dict(named(answer.headers, self.config.allowed_client_headers))
        if not headers and not answer.body and answer.status >= 400:
            return plait.Deny("the authorizer refused", answer.status)
        return plait.Reply(answer.status, headers, answer.body)

    def _question(self, request: plait.Request, peer: plait.Peer) -> Question:
        present = ((name.lower(), request.headers.get(name)) for name in self.config.headers)
        return Question(
            method=request.method,
            path=request.path,
            query=request.query,
            authority=request.authority,
            scheme=request.scheme,
            headers={name: value for name, value in present if value is not None},
            identity=peer.identity or "",
            address=peer.address or "",
            service=request.destination.service or "",
            request_id=request.id or "",
            context=self.config.context,
        )

    def _change(self, request: plait.Request, answer: Answer) -> None:
        # What a caller wrote in the authorizer's name is never passed on.
        for name in self.config.allowed_upstream_headers:
            if name in request.headers:
                del request.headers[name]
        for name, value in named(answer.headers, self.config.allowed_upstream_headers):
            request.headers.add(name, value)


def authorizer(config: Config) -> Authorizer:
    """The way to ask that the configuration names; each loads its library only when it is wanted."""
    if config.protocol == "GRPC":
        from plait_extauthz.grpc import Grpc

        return Grpc(config.url, config.timeout_seconds)
    if config.protocol == "OPA":
        from plait_extauthz.opa import Opa

        return Opa(config.url, config.timeout_seconds)
    from plait_extauthz.http import Http

    return Http(config.url, config.timeout_seconds)
