"""Owns what one plugin may see and change in a call, resolved from `Reads` and `Writes` under its configuration.

Made by the manager once a plugin is configured; asked by the views at each access, so that a hook never sees what its
plugin did not declare, whatever its neighbours in the chain declared. Headers are limited by an interest of the
worker's native half.
"""

from dataclasses import dataclass
from typing import Any, NoReturn

from plait_sdk.calls import Interest
from plait_sdk.errors import UndeclaredError
from plait_sdk.markers import Reads, Writes, names


@dataclass(frozen=True, slots=True)
class Scope:
    """One plugin's share of a call. Names are lower case; None is every name."""

    plugin: str
    reads: Reads
    writes: Writes
    read_headers: frozenset[str] | None
    read_response_headers: frozenset[str] | None
    write_headers: frozenset[str] | None
    write_response_headers: frozenset[str] | None
    write_labels: frozenset[str] | None
    request: Any
    response: Any
    trailers: Any

    def refuse_read(self, what: str, declaration: str) -> NoReturn:
        """Raises the error of a read that was not declared."""
        raise UndeclaredError(
            f"plugin {self.plugin} reads {what}, which it did not declare", f"add {declaration} to its `reads`"
        )

    def refuse_write(self, what: str, declaration: str) -> NoReturn:
        """Raises the error of a change that was not declared."""
        raise UndeclaredError(
            f"plugin {self.plugin} changes {what}, which it did not declare", f"add {declaration} to its `writes`"
        )


def resolve(plugin: str, reads: Reads, writes: Writes, config: object, interest: Interest) -> Scope:
    """The scope of a configured plugin. A header that it writes it may read too."""
    write_headers, write_response = names(writes.headers, config), names(writes.response_headers, config)
    read_headers = _with(names(reads.headers, config), write_headers)
    read_response = _with(names(reads.response_headers, config), write_response)
    trailers = interest(None if reads.trailers else (), None if reads.trailers else ())
    return Scope(
        plugin=plugin,
        reads=reads,
        writes=writes,
        read_headers=read_headers,
        read_response_headers=read_response,
        write_headers=write_headers,
        write_response_headers=write_response,
        write_labels=names(writes.labels, config, fold=False),
        request=interest(read_headers, write_headers),
        response=interest(read_response, write_response),
        trailers=trailers,
    )


def _with(read: frozenset[str] | None, written: frozenset[str] | None) -> frozenset[str] | None:
    """What may be read: what is named to be written too. To write anything is not to read anything."""
    return None if read is None else read | (written or frozenset())
