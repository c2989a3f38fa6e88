"""Owns what a hook answers: `Continue`, `Reply` or `Deny`.

Made by authors, read by the worker, which sends it to the proxy. The first verdict of a chain that is not `Continue`
ends it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

OK_RANGE = range(200, 600)


@dataclass(frozen=True, slots=True)
class Continue:
    """Go on with the next plugin, then with the request. Returning None means the same."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer the caller from here; the request never reaches the backend.

    Args:
        status: 200 to 599.
        headers: of the answer; content-length is added by the proxy.
        body: text is sent as UTF-8.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | str = b""

    def __post_init__(self) -> None:
        _check_status(self.status)


@dataclass(frozen=True, slots=True)
class Deny:
    """Refuse the request; it is counted as a refusal of this plugin and told by `plait explain`.

    Args:
        reason: for the caller, the log and `explain`: say no secret in it.
        status: 400 to 599; 403 by default. An answer with headers of its own, such as `www-authenticate`, is a `Reply`.
    """

    reason: str
    status: int = 403

    def __post_init__(self) -> None:
        if not isinstance(self.reason, str) or not self.reason:
            raise ValueError('Deny wants a reason for the caller, such as Deny("no API key")')
        _check_status(self.status)
        if self.status < 400:
            raise ValueError(f"Deny refuses, so its status is 400 to 599, not {self.status}; use Reply for others")


Verdict = Continue | Reply | Deny
"""What a hook of the request path may answer, besides None."""


def _check_status(status: int) -> None:
    if not isinstance(status, int) or status not in OK_RANGE:
        raise ValueError(f"{status!r} is no final status of HTTP: 200 to 599")
