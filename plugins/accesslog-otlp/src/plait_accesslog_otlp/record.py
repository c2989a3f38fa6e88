"""One request as a log record of OpenTelemetry, named by its semantic conventions. Used by `plugin`; pure."""

import re
from collections.abc import Iterable, Mapping

import plait_sdk as plait
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber

TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


def record_of(ended: plait.LogRecord, now_nanos: int, extra: Iterable[str] = ()) -> LogRecord:
    """The record. `extra` are request headers that the user wants to see."""
    request, outcome = ended.request, ended.outcome
    status = outcome.status or 0
    severity = _severity(status)
    record = LogRecord(
        time_unix_nano=now_nanos,
        observed_time_unix_nano=now_nanos,
        severity_number=severity,
        severity_text={SeverityNumber.SEVERITY_NUMBER_INFO: "INFO", SeverityNumber.SEVERITY_NUMBER_WARN: "WARN"}.get(
            severity, "ERROR"
        ),
        body=AnyValue(string_value=f"{request.method} {request.path} {status}"),
        attributes=attributes(_facts(request, outcome, extra)),
    )
    trace = TRACEPARENT.fullmatch(request.headers.get("traceparent", ""))
    if trace:
        record.trace_id, record.span_id = bytes.fromhex(trace[1]), bytes.fromhex(trace[2])
        record.flags = int(trace[3], 16)
    return record


def attributes(facts: Mapping[str, str | int | float | None]) -> list[KeyValue]:
    """As the protocol has them; what is not known is left out."""
    return [KeyValue(key=key, value=_value(value)) for key, value in facts.items() if value not in (None, "")]


def _facts(request: plait.Request, outcome: plait.Outcome, extra: Iterable[str]) -> dict[str, str | int | float | None]:
    destination, peer = request.destination, request.peer
    host, _, port = (peer.address or "").rpartition(":")
    facts: dict[str, str | int | float | None] = {
        "http.request.method": request.method,
        "url.path": request.path,
        "http.response.status_code": outcome.status,
        "http.server.request.duration": outcome.duration_seconds,
        "http.request.body.size": outcome.bytes_in,
        "http.response.body.size": outcome.bytes_out,
        "client.address": host.strip("[]"),
        "client.port": int(port) if port.isdigit() else None,
        "plait.request.id": request.id,
        "plait.route": request.route,
        "plait.reason": outcome.reason,
        "plait.source.identity": peer.identity,
        "plait.destination.service": destination.service,
        "plait.destination.workload": destination.workload,
    }
    return facts | {f"http.request.header.{name}": request.headers.get(name) for name in extra}


def _severity(status: int) -> SeverityNumber.ValueType:
    if status >= 500 or not status:
        return SeverityNumber.SEVERITY_NUMBER_ERROR
    return SeverityNumber.SEVERITY_NUMBER_WARN if status >= 400 else SeverityNumber.SEVERITY_NUMBER_INFO


def _value(value: str | int | float | None) -> AnyValue:
    if isinstance(value, int):
        return AnyValue(int_value=value)
    return AnyValue(double_value=value) if isinstance(value, float) else AnyValue(string_value=str(value))
