"""What plugins said of an object, and how they are: plain values that cross between processes as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from plait_sdk.control import Resource


@dataclass(frozen=True)
class Said:
    """A Problem of a plugin's."""

    plugin: str
    path: str
    message: str
    severity: str


@dataclass(frozen=True)
class Failure:
    """A hook that gave no answer. `is_open`: the object passes all the same."""

    plugin: str
    hook: str
    text: str
    is_open: bool = False


@dataclass(frozen=True)
class Judged:
    """What became of one object. `body` is what plugins made of it; None = as it was."""

    body: Mapping[str, Any] | None = None
    said: tuple[Said, ...] = ()
    failures: tuple[Failure, ...] = ()

    @property
    def is_unjudged(self) -> bool:
        """Whether somebody who should have said something did not."""
        return any(not failure.is_open for failure in self.failures)

    def to_json(self) -> dict[str, Any]:
        """For the way between two processes."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Judged":
        """The other way."""
        said = tuple(Said(**one) for one in data["said"])
        return cls(data["body"], said, tuple(Failure(**one) for one in data["failures"]))


@dataclass(frozen=True)
class Permit:
    """What plugins say of a certificate: `refused` is why there is none, empty = granted for `lifetime_seconds`."""

    refused: str
    lifetime_seconds: int


@dataclass
class PluginState:
    """One plugin of the control plane, for `plait status`."""

    name: str
    version: str = ""
    hooks: tuple[str, ...] = ()
    state: str = "Live"
    """Live, Failed (it could not be loaded), Away (its process does not answer)."""
    reason: str = ""
    """Why it is not live, or what its last failure was."""
    calls: int = 0
    failures: int = 0


class Judge(Protocol):
    """Who asks the plugins: in this process, or over a socket."""

    async def judge(self, resources: Sequence[Resource]) -> list[Judged]:
        """One answer for each object; raises Away."""
        ...


class Away(Exception):
    """The process of the hooks does not answer."""
