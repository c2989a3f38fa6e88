"""What is asked and what was answered, whatever way it travels. Made by `plugin`, carried by its three ways."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Question:
    """A request, as the authorizer is told of it."""

    method: str
    path: str
    query: str
    authority: str
    scheme: str
    headers: Mapping[str, str]
    identity: str
    address: str
    service: str
    request_id: str
    context: Mapping[str, str]

    @property
    def target(self) -> str:
        """Path and query."""
        return f"{self.path}?{self.query}" if self.query else self.path


@dataclass(frozen=True, slots=True)
class Answer:
    """The decision. `headers` are for the backend when it allows, for the caller when not."""

    allows: bool
    status: int = 403
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


class Authorizer(Protocol):
    """Asks. Raises whatever went wrong on the way: the Plugin's `onError` decides then."""

    async def ask(self, question: Question) -> Answer:
        """One question, one answer."""
        ...


class BadAnswer(ValueError):
    """The authorizer answered what nobody can understand: that lets nothing through."""


def refusing(status: int) -> int:
    """A status with which the caller can be refused; anything else is 403."""
    return status if 400 <= status <= 599 or status in (301, 302, 303, 307, 308) else 403


def named(headers: Iterable[tuple[str, str]], names: Iterable[str]) -> list[tuple[str, str]]:
    """Those of the headers that may pass, in lower case."""
    wanted = {name.lower() for name in names}
    return [(name.lower(), value) for name, value in headers if name.lower() in wanted]
