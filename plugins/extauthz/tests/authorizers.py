"""Authorizers for the tests: real servers on loopback that decide by the path and keep what they were asked."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from aiohttp import web

DEADLINE_SECONDS = 30


@contextmanager
def http_server(answer: Callable[[web.Request, bytes], web.Response]) -> Iterator[tuple[str, list[web.Request]]]:
    """An HTTP server on a thread of its own; gives its URL and the requests that it got."""
    asked: list[web.Request] = []
    loop = asyncio.new_event_loop()

    async def handle(request: web.Request) -> web.Response:
        asked.append(request)
        return answer(request, await request.read())

    async def begin() -> tuple[web.AppRunner, int]:
        application = web.Application()
        application.router.add_route("*", "/{rest:.*}", handle)
        runner = web.AppRunner(application, auto_decompress=False)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner, runner.addresses[0][1]

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    runner, port = asyncio.run_coroutine_threadsafe(begin(), loop).result(DEADLINE_SECONDS)
    try:
        yield f"http://127.0.0.1:{port}", asked
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(DEADLINE_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(DEADLINE_SECONDS)
        loop.close()


@contextmanager
def grpc_server(add_to: Callable[[grpc.Server], None]) -> Iterator[str]:
    """A gRPC server; gives its URL."""
    with ThreadPoolExecutor(2) as workers:
        server = grpc.server(workers)
        add_to(server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"grpc://127.0.0.1:{port}"
        finally:
            server.stop(None).wait(DEADLINE_SECONDS)
