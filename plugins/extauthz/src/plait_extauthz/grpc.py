"""Asks over gRPC by Envoy's service envoy.service.auth.v3.Authorization: any server written for Envoy answers."""

import grpc

from plait_extauthz._gen import check_pb2
from plait_extauthz.question import Answer, Question, refusing

METHOD = "/envoy.service.auth.v3.Authorization/Check"


class Grpc:
    """A server of Envoy's service. Use: `ask`."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        scheme, _, target = url.partition("://")
        target = target.rstrip("/")
        secure = scheme == "grpcs"
        channel = (
            grpc.aio.secure_channel(target, grpc.ssl_channel_credentials())
            if secure
            else grpc.aio.insecure_channel(target)
        )
        self._check = channel.unary_unary(
            METHOD,
            request_serializer=check_pb2.CheckRequest.SerializeToString,
            response_deserializer=check_pb2.CheckResponse.FromString,
        )
        self._timeout_seconds = timeout_seconds

    async def ask(self, question: Question) -> Answer:
        """The code of its status decides."""
        return answer_of(await self._check(request_of(question), timeout=self._timeout_seconds))


def request_of(question: Question) -> check_pb2.CheckRequest:
    """The question as Envoy asks it."""
    http = check_pb2.AttributeContext.HttpRequest(
        id=question.request_id,
        method=question.method,
        headers=question.headers,
        path=question.target,
        host=question.authority,
        scheme=question.scheme,
    )
    host, _, port = question.address.rpartition(":")
    source = check_pb2.AttributeContext.Peer(principal=question.identity)
    if port.isdigit():
        source.address.socket_address.address, source.address.socket_address.port_value = host.strip("[]"), int(port)
    attributes = check_pb2.AttributeContext(
        source=source,
        destination=check_pb2.AttributeContext.Peer(service=question.service),
        request=check_pb2.AttributeContext.Request(http=http),
        context_extensions=question.context,
    )
    return check_pb2.CheckRequest(attributes=attributes)


def answer_of(response: check_pb2.CheckResponse) -> Answer:
    """What it decided."""
    if response.status.code == 0:
        ok = response.ok_response
        headers: list[tuple[str, str]] = [(each.header.key, each.header.value) for each in ok.headers]
        return Answer(True, 200, headers)
    denied = response.denied_response
    told: list[tuple[str, str]] = [(each.header.key, each.header.value) for each in denied.headers]
    return Answer(False, refusing(denied.status.code), told, denied.body.encode())
