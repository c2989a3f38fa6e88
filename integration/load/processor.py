"""An external processor for Envoy's ext_proc, as its users write one in Python: sets a header, or looks at a body.

`python processor.py PORT`; started by filters.py. Of Envoy's messages only what is read and written is declared here:
the rest of what Envoy sends is skipped, as protobuf skips what it does not know.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "plait.bench.ext_proc"
METHOD = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
FIELDS = {
    # name: (number, type); the numbers are those of envoy/service/ext_proc/v3 and envoy/config/core/v3.
    "HeaderValue": {"key": (1, "string"), "value": (2, "string"), "raw_value": (3, "bytes")},
    "HeaderMap": {"headers": (1, "*HeaderValue")},
    "HttpHeaders": {"headers": (1, "HeaderMap")},
    "HttpBody": {"body": (1, "bytes")},
    "ProcessingRequest": {"request_headers": (2, "HttpHeaders"), "request_body": (4, "HttpBody")},
    "HeaderValueOption": {"header": (1, "HeaderValue")},
    "HeaderMutation": {"set_headers": (1, "*HeaderValueOption")},
    "CommonResponse": {"header_mutation": (2, "HeaderMutation")},
    "Response": {"response": (1, "CommonResponse")},
    "ProcessingResponse": {"request_headers": (1, "Response"), "request_body": (3, "Response")},
}
FIELD = descriptor_pb2.FieldDescriptorProto


def classes() -> dict[str, Any]:
    """The messages, by name."""
    file = descriptor_pb2.FileDescriptorProto(name="ext_proc.proto", package=PACKAGE, syntax="proto3")
    for name, fields in FIELDS.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            one = message.field.add(name=field, number=number, label=FIELD.LABEL_OPTIONAL)
            if kind.startswith("*"):
                one.label = FIELD.LABEL_REPEATED
            if kind in ("string", "bytes"):
                one.type = FIELD.TYPE_STRING if kind == "string" else FIELD.TYPE_BYTES
            else:
                one.type, one.type_name = FIELD.TYPE_MESSAGE, f".{PACKAGE}.{kind.lstrip('*')}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = message_factory.GetMessageClassesForFiles([file.name], pool)
    return {name.rpartition(".")[2]: one for name, one in found.items()}


MESSAGES = classes()
Answer = MESSAGES["ProcessingResponse"]


async def process(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
    """One stream: a request of HTTP."""
    async for request in requests:
        answer = Answer()
        if request.HasField("request_body"):
            answer.request_body.SetInParent()
            if request.request_body.body[:1] == b"<":
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no XML")
        else:
            fields = {
                each.key: each.raw_value.decode() or each.value for each in request.request_headers.headers.headers
            }
            tag = fields.get("x-user", "") + fields.get("accept-language", "")[:2]
            changed = answer.request_headers.response.header_mutation.set_headers.add()
            changed.header.key, changed.header.raw_value = "x-tag", tag.encode()
        yield answer


async def serve(port: int) -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handler = grpc.stream_stream_rpc_method_handler(
        process, MESSAGES["ProcessingRequest"].FromString, Answer.SerializeToString
    )
    service, method = METHOD.strip("/").split("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
