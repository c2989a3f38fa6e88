"""PostgreSQL behind the mesh: its client negotiates TLS inside the connection, and all of it passes untouched.

Its protocol has TLS from the first byte only since version 17, which Debian does not have in every release: a server of
TLS that is chosen by name is in test_tls.
"""

import hashlib
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from mesh import Mesh, until
from servers import certificate, done, folder, give, name_of, program, running

PATIENCE_SECONDS = 60
PASSWORD = "between us"
MEGABYTES = 4


@dataclass(frozen=True)
class Database:
    """Where a Service of the mesh has PostgreSQL, and what its callers trust."""

    port: int
    root: Path

    def words(self, sslmode: str = "verify-full") -> str:
        """For libpq. Channel binding: the password is proven for the server's certificate alone: nobody is between."""
        binding = "disable" if sslmode == "disable" else "require"
        return (
            f"host={name_of('postgres')} hostaddr=127.0.0.1 port={self.port} user=postgres dbname=postgres"
            f" password='{PASSWORD}' sslrootcert={self.root} sslmode={sslmode}"
            f" channel_binding={binding} connect_timeout=10"
        )

    def psql(self, *commands: str, sslmode: str = "verify-full", given: bytes | None = None) -> bytes:
        """What psql prints."""
        asked = [part for command in commands for part in ("-c", command)]
        words = ["psql", "-X", "-At", "-v", "ON_ERROR_STOP=1", *asked, self.words(sslmode)]
        ended = subprocess.run(words, input=given, capture_output=True, timeout=PATIENCE_SECONDS, check=False)
        assert ended.returncode == 0, ended.stderr.decode()
        return ended.stdout


@pytest.fixture(scope="module")
def root(mesh: Mesh) -> Iterator[Path]:
    """A server that takes nobody without TLS; gives the root that its callers trust."""
    initdb, postgres = program("initdb", "postgresql"), program("postgres", "postgresql")
    program("psql", "postgresql")
    with folder("postgres") as place:
        data, port = place / "data", mesh.services["postgres"].processes[0]
        (place / "password").write_text(PASSWORD)
        trusted = certificate(place / "tls", "postgres")
        give(place)
        first = [
            "-U",
            "postgres",
            "--pwfile",
            str(place / "password"),
            "-A",
            "scram-sha-256",
            "--no-sync",
            "-E",
            "UTF8",
        ]
        done([initdb, "-D", str(data), *first], place)
        (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
        tls = place / "tls/postgres"
        options = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "ssl": "on",
            "ssl_cert_file": tls / "leaf.pem",
            "ssl_key_file": tls / "leaf.key",
            "fsync": "off",
            "shared_buffers": "16MB",
            "max_connections": 40,
        }
        command = [
            postgres,
            "-D",
            str(data),
            *(part for key, value in options.items() for part in ("-c", f"{key}={value}")),
        ]
        # The end that does not wait for its clients.
        with running(command, place, port, signal.SIGINT):
            yield trusted


@pytest.fixture(params=["postgres", "postgres-undeclared"])
def database(request: pytest.FixtureRequest, mesh: Mesh, root: Path) -> Database:
    return Database(mesh.services[request.param].bind, root)


@pytest.mark.parametrize("sslmode", ["require", "verify-ca", "verify-full"])
def test_tls_is_negotiated_with_the_server_itself(mesh: Mesh, database: Database, sslmode: str) -> None:
    asked = "select ssl, version from pg_stat_ssl where pid = pg_backend_pid()"
    assert database.psql(asked, sslmode=sslmode).strip() == b"t|TLSv1.3"
    assert mesh.heard().get("postgres-undeclared", "bytes") == "bytes", "its client asks for TLS in words of its own"


def test_the_servers_own_refusal_arrives(database: Database) -> None:
    with pytest.raises(AssertionError, match="no encryption"):
        database.psql("select 1", sslmode="disable")


def test_megabytes_are_copied_both_ways(database: Database) -> None:
    lines = b"".join(
        b"%d\t%s\n" % (number, hashlib.sha256(b"%d" % number).hexdigest().encode())
        for number in range(MEGABYTES * 14_500)
    )
    assert len(lines) > MEGABYTES * 1_000_000
    database.psql("drop table if exists kept", "create table kept (number int primary key, word text)")
    database.psql("copy kept from stdin", given=lines)
    assert database.psql("copy (select * from kept order by number) to stdout") == lines


def test_a_notice_comes_unasked(database: Database) -> None:
    with psycopg.connect(database.words(), autocommit=True) as listener:
        listener.execute("listen news")
        heard: list[psycopg.Notify] = []
        waiting = threading.Thread(
            target=lambda: heard.extend(listener.notifies(timeout=PATIENCE_SECONDS, stop_after=2))
        )
        waiting.start()
        database.psql("notify news, 'first'")
        database.psql("notify news, 'second'")
        waiting.join()
    assert [(notice.channel, notice.payload) for notice in heard] == [("news", "first"), ("news", "second")]


def test_a_query_is_cancelled(database: Database) -> None:
    """The request to cancel is a connection of its own, of 16 bytes, without TLS and without an answer."""
    with psycopg.connect(database.words(), autocommit=True) as other:
        asked = ["psql", "-X", "-c", "select 'long', pg_sleep(60)", database.words()]
        with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
            until(lambda: runs(other), "the query runs")
            client.send_signal(signal.SIGINT)
            _, said = client.communicate(timeout=PATIENCE_SECONDS)
        assert b"canceling statement due to user request" in said
        assert not runs(other)


def runs(asking: psycopg.Connection[tuple[object, ...]]) -> bool:
    found = asking.execute("select 1 from pg_stat_activity where query like 'select ''long''%' and state = 'active'")
    return found.fetchone() is not None


def test_a_server_that_breaks_off_is_no_clean_end(database: Database) -> None:
    with psycopg.connect(database.words(), autocommit=True) as client, psycopg.connect(database.words()) as other:
        rows = client.cursor().stream("select repeat('x', 1000) from generate_series(1, 1000000)")
        next(rows)
        other.execute("select pg_terminate_backend(%s)", [client.info.backend_pid])
        with pytest.raises(psycopg.OperationalError):
            list(rows)


def test_many_at_once(database: Database) -> None:
    bench = program("pgbench", "postgresql")
    database.psql("create table if not exists ones (one int)")
    script = "select 1;\nbegin;\ninsert into ones values (1);\nend;\n"
    asked = [bench, "-n", "-f", "/dev/stdin", "-c", "8", "-t", "20", database.words()]
    ended = subprocess.run(asked, input=script, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "transactions actually processed: 160/160" in ended.stdout
