"""The API's sockets: a Unix socket of mode 0600, and TCP when it is asked for. Called by `process` and `webhooks`."""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from fastapi import FastAPI

STARTED_CHECK_SECONDS = 0.005
DRAIN_SECONDS = 1


class _Server(uvicorn.Server):
    """Signals belong to the process, not to one of its servers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class ApiServer:
    """One application on one socket. Use: `start`, later `stop`."""

    def __init__(self, app: FastAPI, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """`tls` = what is shown in handshakes; its owner may load another certificate at any time."""
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=DRAIN_SECONDS
        )
        config.load()
        config.ssl = tls
        self._server = _Server(config)
        self._listener = listener
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listens; raises what kept it from doing so."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]), name="api")
        while not self._server.started:
            if self._task.done():
                await self._task
                raise OSError("the API ended before it began")
            await asyncio.sleep(STARTED_CHECK_SECONDS)

    async def stop(self) -> None:
        """Lets requests in flight end."""
        self._server.should_exit = True
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=DRAIN_SECONDS + 1)
        self._listener.close()


def unix(path: Path) -> socket.socket:
    """A Unix socket that only its owner opens."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    return listener


def tcp(listen: str) -> socket.socket:
    """A TCP socket on "ip:port"."""
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    return socket.create_server((host, int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
