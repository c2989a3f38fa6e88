"""The provider: its configuration, its keys, and the exchange of a code for claims that it signed. Used by `plugin`.

Everything that it sends is checked before anybody believes it: the issuer, the audience, the nonce, the signature and
the time (OpenID Connect Core 3.1.3.7).
"""

import time
from typing import Any

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from plait_oidc.config import Config

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]
"""Of signatures; never those with a shared secret, and never none."""
LEEWAY_SECONDS = 60
KEYS_SECONDS = 3600
"""How long its keys are believed; an unknown key is asked for at most once a minute."""
AGAIN_SECONDS = 60


class Refused(ValueError):
    """The provider, or who pretends to be it, sent something that is not believed."""


class Provider:
    """An OpenID provider. Use: `authorization_endpoint`, `claims`."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._client = httpx.AsyncClient(timeout=config.timeout_seconds, trust_env=False)
        self._facts: dict[str, Any] = {}
        self._keys: KeySet | None = None
        self._keys_at = 0.0

    async def facts(self) -> dict[str, Any]:
        """Its configuration, asked for once."""
        if not self._facts:
            issuer = self._config.issuer.rstrip("/")
            response = await self._client.get(f"{issuer}/.well-known/openid-configuration")
            response.raise_for_status()
            found = response.json()
            if str(found.get("issuer", "")).rstrip("/") != issuer:
                raise Refused(f"the configuration below {issuer} says that its issuer is {found.get('issuer')!r}")
            self._facts = found
        return self._facts

    async def claims(self, code: str, verifier: str, nonce: str) -> dict[str, Any]:
        """Who logged in.

        Raises:
            Refused: the code is not good, or the token is not to be believed.
        """
        facts, config = await self.facts(), self._config
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": config.redirect_uri,
            "code_verifier": verifier,
            "client_id": config.client_id,
        }
        auth = httpx.BasicAuth(config.client_id, config.client_secret) if config.client_secret else None
        response = await self._client.post(facts["token_endpoint"], data=form, auth=auth or httpx.USE_CLIENT_DEFAULT)
        if response.status_code in (400, 401):
            raise Refused(f"the provider refused the code: {response.text[:200]}")
        response.raise_for_status()
        return await self._believed(str(response.json().get("id_token", "")), nonce)

    async def _believed(self, token: str, nonce: str) -> dict[str, Any]:
        for fresh in (False, True):
            keys = await self._key_set(fresh)
            try:
                claims = dict(jwt.decode(token, keys, algorithms=ALGORITHMS).claims)
                break
            except (JoseError, ValueError) as error:
                # Its keys may have changed since.
                if fresh:
                    raise Refused(f"the token is not signed by the provider: {error}") from error
        checks = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": self._facts["issuer"]},
            aud={"essential": True, "value": self._config.client_id},
            exp={"essential": True},
            sub={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        try:
            checks.validate(claims)
        except JoseError as error:
            raise Refused(f"the token is not for us: {error}") from error
        if claims.get("azp", self._config.client_id) != self._config.client_id:
            raise Refused("the token was made for another client")
        return claims

    async def _key_set(self, fresh: bool) -> KeySet:
        age = time.monotonic() - self._keys_at
        if self._keys is None or age > (AGAIN_SECONDS if fresh else KEYS_SECONDS):
            response = await self._client.get((await self.facts())["jwks_uri"])
            response.raise_for_status()
            self._keys, self._keys_at = KeySet.import_key_set(response.json()), time.monotonic()
        return self._keys
