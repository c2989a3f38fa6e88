"""Owns what an author marks a plugin with: `hookimpl` on methods, `Reads` and `Writes` on the class.

Read by the manager (order, validation) and by the worker, which asks the proxy for no more than what `Reads` says.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar, overload

import pluggy

PROJECT: Final = "plait"
ALL: Final = "*"
"""In place of a set of names: every header. Costs more for each request than a few names."""

Function = TypeVar("Function", bound=Callable[..., Any])
Names = Collection[str] | Callable[[Any], Collection[str]]
"""Names of headers, or a function that makes them of the configuration."""

_impl = pluggy.HookimplMarker(PROJECT)


@overload
def hookimpl(function: Function) -> Function: ...
@overload
def hookimpl(
    *, tryfirst: bool = False, trylast: bool = False, wrapper: bool = False
) -> Callable[[Function], Function]: ...
def hookimpl(function: Any = None, *, tryfirst: bool = False, trylast: bool = False, wrapper: bool = False) -> Any:
    """Marks a method as a hook; its name says which.

    Args:
        function: the method, when used without arguments.
        tryfirst: run before the hooks of other plugins, whatever their order.
        trylast: run after them.
        wrapper: a generator that yields once, around the rest of the chain; it gets the chain's answer from `yield`
            and returns the answer to give. Never async.
    """
    mark = _impl(tryfirst=tryfirst, trylast=trylast, wrapper=wrapper)
    return mark if function is None else mark(function)


@dataclass(frozen=True, slots=True)
class BodyMode:
    """How much of a body crosses to the plugin, and when. Made by `peek`, `stream` and `buffer`."""

    mode: Literal["none", "peek", "stream", "buffer"] = "none"
    limit_bytes: int = 0


NO_BODY: Final = BodyMode()


def peek(limit_bytes: int) -> BodyMode:
    """The first `limit_bytes` of the body, once; the body goes on unheld and cannot be changed."""
    return BodyMode("peek", _positive(limit_bytes))


def stream() -> BodyMode:
    """Every chunk as it arrives; a chunk waits for the hook's answer and may be replaced."""
    return BodyMode("stream")


def buffer(limit_bytes: int) -> BodyMode:
    """The whole body at once; a longer one is refused with 413 before the hook runs."""
    return BodyMode("buffer", _positive(limit_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """What a plugin looks at. Only this crosses to the worker; anything else raises `UndeclaredError` in the hook.

    The request's id, its route and its attributes are always there.

    Args:
        method: `request.method`.
        path: `request.path`, without the query.
        query: `request.query`.
        authority: `request.authority` and `request.scheme`.
        peer: `request.peer`, the proven identity and the address of the caller.
        destination: `request.destination`, the workload, Service and port that are called.
        headers: names of request headers, `ALL`, or a function of the configuration.
        body: `peek`, `stream` or `buffer`.
        response_headers: as `headers`, of the response.
        response_body: as `body`, of the response.
        trailers: `on_trailers`.
    """

    method: bool = False
    path: bool = False
    query: bool = False
    authority: bool = False
    peer: bool = False
    destination: bool = False
    headers: Names = ()
    body: BodyMode = NO_BODY
    response_headers: Names = ()
    response_body: BodyMode = NO_BODY
    trailers: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Writes:
    """What a plugin may change; `plait explain` tells it, and anything else raises `UndeclaredError` in the hook.

    Args:
        headers: names of request headers that it sets, adds or removes; `ALL`, or a function of the configuration.
        response_headers: likewise, of the response.
        method: whether it may replace `request.method`.
        path: whether it may replace `request.path`.
        query: whether it may replace `request.query`.
        authority: whether it may replace `request.authority`.
        body: whether it may replace pieces of the request's body.
        response_body: likewise, of the response's.
        labels: names that `labels` may give to the metrics of a request.
    """

    headers: Names = ()
    response_headers: Names = ()
    method: bool = False
    path: bool = False
    query: bool = False
    authority: bool = False
    body: bool = False
    response_body: bool = False
    labels: Names = ()


def names(declared: Names, config: object, *, fold: bool = True) -> frozenset[str] | None:
    """The names that `declared` means under a configuration, in lower case unless `fold` is off; None is every name."""
    found = declared(config) if callable(declared) else declared
    if found == ALL:
        return None
    if isinstance(found, str):
        raise TypeError(f'names of headers are a set such as {{"{found}"}}, or ALL, not the text "{found}"')
    if ALL in found:
        return None
    return frozenset(name.lower() if fold else name for name in found)


def _positive(limit_bytes: int) -> int:
    if limit_bytes <= 0:
        raise ValueError(f"a limit of {limit_bytes} bytes reads nothing; leave the body out instead")
    return limit_bytes
