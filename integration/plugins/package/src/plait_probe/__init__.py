"""Plugins that do on demand what plugins do and should not do; attached by the tests of integration/plugins."""

import time

import plait_sdk as plait


class Config(plait.PluginConfig):
    """`word` is what the probe writes; a word that begins with "bad" is refused when it is loaded."""

    word: str = "one"


class Probe(plait.Plugin[Config]):
    """Sets fields both ways, and does what the field x-do says."""

    reads = plait.Reads(path=True, headers={"x-do"})
    writes = plait.Writes(headers={"x-word", "host"}, response_headers={"x-answered"}, path=True)

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if config.word.startswith("bad"):
            raise ValueError(f"no plugin works with the word {config.word}")

    @plait.hookimpl
    def on_request(self, request: plait.Request) -> plait.Verdict | None:
        """Obeys."""
        request.headers["x-word"] = self.config.word
        match request.headers.get("x-do"):
            case "deny":
                return plait.Deny("not you; never", 401)
            case "reply":
                return plait.Reply(418, {"x-teapot": "yes"}, "short and stout")
            case "raise":
                raise RuntimeError("secret of the plugin")
            case "sleep":
                time.sleep(30)
            case "rewrite":
                request.path = "/rewritten"
            case "admin":
                request.path = "/admin"
        return None

    @plait.hookimpl
    def on_response(self, response: plait.Response) -> None:
        """Says that it saw the answer."""
        response.headers["x-answered"] = self.config.word


class Reader(plait.Plugin[plait.PluginConfig]):
    """Reads whole bodies, and turns them around."""

    reads = plait.Reads(body=plait.buffer(4096), response_body=plait.buffer(65536))
    writes = plait.Writes(body=True, response_body=True)

    @plait.hookimpl
    def on_request_body(self, body: plait.Body) -> plait.Verdict | None:
        """Denies what it is told to."""
        if body.data == b"no":
            return plait.Deny("bad body", 422)
        body.replace(body.data[::-1])
        return None

    @plait.hookimpl
    def on_response_body(self, body: plait.Body) -> None:
        """Makes the answer longer."""
        body.replace(body.data + b"\n")


class Guard(plait.Plugin[plait.PluginConfig]):
    """Lets nobody pass."""

    @plait.hookimpl
    def on_request(self, request: plait.Request) -> plait.Verdict:
        """Refuses."""
        return plait.Deny("closed")


class Steer(plait.Plugin[plait.PluginConfig]):
    """Sends each try where the field x-first says, and tries again as x-again says."""

    reads = plait.Reads(headers={"x-first", "x-again"})
    writes = plait.Writes(response_headers={"x-tries"})

    @plait.hookimpl
    def rank_endpoints(self, request: plait.Request, endpoints: list[str]) -> list[str] | None:
        """The named one first; with "liar" one that is none."""
        first = request.headers.get("x-first")
        return None if first is None else [first]

    @plait.hookimpl
    def retry_decision(self, request: plait.Request, attempt: plait.Attempt) -> bool | None:
        """As it was told."""
        request.attributes["tries"] = f"{attempt.number} {attempt.status} {attempt.reason}"
        said = request.headers.get("x-again")
        return None if said is None else said == "yes"

    @plait.hookimpl
    def on_response(self, request: plait.Request, response: plait.Response) -> None:
        """Tells what the last failed try was."""
        response.headers["x-tries"] = request.attributes.get("tries", "none")
