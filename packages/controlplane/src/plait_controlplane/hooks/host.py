"""The hooks' process: plugins of the control plane, apart from every key, behind a Unix socket (mode 0600).

Called by `process`. A hook that cannot be stopped ends this process and no other; the supervisor starts it again.
"""

import asyncio
import faulthandler
import json
import logging
import os
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from plait_sdk.control import IdentityRequest, Resource

from plait_controlplane.hooks import asking, discovering
from plait_controlplane.hooks.discovering import Reports
from plait_controlplane.hooks.enabled import Enabled
from plait_controlplane.hooks.runner import Runner

LOG = logging.getLogger(__name__)

SERVICE = "plait.controlplane.Hooks"
Answer = dict[str, Any]

# A loop that did not turn for so long is held by a hook that keeps the interpreter to itself.
HUNG_SECONDS = 15.0
LOOK_SECONDS = 1.0
STOP_SECONDS = 1.0
UNBOUNDED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Stuck(Exception):
    """A hook holds its thread for good: this process has to be replaced."""


class Host:
    """Use: `start`, `run`, later `stop`."""

    def __init__(self, enabled: Sequence[Enabled], socket: Path) -> None:
        self._runner = Runner(enabled)
        self._socket = socket
        self._epoch = uuid.uuid4().hex
        self._changed = asyncio.Condition()
        self._edition = 0
        self._ended = False
        self._reports = Reports(self._reported)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Lets plugins begin, and serves."""
        self._loop = asyncio.get_running_loop()
        await self._runner.start()
        self._socket.unlink(missing_ok=True)
        self._server = grpc.aio.server(options=UNBOUNDED)
        self._server.add_generic_rpc_handlers((self._handler(),))
        self._server.add_insecure_port(f"unix:{self._socket}")
        await self._server.start()
        os.chmod(self._socket, 0o600)

    async def run(self) -> None:
        """Keeps `discover` running; raises Stuck when this process is of no use any more."""
        async with asyncio.TaskGroup() as tasks:
            for part in self._runner.parts:
                tasks.create_task(discovering.run(part, self._reports))
            tasks.create_task(self._look())

    async def stop(self) -> None:
        """Ends the server; plugins end with the process."""
        faulthandler.cancel_dump_traceback_later()
        self._ended = True
        await self._tell()
        if self._server is not None:
            await self._server.stop(STOP_SECONDS)

    async def _look(self) -> None:
        while True:
            # Rings without the interpreter: it tells where the hook is, and ends the process.
            faulthandler.dump_traceback_later(HUNG_SECONDS, exit=True)
            if stuck := self._runner.stuck():
                raise Stuck(f"plugin {', '.join(stuck)} holds its thread; the process of the hooks is replaced")
            await asyncio.sleep(LOOK_SECONDS)

    def _reported(self) -> None:
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._tell(), self._loop)

    async def _tell(self) -> None:
        async with self._changed:
            self._edition += 1
            self._changed.notify_all()

    def _handler(self) -> "grpc.GenericRpcHandler[Any, Any]":
        unary = {"Judge": self._judge, "Permit": self._permit, "State": self._state}
        methods: dict[str, Any] = {
            name: grpc.unary_unary_rpc_method_handler(method, json.loads, dump) for name, method in unary.items()
        }
        methods["Discover"] = grpc.unary_stream_rpc_method_handler(self._discover, json.loads, dump)
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _judge(self, asked: Answer, context: "grpc.aio.ServicerContext[Any, Any]") -> Answer:
        judged = await self._runner.judge([Resource(**one) for one in asked["resources"]])
        return {"epoch": self._epoch, "judged": [one.to_json() for one in judged]}

    async def _permit(self, asked: Answer, context: "grpc.aio.ServicerContext[Any, Any]") -> Answer:
        return asdict(await asking.permit(self._runner, IdentityRequest(**asked)))

    async def _state(self, asked: Answer, context: "grpc.aio.ServicerContext[Any, Any]") -> Answer:
        return {"epoch": self._epoch, "plugins": [asdict(part.state) for part in self._runner.parts]}

    async def _discover(self, asked: Answer, context: "grpc.aio.ServicerContext[Any, Any]") -> AsyncIterator[Answer]:
        """Everything at first, and again after each change."""
        while not self._ended:
            edition = self._edition
            yield {"epoch": self._epoch, "found": self._reports.facts()}
            async with self._changed:
                await self._changed.wait_for(lambda seen=edition: self._edition != seen)  # type: ignore[misc]


def dump(value: Answer) -> bytes:
    """JSON, as both ends read it."""
    return json.dumps(value).encode()
