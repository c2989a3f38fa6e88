"""Owns what a test looks at: one request through a chain, as the backend, the caller and the logs would see it.

Made by the harness; plain values, so that they can be compared and printed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from plait_sdk.config import PluginConfig
from plait_sdk.host.memory import Effect
from plait_sdk.plugin import Plugin
from plait_sdk.verdict import Continue, Deny, Reply


@dataclass(frozen=True, slots=True)
class PluginPart:
    """One plugin of a chain under test: its class, its configuration, what `onError` and `onTimeout` say."""

    plugin: type[Plugin[Any]]
    config: Mapping[str, Any] | PluginConfig | None = None
    name: str = ""
    on_error: str = "closed"
    on_timeout: str = "closed"


@dataclass(frozen=True, slots=True)
class Failure:
    """A hook that failed where `onError` is Closed, or was too slow where `onTimeout` is."""

    plugin: str
    text: str
    traceback: str = ""

    @property
    def reason(self) -> str:
        """The word that the caller gets as `plait-reason`."""
        return FAILURES.get(self.text, ("plugin_error", 500))[0]

    @property
    def status(self) -> int:
        """What the caller gets."""
        return FAILURES.get(self.text, ("plugin_error", 500))[1]


FAILURES = {"deadline": ("plugin_timeout", 504), "Crash: the worker died": ("plugin_unavailable", 503)}
"""Failures that are none of the plugin's code, as a proxy answers them (docs/reference/reasons.md)."""


class Lines(Mapping[str, str]):
    """Headers as they left: a mapping that ignores case; `all` gives several values one by one."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self.pairs = tuple((name.lower(), value) for name, value in pairs)

    def all(self, name: str) -> list[str]:
        """All values of a name."""
        return [value for each, value in self.pairs if each == name.lower()]

    def __getitem__(self, name: str) -> str:
        values = self.all(name)
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for name, _ in self.pairs))

    def __len__(self) -> int:
        return len({name for name, _ in self.pairs})

    def __repr__(self) -> str:
        return f"Lines({list(self.pairs)!r})"


@dataclass(slots=True)
class Answered:
    """What the caller got."""

    status: int
    headers: Lines
    body: bytes


@dataclass(slots=True)
class Exchange:
    """One request and what became of it."""

    verdict: Continue | Reply | Deny | Failure
    """Of the chain: Continue when the backend was asked."""
    by: str = ""
    """The plugin that gave the verdict; "" for Continue."""
    effects: list[Effect] = field(default_factory=list)
    """Each change, in order, with the place of its plugin in the chain."""
    method: str = ""
    path: str = ""
    query: str = ""
    authority: str = ""
    sent: Lines = field(default_factory=lambda: Lines(()))
    """The request's headers as the backend got them."""
    sent_body: bytes = b""
    response: Answered = field(default_factory=lambda: Answered(0, Lines(()), b""))
    """What the caller got."""
    claims: Mapping[str, Any] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    span_attributes: dict[str, str] = field(default_factory=dict)
    backend: str | None = None
    rate_limit_key: str | None = None
    errors: list[tuple[str, str]] = field(default_factory=list)
    """Failures of plugins whose `onError` is Open: name and text."""

    @property
    def status(self) -> int:
        """The status that the caller got."""
        return self.response.status

    def golden(self) -> dict[str, Any]:
        """The exchange as JSON, for a golden file: verdict, effects, response; nothing that changes from run to run."""
        return {
            "verdict": type(self.verdict).__name__,
            "by": self.by,
            "effects": [[effect.kind, effect.name, effect.value] for effect in self.effects],
            "response": {
                "status": self.response.status,
                "headers": [list(pair) for pair in self.response.headers.pairs],
            },
        }
