"""Exim behind the mesh: a mail server speaks first, and changes to TLS in the middle."""

import email.message
import random
import smtplib
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mesh import Mesh, until
from servers import certificate, folder, give, name_of, program, running, trusting, user

PATIENCE_SECONDS = 60
LISTENED_SECONDS = 0.1
"""A client that is silent where nobody declared a protocol is listened to for so long, once."""
MEGABYTES = 5
CONFIGURATION = """
exim_user = {user}
exim_group = {group}
primary_hostname = mail.example.org
spool_directory = {place}/spool
log_file_path = {place}/%slog
pid_file_path = {place}/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts = *
tls_certificate = {place}/tls/mail/leaf.pem
tls_privatekey = {place}/tls/mail/leaf.key
acl_smtp_rcpt = all
acl_smtp_data = all
message_size_limit = 10M
begin acl
all:
  deny senders = refused@example.org
       message = not from you
  accept
begin routers
one:
  driver = accept
  transport = files
begin transports
files:
  driver = appendfile
  directory = {place}/mail
  create_directory
"""


@dataclass(frozen=True)
class Server:
    """A mail server. It keeps each message in a file of `inbox`."""

    inbox: Path
    root: Path

    def received(self, subject: str) -> bytes:
        """The body of a message, once it has come."""
        found: list[Path] = []

        def has_come() -> bool:
            found[:] = [
                one for one in self.inbox.glob("q*") if f"Subject: {subject}\n".encode() in one.read_bytes()[:4096]
            ]
            return bool(found)

        until(has_come, f"{subject} is delivered", PATIENCE_SECONDS)
        assert len(found) == 1, "it came twice"
        _, _, body = found[0].read_bytes().partition(b"\n\n")
        return body


@pytest.fixture(scope="module")
def mail(mesh: Mesh) -> Iterator[Server]:
    exim = program("exim4", "exim4-daemon-light")
    with folder("mail") as place:
        trusted = certificate(place / "tls", "mail")
        port, name = mesh.services["smtp"].processes[0], user()
        (place / "exim.conf").write_text(CONFIGURATION.format(place=place, port=port, user=name, group=place.group()))
        give(place)
        # Of another configuration than the system's, the program runs without the rights of its file.
        with running([exim, "-C", str(place / "exim.conf"), "-bdf", "-odf"], place, port):
            yield Server(place / "mail", trusted)


@pytest.fixture(params=["smtp", "smtp-undeclared"])
def client(request: pytest.FixtureRequest, mesh: Mesh, mail: Server) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP("127.0.0.1", mesh.services[request.param].bind, timeout=PATIENCE_SECONDS) as found:
        found.ehlo("caller.example.org")
        yield found


def test_a_large_message_is_sent_in_tls(client: smtplib.SMTP, mail: Server) -> None:
    subject = f"large {client.sock.getpeername()[1]}"  # type: ignore[union-attr]  # connected
    client.starttls(context=trusting(mail.root, name=False))
    text = "\r\n".join(random.Random(1).randbytes(36).hex() for _ in range(MEGABYTES * 14_000))
    assert len(text) > MEGABYTES * 1_000_000
    assert client.sendmail("a@example.org", ["b@example.org"], f"Subject: {subject}\r\n\r\n{text}\r\n") == {}
    assert mail.received(subject).decode().split() == text.split()


def test_messages_follow_each_other(client: smtplib.SMTP, mail: Server) -> None:
    port = client.sock.getpeername()[1]  # type: ignore[union-attr]  # connected
    for number in range(3):
        message = email.message.EmailMessage()
        message["Subject"] = f"number {number} {port}"
        message.set_content(f"text {number}\n.\n..dots\n")
        assert client.send_message(message, "a@example.org", ["b@example.org"]) == {}
    for number in range(3):
        assert mail.received(f"number {number} {port}") == f"text {number}\n.\n..dots\n".encode()


def test_the_servers_own_refusal_arrives(client: smtplib.SMTP) -> None:
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        client.sendmail("refused@example.org", ["b@example.org"], "Subject: x\r\n\r\n")
    assert refused.value.recipients == {"b@example.org": (550, b"not from you")}
    with pytest.raises(smtplib.SMTPSenderRefused, match="size"):
        client.sendmail("a@example.org", ["b@example.org"], b"x" * (11 << 20))


@pytest.mark.usefixtures("mail")
def test_curl_sends_too(mesh: Mesh, mail: Server) -> None:
    asked = [
        program("curl", "curl"),
        "-sS",
        "--max-time",
        str(PATIENCE_SECONDS),
        "--ssl-reqd",
        "--cacert",
        str(mail.root),
    ]
    where = f"smtp://{name_of('mail')}:{mesh.services['smtp'].bind}"
    asked += ["--resolve", f"{where.removeprefix('smtp://')}:127.0.0.1", where, "--mail-from", "a@example.org"]
    ended = subprocess.run(
        [*asked, "--mail-rcpt", "b@example.org", "-T", "-"],
        input=b"Subject: by curl\r\n\r\nhello\r\n",
        capture_output=True,
        timeout=PATIENCE_SECONDS * 2,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert mail.received("by curl") == b"hello\n"


@pytest.mark.usefixtures("mail")
def test_only_the_first_greeting_waits_and_the_verdict_is_shown(mesh: Mesh) -> None:
    took = []
    for _ in range(10):
        began = time.monotonic()
        with smtplib.SMTP("127.0.0.1", mesh.services["smtp-undeclared"].bind, timeout=PATIENCE_SECONDS):
            took.append(time.monotonic() - began)
    assert min(took[1:]) < LISTENED_SECONDS, took
    heard = mesh.heard()
    assert heard["smtp-undeclared"] == "server first"
    assert "smtp" not in heard
