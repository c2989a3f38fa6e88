"""The plugin: browsers log in at an OpenID provider, and the service is told who they are.

Loaded by a plugin worker through the entry point `oidc`. The flow is the authorization code with PKCE; the session is
an encrypted cookie, so that any proxy can open it. Nothing of a login is believed that this browser did not begin.
"""

import base64
import hashlib
import secrets
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlencode

import plait_sdk as plait

from plait_oidc.config import Config
from plait_oidc.provider import Provider, Refused
from plait_oidc.session import Sealer

LOGIN, SESSION = "login", "session"


def _written(config: Config) -> set[str]:
    return {"cookie", *config.headers.values()}


class Oidc(plait.Plugin[Config]):
    """Lets those in who logged in at the provider."""

    reads = plait.Reads(method=True, path=True, query=True, headers={"accept", "cookie"})
    writes = plait.Writes(headers=_written)
    uses_network = True

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._sealer = Sealer(config.cookie_key)
        self._clear = f"{config.cookie}=; Max-Age=0; Path=/"

    @plait.hookimpl
    async def worker_started(self) -> None:
        """Makes the client: in the worker, since connections are no zygote's to share."""
        self._provider = Provider(self.config)

    @plait.hookimpl
    async def authenticate(self, request: plait.Request) -> Mapping[str, Any] | plait.Verdict | None:
        """Claims of the session, or the way to one."""
        config = self.config
        for name in config.headers.values():
            if name in request.headers:
                # Only we say who it is.
                del request.headers[name]
        sealed = self._take_cookie(request)
        if request.path == config.callback_path:
            return await self._back(request, sealed)
        if request.path == config.logout_path:
            return await self._logout()
        session = self._sealer.open(SESSION, sealed, time.time())
        if session is not None:
            return self._told(request, session["claims"])
        if request.path in config.open_paths:
            return None
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            return await self._login(request)
        return None if config.others == "Pass" else plait.Reply(401, {"content-type": "text/plain"}, "log in first\n")

    def _told(self, request: plait.Request, claims: Mapping[str, Any]) -> Mapping[str, Any]:
        for claim, name in self.config.headers.items():
            if claim in claims:
                request.headers[name] = str(claims[claim])
        return claims

    async def _login(self, request: plait.Request) -> plait.Reply:
        """Sends the browser to the provider."""
        config = self.config
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        target = request.path + (f"?{request.query}" if request.query else "")
        kept = {"state": state, "nonce": nonce, "verifier": verifier, "target": target}
        asked = {
            "response_type": "code",
            "client_id": config.client_id,
            "redirect_uri": config.redirect_uri,
            "scope": " ".join(config.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge(verifier),
            "code_challenge_method": "S256",
        }
        endpoint = (await self._provider.facts())["authorization_endpoint"]
        cookie = self._cookie(self._sealer.seal(LOGIN, kept, time.time() + config.login_seconds), config.login_seconds)
        return found(f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}", cookie)

    async def _back(self, request: plait.Request, sealed: str) -> plait.Reply:
        """The browser comes back with a code."""
        config = self.config
        told = {name: values[0] for name, values in parse_qs(request.query).items() if len(values) == 1}
        login = self._sealer.open(LOGIN, sealed, time.time())
        if login is None or not secrets.compare_digest(told.get("state", "").encode(), login["state"].encode()):
            return failed("this browser began no such login, or too long ago; open the page again", self._clear)
        if "code" not in told:
            return failed(f"the provider let nobody in: {told.get('error', 'no code')}", self._clear)
        try:
            claims = await self._provider.claims(told["code"], login["verifier"], login["nonce"])
        except Refused as error:
            print(f"a login was refused: {error}")
            return failed("the provider's answer is not to be believed; try again", self._clear)
        kept = {claim: claims[claim] for claim in {"sub", *config.headers} if claim in claims}
        until = time.time() + config.session_seconds
        session = self._cookie(self._sealer.seal(SESSION, {"claims": kept}, until), config.session_seconds)
        return found(login["target"], session)

    async def _logout(self) -> plait.Reply:
        end = (await self._provider.facts()).get("end_session_endpoint")
        if not end:
            return plait.Reply(200, {"content-type": "text/plain", "set-cookie": self._clear}, "logged out\n")
        query = urlencode(
            {"client_id": self.config.client_id, "post_logout_redirect_uri": f"{self.config.public_url}/"}
        )
        return found(f"{end}?{query}", self._clear)

    def _take_cookie(self, request: plait.Request) -> str:
        """Our cookie, which the service does not get to see."""
        ours, others = "", []
        for line in request.headers.all("cookie"):
            for pair in line.split(";"):
                name, _, value = pair.strip().partition("=")
                if name == self.config.cookie:
                    ours = value
                elif name:
                    others.append(pair.strip())
        if ours:
            if others:
                request.headers["cookie"] = "; ".join(others)
            else:
                del request.headers["cookie"]
        return ours

    def _cookie(self, sealed: str, seconds: int) -> str:
        secure = "; Secure" if self.config.public_url.startswith("https:") else ""
        return f"{self.config.cookie}={sealed}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Lax{secure}"


def challenge(verifier: str) -> str:
    """What proves later that whoever brings the code began the login (RFC 7636, S256)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def found(location: str, cookie: str) -> plait.Reply:
    """Sends a browser elsewhere."""
    return plait.Reply(302, {"location": location, "set-cookie": cookie, "cache-control": "no-store"})


def failed(why: str, cookie: str) -> plait.Reply:
    """A login that did not come to its end."""
    return plait.Reply(
        400, {"content-type": "text/plain", "set-cookie": cookie, "cache-control": "no-store"}, f"{why}\n"
    )
