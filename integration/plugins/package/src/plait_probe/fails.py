"""Plugins that break on demand; attached by test_plugin_faults."""

import hashlib
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import plait_sdk as plait

FORKS = 64
"""Enough to tell a sandbox that lets them pass, too few to hurt the machine if it does."""


class Config(plait.PluginConfig):
    """`word` is what is written into the answer."""

    word: str = "one"
    load_seconds: float = 0.0


def raises() -> None:
    raise RuntimeError("told to")


def loops() -> None:
    while True:
        pass


def hangs() -> None:
    """Runs in C for many minutes, and looks at no signal."""
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)


def crashes() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def leaks() -> None:
    kept = []
    while True:
        kept.append(bytearray(1 << 20))


def forks() -> None:
    for _ in range(FORKS):
        if os.fork() == 0:
            os._exit(0)


ACTS: dict[str, Callable[[], Any]] = {
    "raise": raises,
    "junk": lambda: "no verdict at all",
    "loop": loops,
    "hang": hangs,
    "crash": crashes,
    "leak": leaks,
    "fork": forks,
}


class Fails(plait.Plugin[Config]):
    """Does what the field x-do says, and else writes its word into the answer."""

    reads = plait.Reads(headers={"x-do"})
    writes = plait.Writes(response_headers={"x-answered"})

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        time.sleep(config.load_seconds)

    @plait.hookimpl
    def on_request(self, request: plait.Request) -> Any:
        """Breaks."""
        act = ACTS.get(request.headers.get("x-do", ""))
        return act() if act else None

    @plait.hookimpl
    def on_response(self, response: plait.Response) -> None:
        """Says that it was asked."""
        response.headers["x-answered"] = self.config.word
