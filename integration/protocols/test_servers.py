"""Servers of others behind the mesh, each reached by its ordinary client through a port of the caller's sidecar."""

import shutil
import smtplib
import subprocess
import time
from collections.abc import Iterator

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message
from mesh import Mesh, listens, until

PATIENCE_SECONDS = 20
LISTENED_SECONDS = 0.1
"""A client that is silent where nobody declared a protocol is listened to for so long, once."""


@pytest.fixture(scope="module")
def redis(mesh: Mesh) -> Iterator[None]:
    """Redis, in memory."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed (Debian: apt install redis-server)")
    port = mesh.services["redis"].processes[0]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(mesh.folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    until(lambda: listens(port), "Redis listens")
    yield
    server.terminate()
    server.wait(PATIENCE_SECONDS)


@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize("name", ["redis", "redis-undeclared"])
def test_redis_keeps_what_it_is_given(mesh: Mesh, name: str) -> None:
    client = ["redis-cli", "-h", "127.0.0.1", "-p", str(mesh.services[name].bind)]
    value = "x" * 100_000

    def ask(*words: str, given: str | None = None) -> str:
        done = subprocess.run([*client, *words], input=given, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
        return done.stdout.strip()

    assert ask("PING") == "PONG"
    assert ask("-x", "SET", name, given=value) == "OK"
    assert ask("GET", name) == value


class Kept(Message):
    """Keeps the subjects of messages."""

    def __init__(self) -> None:
        super().__init__()
        self.subjects: list[str] = []

    def handle_message(self, message: object) -> None:
        self.subjects.append(message["Subject"])  # type: ignore[index]


@pytest.fixture(scope="module")
def mail(mesh: Mesh) -> Iterator[Kept]:
    """A mail server: it speaks first."""
    kept = Kept()
    server = Controller(kept, hostname="127.0.0.1", port=mesh.services["smtp"].processes[0])
    server.start()
    yield kept
    server.stop()


def send(port: int, subject: str) -> float:
    """Sends a message; gives how long the greeting took."""
    began = time.monotonic()
    with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE_SECONDS) as client:
        greeted = time.monotonic() - began
        client.sendmail("a@example.org", ["b@example.org"], f"Subject: {subject}\r\n\r\n{'text' * 50}")
    return greeted


@pytest.mark.parametrize("name", ["smtp", "smtp-undeclared"])
def test_mail_is_sent_and_only_the_first_greeting_waits(mesh: Mesh, mail: Kept, name: str) -> None:
    greetings = [send(mesh.services[name].bind, f"{name} {number}") for number in range(10)]
    assert mail.subjects[-10:] == [f"{name} {number}" for number in range(10)]
    assert min(greetings[1:]) < LISTENED_SECONDS, greetings
    speakers = [(one["destination"], one["port"]) for one in mesh.config("caller")["speak_first"]]
    assert (f"bench/{name}", 25) in speakers if name == "smtp-undeclared" else (f"bench/{name}", 25) not in speakers
