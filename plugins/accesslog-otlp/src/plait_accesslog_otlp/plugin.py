"""The plugin: sends a record of each request to a collector, in batches, beside the requests.

Loaded by a plugin worker through the entry point `accesslog-otlp`. No request waits for it: what the collector does not
take in time is dropped and counted.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Literal

import httpx
import plait_sdk as plait
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from pydantic import Field

from plait_accesslog_otlp.record import attributes, record_of

BATCH = 512
"""Records in one message."""
TRIES = 4
BUSY = frozenset((408, 429, 502, 503, 504))
"""Answers of a collector that asks to be tried again (OTLP)."""
FIRST_WAIT_SECONDS = 0.2


class Config(plait.PluginConfig):
    """What a user writes in `spec.config`."""

    endpoint: str = Field("http://127.0.0.1:4318/v1/logs", description="OTLP over HTTP, protobuf", pattern="^https?://")
    headers: dict[str, str] = Field(default_factory=dict, description="sent to the collector, such as a token")
    service_name: str = Field("", description="`service.name` of the records; by default the Service that was called")
    resource: dict[str, str] = Field(default_factory=dict, description="further attributes of the resource")
    request_headers: list[str] = Field(default_factory=list, description="request headers to record")
    only: Literal["All", "Errors"] = Field("All", description="Errors: status 400 and above, and no answer at all")
    timeout_seconds: float = Field(5, description="how long the collector may take", gt=0, le=60)
    most_waiting: int = Field(
        8192, description="records kept while the collector is slow; the oldest are dropped", ge=BATCH
    )


class AccessLogOtlp(plait.Plugin[Config]):
    """Writes the access log to an OpenTelemetry collector."""

    reads = plait.Reads(
        method=True,
        path=True,
        peer=True,
        destination=True,
        headers=lambda config: {"traceparent", *config.request_headers},
    )
    uses_network = True

    @plait.hookimpl
    async def worker_started(self) -> None:
        """Makes the client: in the worker, since connections are no zygote's to share."""
        self._client = httpx.AsyncClient(timeout=self.config.timeout_seconds, trust_env=False)
        self._waiting: deque[tuple[str, LogRecord]] = deque(maxlen=self.config.most_waiting)
        self._sending: asyncio.Task[None] | None = None
        self._sent = self._dropped = 0

    @plait.hookimpl
    async def on_log(self, records: Sequence[plait.LogRecord]) -> None:
        """Keeps the records, and has them sent."""
        now = time.time_ns()
        for ended in records:
            if self.config.only == "Errors" and 0 < (ended.outcome.status or 0) < 400:
                continue
            self._dropped += len(self._waiting) == self.config.most_waiting
            service = self.config.service_name or ended.request.destination.service or "unknown_service"
            self._waiting.append((service, record_of(ended, now, self.config.request_headers)))
        if self._waiting and (self._sending is None or self._sending.done()):
            self._sending = asyncio.create_task(self._send_all())

    @plait.hookimpl
    def metrics_tick(self) -> Mapping[str, float]:
        """How the sending goes."""
        return {
            "accesslog_sent": self._sent,
            "accesslog_dropped": self._dropped,
            "accesslog_waiting": len(self._waiting),
        }

    async def _send_all(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            try:
                await self._send(batch)
            except httpx.HTTPError as error:
                self._dropped += len(batch)
                print(f"{len(batch)} records were dropped: {error!r}")
            else:
                self._sent += len(batch)

    async def _send(self, batch: list[tuple[str, LogRecord]]) -> None:
        body = message(batch, self.config.resource).SerializeToString()
        headers = {**self.config.headers, "content-type": "application/x-protobuf"}
        for number in range(1, TRIES + 1):
            response = await self._client.post(self.config.endpoint, content=body, headers=headers)
            if response.status_code not in BUSY or number == TRIES:
                response.raise_for_status()
                return
            asked = response.headers.get("retry-after", "")
            await asyncio.sleep(float(asked) if asked.isdigit() else FIRST_WAIT_SECONDS * 2**number)


def message(batch: list[tuple[str, LogRecord]], resource: Mapping[str, str]) -> ExportLogsServiceRequest:
    """One message: the records of each Service under a resource of its own."""
    by_service: dict[str, list[LogRecord]] = {}
    for service, record in batch:
        by_service.setdefault(service, []).append(record)
    scope = InstrumentationScope(name="plait.accesslog")
    return ExportLogsServiceRequest(
        resource_logs=[
            ResourceLogs(
                resource=Resource(attributes=attributes({"service.name": service, **resource})),
                scope_logs=[ScopeLogs(scope=scope, log_records=records)],
            )
            for service, records in by_service.items()
        ]
    )
