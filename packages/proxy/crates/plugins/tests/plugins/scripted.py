"""Plugins of the tests of `plait-plugins`: each does what the header x-do of a request tells it to."""

import asyncio
import ctypes
import hashlib
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import plait_sdk as plait


class Config(plait.PluginConfig):
    """`answer` is written into the header that every call gets."""

    header: str = "x-seen"
    answer: str = "seen"


def loop() -> None:
    while True:
        pass


def backtrack() -> None:
    re.match(r"(a+)+$", "a" * 40 + "b")


def hang() -> None:
    """Runs in C for many minutes and looks at no signal."""
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)


def scribble() -> None:
    """Fills the memory that is shared with the proxy."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "plait-plugin" in line:
            begin, end = (int(part, 16) for part in line.split()[0].split("-"))
            ctypes.memset(begin, 0xFF, end - begin)


def leak() -> None:
    kept = []
    while True:
        kept.append(bytearray(1 << 20))


ACTS = {
    "loop": loop,
    "backtrack": backtrack,
    "sleep": lambda: time.sleep(600),
    "hang": hang,
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "exit": lambda: os._exit(3),
    "scribble": scribble,
    "leak": leak,
    "fork": os.fork,
    "socket": lambda: socket.create_connection(("127.0.0.1", 9)),
    "run": lambda: subprocess.run(["/bin/true"], check=True),
    "write": lambda: Path("/tmp/plait-plugin-was-here").write_text("x"),
    "read": lambda: Path(__file__).parent.parent.joinpath("calls.rs").read_text(),
    "environ": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
    "signal": lambda: os.kill(os.getppid(), signal.SIGTERM),
    "memory": lambda: Path(f"/proc/{os.getppid()}/mem").read_bytes(),
}


class Scripted(plait.Plugin[Config]):
    """Says who answered, and fails in the way that it is told."""

    reads = plait.Reads(path=True, headers={"x-do"})
    writes = plait.Writes(headers=lambda config: {config.header, "x-pid"})

    @plait.hookimpl
    def on_request(self, request: plait.Request) -> plait.Verdict | None:
        do = request.headers.get("x-do", "")
        request.headers["x-pid"] = str(os.getpid())
        if do == "raise":
            raise KeyError("told to")
        if do == "deny":
            return plait.Deny("told to")
        if do == "header":
            request.headers["x-secret"]
        if do in ACTS:
            ACTS[do]()
        request.headers[self.config.header] = self.config.answer
        return None


class Waits(plait.Plugin[Config]):
    """Asynchronous: waits for as long as the path says, in seconds."""

    reads = plait.Reads(path=True)
    writes = plait.Writes(headers=lambda config: {config.header})

    @plait.hookimpl
    async def on_request(self, request: plait.Request) -> None:
        await asyncio.sleep(float(request.path.strip("/")))
        request.headers[self.config.header] = self.config.answer


class Untestable(plait.Plugin[Config]):
    """Its own test fails."""

    @plait.hookimpl
    def self_test(self) -> None:
        raise RuntimeError("not today")

    @plait.hookimpl
    def on_request(self, request: plait.Request) -> None:
        """Never comes to it."""


class Tags(plait.Plugin[Config]):
    """Reads two headers and sets one: what `examples/cost.rs` measures."""

    reads = plait.Reads(headers={"x-user", "accept-language"})
    writes = plait.Writes(headers={"x-tag"})

    @plait.hookimpl
    def on_request(self, request: plait.Request) -> None:
        language = request.headers.get("accept-language", "")
        request.headers["x-tag"] = request.headers.get("x-user", "") + language[:2]


class TagsLater(Tags):
    """The same in an asynchronous hook that never waits."""

    @plait.hookimpl
    async def on_request(self, request: plait.Request) -> None:
        super().on_request(request)


class Counts(plait.Plugin[Config]):
    """Reads whole bodies and puts their length in their place."""

    reads = plait.Reads(body=plait.buffer(1 << 20))
    writes = plait.Writes(body=True)

    @plait.hookimpl
    def on_request_body(self, body: plait.Body) -> None:
        body.replace(str(len(body.data)).encode())
