"""Filters of HTTPRoutes and GRPCRoutes -> Filter messages. Pure."""

from collections.abc import Iterator, Sequence

from plait_sdk.contracts import route_pb2

from plait_controlplane.resources.grpcroute import GRPCFilter
from plait_controlplane.resources.httproute import Filter, Header, HeaderModifier, Mirror, PathModifier
from plait_controlplane.resources.problem import Path, Problem
from plait_controlplane.resources.reader import StoredObject
from plait_controlplane.resources.world import World
from plait_controlplane.translate.reference import backend


def filter_message(world: World, namespace: str, one: Filter | GRPCFilter) -> route_pb2.Filter:
    """The filter of the type that is set."""
    message = route_pb2.Filter()
    if one.request_header_modifier:
        message.request_headers.CopyFrom(_modifier(one.request_header_modifier))
    if one.response_header_modifier:
        message.response_headers.CopyFrom(_modifier(one.response_header_modifier))
    if one.request_mirror:
        message.mirror.CopyFrom(_mirror(world, namespace, one.request_mirror))
    if isinstance(one, Filter) and one.request_redirect:
        redirect = one.request_redirect
        message.redirect.scheme, message.redirect.hostname = redirect.scheme or "", redirect.hostname or ""
        message.redirect.port, message.redirect.status = redirect.port or 0, redirect.status_code
        _path(redirect.path, message.redirect)
    if isinstance(one, Filter) and one.url_rewrite:
        message.rewrite.hostname = one.url_rewrite.hostname or ""
        _path(one.url_rewrite.path, message.rewrite)
    return message


def check_filters(stored: StoredObject, path: Path, filters: Sequence[Filter | GRPCFilter]) -> Iterator[Problem]:
    """Each kind may come once, but mirrors."""
    kinds = [one.type for one in filters]
    for index, kind in enumerate(kinds):
        if kind != "RequestMirror" and kind in kinds[:index]:
            yield stored.problem((*path, "filters", index, "type"), f"{kind} may come once in a rule")


def _path(path: PathModifier | None, message: route_pb2.Redirect | route_pb2.UrlRewrite) -> None:
    if path and path.replace_full_path is not None:
        message.path.full = path.replace_full_path
    elif path and path.replace_prefix_match is not None:
        message.path.prefix = path.replace_prefix_match


def _mirror(world: World, namespace: str, mirror: Mirror) -> route_pb2.Mirror:
    message = route_pb2.Mirror(backend=backend(world, namespace, mirror.backend_ref))
    if mirror.percent is not None:
        message.numerator, message.denominator = mirror.percent, 100
    elif mirror.fraction:
        message.numerator, message.denominator = mirror.fraction.numerator, mirror.fraction.denominator
    return message


def _modifier(modifier: HeaderModifier) -> route_pb2.HeaderModifier:
    def pairs(headers: list[Header]) -> list[route_pb2.Header]:
        return [route_pb2.Header(name=header.name.lower(), value=header.value) for header in headers]

    removed = [name.lower() for name in modifier.remove]
    return route_pb2.HeaderModifier(set=pairs(modifier.set), add=pairs(modifier.add), remove=removed)
