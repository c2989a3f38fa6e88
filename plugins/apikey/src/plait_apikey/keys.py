"""Keys: what is kept of one, how it is recognised, how a new one is made. Used by `plugin`; `plait-apikey` makes one.

A key holds 256 random bits, so one round of SHA-256 is enough: nobody guesses it, and a slow hash as for passwords
would let strangers spend the processor.
"""

import hashlib
import secrets
import sys
from datetime import datetime

import plait_sdk as plait
from pydantic import AwareDatetime, Field

PREFIX = "plait_"
"""Lets scanners of source code find a key that somebody committed."""


class Key(plait.PluginConfig):
    """A key, without what would let one use it."""

    name: str = Field(description="who holds it; for logs and the backend", pattern=r"^[A-Za-z0-9._@-]{1,128}$")
    sha256: str = Field(description="digest of the key, hexadecimal", pattern="^[0-9a-f]{64}$")
    scopes: list[str] = Field(default_factory=list, description="what it opens")
    expires: AwareDatetime | None = Field(None, description="until when it is good, with a time zone; none = for ever")

    def is_over(self, now: datetime) -> bool:
        """Whether its time has come."""
        return self.expires is not None and now >= self.expires


def digest(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def main() -> int:
    """The command `plait-apikey`."""
    return make(sys.argv[1:])


def make(words: list[str]) -> int:
    """Makes a key and prints it once, with the lines for `keys`. Exit code 2 for wrong usage."""
    if not words or words[0].startswith("-"):
        print("usage: plait-apikey NAME [SCOPE ...]      for example: plait-apikey billing orders:read")
        return 2
    name, *scopes = words
    key = PREFIX + secrets.token_urlsafe(32)
    try:
        kept = Key(name=name, sha256=digest(key), scopes=scopes, expires=None)
    except ValueError as error:
        print(f"no key was made: {error}")
        return 2
    print(f"the key, shown this once:  {key}\n\nfor `config.keys`:")
    print(f"- name: {kept.name}\n  sha256: {kept.sha256}\n  scopes: [{', '.join(kept.scopes)}]")
    return 0
