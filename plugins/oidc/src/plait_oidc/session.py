"""What a browser keeps for us, encrypted and authenticated, so that nothing is kept here: a login or a session.

Used by `plugin`. One cookie for both: a login ends when its session begins.
"""

import json
from typing import Any

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

HEADER = {"alg": "dir", "enc": "A256GCM"}
LONGEST = 3900
"""Characters of a cookie that browsers keep."""


class TooLong(ValueError):
    """The claims do not fit into a cookie."""


class Sealer:
    """Seals and opens with the key of the configuration."""

    def __init__(self, key: str) -> None:
        self._key = OctKey.import_key({"kty": "oct", "k": key})

    def seal(self, kind: str, values: dict[str, Any], until: float) -> str:
        """A cookie's value. `until`: seconds since 1970.

        Raises:
            TooLong: browsers would not keep it.
        """
        text = json.dumps({"kind": kind, "until": int(until), **values}, separators=(",", ":"))
        sealed = jwe.encrypt_compact(HEADER, text.encode(), self._key, algorithms=["dir", "A256GCM"])
        if len(sealed) > LONGEST:
            raise TooLong(
                f"the claims make a cookie of {len(sealed)} characters, {LONGEST} are kept: name fewer in `headers`"
            )
        return sealed

    def open(self, kind: str, sealed: str, now: float) -> dict[str, Any] | None:
        """What was sealed; None when it is nothing of ours, of another kind, or over."""
        try:
            values = json.loads(jwe.decrypt_compact(sealed, self._key, algorithms=["dir", "A256GCM"]).plaintext or b"")
        except (JoseError, ValueError):
            return None
        return values if values.get("kind") == kind and values.get("until", 0) > now else None
