"""MariaDB behind the mesh: a server that speaks first, and then TLS inside the connection."""

import random
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pymysql
import pytest
from mesh import Mesh, until
from servers import certificate, done, folder, give, program, running, trusting

PATIENCE_SECONDS = 60
LISTENED_SECONDS = 0.1
"""A client that is silent where nobody declared a protocol is listened to for so long, once."""
PASSWORD = "between us"
LARGEST = 32 << 20
USER = f"""create database shop;
create user caller@127.0.0.1 identified by '{PASSWORD}' require ssl;
grant all on *.* to caller@127.0.0.1;
"""


@dataclass(frozen=True)
class Database:
    """Where a Service of the mesh has MariaDB, and what its callers trust."""

    port: int
    root: Path

    def connect(self) -> pymysql.Connection:
        """By the client in Python."""
        return pymysql.connect(
            host="127.0.0.1",
            port=self.port,
            user="caller",
            password=PASSWORD,
            database="shop",
            ssl=trusting(self.root, name=False),
            autocommit=True,
            connect_timeout=10,
            read_timeout=PATIENCE_SECONDS,
            max_allowed_packet=LARGEST,
        )

    def client(self, command: str) -> str:
        """What the client of MariaDB prints."""
        where = [
            "--no-defaults",
            "--protocol=TCP",
            "-h",
            "127.0.0.1",
            "-P",
            str(self.port),
            "-u",
            "caller",
            f"-p{PASSWORD}",
        ]
        # The chain is verified by this root; the name would have to be that of the local port.
        words = [
            program("mariadb", "mariadb-client-core"),
            *where,
            f"--ssl-ca={self.root}",
            "-BN",
            "-e",
            command,
            "shop",
        ]
        ended = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


@pytest.fixture(scope="module")
def root(mesh: Mesh) -> Iterator[Path]:
    """A server that lets its user in with TLS alone; gives the root that its callers trust."""
    install, server = program("mariadb-install-db", "mariadb-server-core"), program("mariadbd", "mariadb-server-core")
    with folder("mariadb") as place:
        trusted = certificate(place / "tls", "mariadb")
        (place / "user.sql").write_text(USER)
        give(place)
        data, port, tls = place / "data", mesh.services["mariadb"].processes[0], place / "tls/mariadb"
        small = ["--innodb-buffer-pool-size=16M", "--innodb-log-file-size=48M", "--innodb-flush-log-at-trx-commit=0"]
        first = ["--auth-root-authentication-method=normal", "--skip-test-db", *small]
        done([install, "--no-defaults", f"--datadir={data}", *first], place)
        options = {
            "datadir": data,
            "port": port,
            "bind-address": "127.0.0.1",
            "socket": place / "socket",
            "pid-file": place / "pid",
            "init-file": place / "user.sql",
            "max-connections": 40,
            "max-allowed-packet": LARGEST,
            "ssl-cert": tls / "leaf.pem",
            "ssl-key": tls / "leaf.key",
            "ssl-ca": trusted,
        }
        words = [f"--{key}={value}" for key, value in options.items()]
        command = [server, "--no-defaults", "--skip-name-resolve", *words, *small]
        with running(command, place, port):
            yield trusted


@pytest.fixture(params=["mariadb", "mariadb-undeclared"])
def database(request: pytest.FixtureRequest, mesh: Mesh, root: Path) -> Database:
    return Database(mesh.services[request.param].bind, root)


def test_tls_is_negotiated_with_the_server_itself(database: Database) -> None:
    assert database.client("show status like 'Ssl_version'").split() == ["Ssl_version", "TLSv1.3"]
    with database.connect() as client, client.cursor() as cursor:
        cursor.execute("show status like 'Ssl_version'")
        assert cursor.fetchone() == ("Ssl_version", "TLSv1.3")


def test_the_servers_own_refusal_arrives(database: Database) -> None:
    with pytest.raises(pymysql.OperationalError, match="Access denied"):
        pymysql.connect(host="127.0.0.1", port=database.port, user="caller", password=PASSWORD, ssl_disabled=True)


def test_megabytes_come_back_whole(database: Database) -> None:
    value = random.Random(1).randbytes(4 << 20)
    with database.connect() as client, client.cursor() as cursor:
        cursor.execute("create or replace table kept (value longblob)")
        cursor.execute("insert into kept values (%s)", [value])
        cursor.execute("select value from kept")
        assert cursor.fetchone() == (value,)
    rows = database.client("select repeat('x', 1000), seq from seq_1_to_3000").splitlines()
    assert rows == [f"{'x' * 1000}\t{number}" for number in range(1, 3001)]


def test_a_query_is_killed_and_a_connection_broken_off(database: Database) -> None:
    with database.connect() as client:
        failed: list[pymysql.MySQLError] = []

        def ask() -> None:
            try:
                client.cursor().execute("select sleep(60) from seq_1_to_3000 where seq > 0")
            except pymysql.MySQLError as error:
                failed.append(error)

        for command, code in (("kill query", 1317), ("kill", 2013)):
            asking = threading.Thread(target=ask)
            asking.start()
            until(
                lambda: (
                    "sleep"
                    in database.client(
                        f"select info from information_schema.processlist where id = {client.thread_id()}"
                    )
                ),
                "it is asked",
            )
            database.client(f"{command} {client.thread_id()}")
            asking.join(PATIENCE_SECONDS)
            assert failed.pop().args[0] == code


def test_only_the_first_greeting_waits_and_the_verdict_is_shown(mesh: Mesh, root: Path) -> None:
    service = mesh.services["mariadb-undeclared"]
    took = []
    for _ in range(6):
        began = time.monotonic()
        with Database(service.bind, root).connect() as client:
            took.append(time.monotonic() - began)
            assert client.get_server_info()
    assert min(took) < LISTENED_SECONDS, took
    heard = mesh.heard()
    assert heard["mariadb-undeclared"] == "server first"
    assert "mariadb" not in heard
