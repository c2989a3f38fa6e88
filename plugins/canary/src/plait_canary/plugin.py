"""The plugin: a share of the users, and always the same users, goes to a new backend.

Loaded by a plugin worker through the entry point `canary`. Weights of a route split requests; this splits people. The
same user is on the same side in every proxy and after every restart, since nothing is kept: the side follows from a
hash. A larger share keeps those who were in the smaller one.
"""

import hashlib
import secrets
from http.cookies import CookieError, SimpleCookie

import plait_sdk as plait
from pydantic import Field, model_validator

COOKIE_BYTES = 12
"""Random bytes of the cookie that a user gets who has none."""
NOTE = "canary.cookie"
PARTS = 2**64


class Config(plait.PluginConfig):
    """What a user writes in `spec.config`."""

    backend: str = Field(description="the backendRef of the rule that gets the share, with or without namespace")
    percent: float = Field(description="of the users, 0 to 100", ge=0, le=100)
    header: str = Field("", description="the request header that names the user; a request without it is no user's")
    cookie: str = Field("", description="the cookie that names the user; who has none is given one")
    cookie_max_age_seconds: int = Field(30 * 24 * 3600, description="how long the cookie is kept", gt=0)
    salt: str = Field("", description="another salt draws other users; releases with one salt draw the same")
    force_header: str = Field("x-canary", description='a header with "always" or "never" decides by itself; "" = none')

    @model_validator(mode="after")
    def _names_users(self) -> "Config":
        if bool(self.header) == bool(self.cookie):
            raise ValueError("give either `header` or `cookie`: it says who a user is")
        return self


def _read(config: Config) -> set[str]:
    return {config.header or "cookie", config.force_header} - {""}


def in_share(user: str, percent: float, salt: str = "") -> bool:
    """Whether a user is among the `percent` of all. Even: of many users that share is taken, to within chance."""
    drawn = hashlib.blake2b(user.encode("utf-8", "surrogateescape"), digest_size=8, key=salt.encode()[:64]).digest()
    return int.from_bytes(drawn) < percent / 100 * PARTS


class Canary(plait.Plugin[Config]):
    """Sends a share of the users to a new backend, each always to the same side."""

    reads = plait.Reads(headers=_read)
    writes = plait.Writes(response_headers={"set-cookie"})

    @plait.hookimpl
    def choose_backend(self, request: plait.Request, candidates: plait.Candidates) -> str | None:
        """The new backend for users of the share; None leaves all others to the route's weights."""
        canary = candidates.named(self.config.backend)
        if canary is None:
            raise LookupError(
                f"the rule has no backend {self.config.backend!r}; it has {', '.join(candidates) or 'none'}"
            )
        wish = self._wish(request)
        if wish is not None:
            return canary if wish == "always" else self._other(canary, candidates)
        user = self._user(request)
        if user is None:
            return self._other(canary, candidates)
        return canary if in_share(user, self.config.percent, self.config.salt) else self._other(canary, candidates)

    @plait.hookimpl
    def on_response(self, request: plait.Request, response: plait.Response) -> None:
        """Gives the cookie to who had none, so that the next request finds the same side."""
        cookie = request.attributes.get(NOTE)
        if cookie:
            age = self.config.cookie_max_age_seconds
            response.headers.add(
                "set-cookie", f"{self.config.cookie}={cookie}; Max-Age={age}; Path=/; HttpOnly; SameSite=Lax"
            )

    def _wish(self, request: plait.Request) -> str | None:
        said = request.headers.get(self.config.force_header) if self.config.force_header else None
        return said if said in ("always", "never") else None

    def _user(self, request: plait.Request) -> str | None:
        if self.config.header:
            return request.headers.get(self.config.header) or None
        cookies = SimpleCookie()
        for line in request.headers.all("cookie"):
            try:
                cookies.load(line)
            except CookieError:
                # One that nobody can read is none.
                continue
        if self.config.cookie in cookies:
            return str(cookies[self.config.cookie].value)
        given = secrets.token_urlsafe(COOKIE_BYTES)
        request.attributes[NOTE] = given
        return given

    @staticmethod
    def _other(canary: str, candidates: plait.Candidates) -> str | None:
        """Whoever is not in the share must not come to the new backend by its weight either."""
        others = [name for name in candidates if name != canary]
        return others[0] if len(others) == 1 else None
