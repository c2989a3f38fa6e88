"""What a collector receives of which requests, and what if it is slow or away. A real receiver on loopback."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import plait_sdk as plait
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from plait_accesslog_otlp import AccessLogOtlp
from plait_sdk.testing import Harness

DEADLINE_SECONDS = 30
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Receiver(ThreadingHTTPServer):
    """An OTLP receiver that answers with the statuses that it was given, then 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses: list[int] = []
        self.got: list[ExportLogsServiceRequest] = []
        self.headers: list[dict[str, str]] = []

    def records(self) -> list[Any]:
        return [
            record
            for got in self.got
            for logs in got.resource_logs
            for scope in logs.scope_logs
            for record in scope.log_records
        ]


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        if status == 200:
            self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
            self.server.got.append(ExportLogsServiceRequest.FromString(body))
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(DEADLINE_SECONDS)


def harness(receiver: Receiver, **config: Any) -> Harness:
    endpoint = f"http://127.0.0.1:{receiver.server_address[1]}/v1/logs"
    return Harness(AccessLogOtlp, config={"endpoint": endpoint, **config})


def until(logging: Harness, done: Any) -> None:
    """Lets the worker's loop turn until something is so."""
    ends = time.monotonic() + DEADLINE_SECONDS
    while not done():
        assert time.monotonic() < ends, "not in time"
        logging.log([logging.request(headers={"x-turn": "yes"})])


def facts(record: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in record.attributes}


def test_a_record_says_who_asked_what_of_whom_and_how_it_ended(receiver: Receiver) -> None:
    with harness(
        receiver, request_headers=["x-user"], resource={"cluster": "east"}, headers={"authorization": "t"}
    ) as logging:
        logging.log([logging.request("PUT", "/a?b", headers={"traceparent": TRACE, "x-user": "ada"})])
        until(logging, receiver.records)
    record, resource = receiver.records()[0], receiver.got[0].resource_logs[0].resource
    assert record.body.string_value == "PUT /a 200"
    assert (record.trace_id.hex(), record.span_id.hex()) == tuple(TRACE.split("-")[1:3])
    found = facts(record)
    assert found["http.request.method"] == "PUT"
    assert found["http.response.status_code"] == 200
    assert found["http.request.header.x-user"] == "ada"
    assert facts(resource)["cluster"] == "east"
    assert receiver.headers[0]["authorization"] == "t"
    assert receiver.headers[0]["content-type"] == "application/x-protobuf"


@pytest.mark.parametrize(("status", "severity"), [(204, "INFO"), (404, "WARN"), (503, "ERROR")])
def test_a_status_makes_a_severity(receiver: Receiver, status: int, severity: str) -> None:
    with harness(receiver) as logging:
        logging.log([logging.request(backend=lambda _: plait.Reply(status))])
        until(logging, receiver.records)
    assert receiver.records()[0].severity_text == severity


def test_only_errors_when_the_user_wants_no_others(receiver: Receiver) -> None:
    with harness(receiver, only="Errors") as logging:
        logging.log([logging.request(), logging.request(backend=lambda _: plait.Reply(500))])
        until(logging, receiver.records)
    assert [facts(record)["http.response.status_code"] for record in receiver.records()] == [500]


def test_a_collector_that_is_busy_is_asked_again(receiver: Receiver) -> None:
    receiver.statuses = [503, 429]
    with harness(receiver) as logging:
        logging.log([logging.request("GET", "/once")])
        until(logging, receiver.records)
    assert [record.body.string_value for record in receiver.records()].count("GET /once 200") == 1


def test_what_a_collector_refuses_is_dropped_and_said(receiver: Receiver, capsys: pytest.CaptureFixture[str]) -> None:
    receiver.statuses = [400]
    with harness(receiver) as logging:
        logging.log([logging.request("GET", "/lost")])
        until(logging, receiver.records)
    assert "GET /lost 200" not in [record.body.string_value for record in receiver.records()]
    assert "1 records were dropped" in capsys.readouterr().out


@pytest.mark.parametrize("config", [{"endpoint": "grpc://x"}, {"most_waiting": 1}, {"only": "None"}])
def test_a_wrong_configuration_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(plait.ConfigError):
        Harness(AccessLogOtlp, config=config)
