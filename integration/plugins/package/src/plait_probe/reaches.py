"""A plugin that tries what no plugin may; attached by test_confined.py."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import plait_sdk as plait

LATE_SECONDS = 2.0
"""Longer than the deadline that the test gives."""


class Config(plait.PluginConfig):
    """`word` is what it answers where it is not told to try something."""

    word: str = "one"


def read(place: str) -> object:
    with open(place, "rb") as file:
        return file.read(4096)


def write(place: str) -> object:
    return Path(place).write_text("was here")


def scratch(place: str) -> object:
    with tempfile.NamedTemporaryFile("w+") as file:
        return file.write(place)


def connect(place: str) -> object:
    host, port = place.rsplit(":", 1)
    return socket.create_connection((host, int(port)), 5)


def unix(place: str) -> object:
    return socket.socket(socket.AF_UNIX).connect(place)


ACTS: dict[str, Callable[[str], object]] = {
    "read": read,
    "list": os.listdir,
    "write": write,
    "scratch": scratch,
    "connect": connect,
    "unix": unix,
    "run": lambda place: subprocess.run([place], check=True),
    "kill": lambda place: os.kill(int(place), signal.SIGTERM),
}


class Reaches(plait.Plugin[Config]):
    """Tries what the fields x-do and x-place say, and answers how that went."""

    reads = plait.Reads(headers={"x-do", "x-place"})

    @plait.hookimpl
    def on_request(self, request: plait.Request) -> plait.Verdict:
        """Tries it."""
        do, place = request.headers.get("x-do", ""), request.headers.get("x-place", "")
        if do == "pid":
            return plait.Reply(200, body=str(os.getpid()))
        if do == "see":
            return plait.Reply(200, body=" ".join(sorted(request.headers)))
        if do == "peek":
            return plait.Reply(200, body=request.headers[place])
        if do == "late":
            self.linger()
            return plait.Reply(418, body="too late")
        if do not in ACTS:
            return plait.Reply(200, body=self.config.word)
        try:
            ACTS[do](place)
        except OSError as error:
            return plait.Reply(200, body=type(error).__name__)
        return plait.Reply(200, body="done")

    def linger(self) -> None:
        """Stays longer than it may, and lets nobody wake it."""
        end = time.monotonic() + LATE_SECONDS
        while time.monotonic() < end:
            try:
                time.sleep(end - time.monotonic())
            except BaseException:
                continue
