"""What is measured beside Envoy's filters: each does what its Lua, authorizer or processor does, and no more."""

import plait_sdk as plait


class Config(plait.PluginConfig):
    """`header` is the one that is set."""

    header: str = "x-tag"


class Tag(plait.Plugin[Config]):
    """Reads two headers and sets one."""

    reads = plait.Reads(headers={"x-user", "accept-language"})
    writes = plait.Writes(headers=lambda config: {config.header})

    @plait.hookimpl
    def on_request(self, request: plait.Request) -> None:
        """Sets the header."""
        language = request.headers.get("accept-language", "")
        request.headers[self.config.header] = request.headers.get("x-user", "") + language[:2]


class TagAsync(plait.Plugin[Config]):
    """The same in an asynchronous hook that has nothing to wait for."""

    reads = Tag.reads
    writes = Tag.writes

    @plait.hookimpl
    async def on_request(self, request: plait.Request) -> None:
        """Sets the header."""
        language = request.headers.get("accept-language", "")
        request.headers[self.config.header] = request.headers.get("x-user", "") + language[:2]


class Refuse(plait.Plugin[Config]):
    """Lets nobody pass."""

    reads = plait.Reads(headers={"x-user"})

    @plait.hookimpl
    def on_request(self, request: plait.Request) -> plait.Verdict:
        """Refuses."""
        return plait.Deny(f"not {request.headers.get('x-user')}", 403)


class LookAtBody(plait.Plugin[Config]):
    """Looks at the whole body, and refuses one that begins with a tag of XML."""

    reads = plait.Reads(body=plait.buffer(1 << 20))

    @plait.hookimpl
    def on_request_body(self, body: plait.Body) -> plait.Verdict:
        """Looks at it."""
        return plait.Deny("no XML", 415) if body.data[:1] == b"<" else plait.Continue()
