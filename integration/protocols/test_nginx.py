"""nginx behind the mesh, asked by curl and wrk: what HTTP has beside plain answers, whole and as the server meant it.

Each test runs over each version of HTTP on both sides: the caller's, and the server's own.
"""

import gzip
import json
import random
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mesh import Mesh
from servers import folder, give, program, running

PATIENCE_SECONDS = 60
LARGE = random.Random(1).randbytes(20 << 20)
TEXT = b"".join(b"line %d of a text that packs well\n" % number for number in range(20_000))
CONFIGURATION = """
daemon off;
pid {place}/pid;
error_log stderr;
worker_processes 1;
events {{ worker_connections 256; }}
http {{
    access_log off;
    default_type application/octet-stream;
    types {{ text/plain txt; }}
    client_body_temp_path {place}/body;
    client_body_in_file_only clean;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    scgi_temp_path {place}/scgi;
    uwsgi_temp_path {place}/uwsgi;
    gzip on;
    gzip_vary on;
    gzip_types text/plain;
    root {place}/root;
    client_max_body_size 64m;
    server {{
        listen 127.0.0.1:{plain};
        include {place}/common;
    }}
    server {{
        listen 127.0.0.1:{http2} http2;
        include {place}/common;
    }}
}}
"""
COMMON = """
location /kept/ { dav_methods PUT DELETE; create_full_put_path on; }
location /small/ { dav_methods PUT; client_max_body_size 1k; }
location /often/ { keepalive_requests 2; return 200 "again\\n"; }
location /slow/ { limit_rate 2m; alias LARGE/; }
"""


@dataclass(frozen=True)
class Answer:
    status: int
    head: dict[str, str]
    body: bytes
    said: str


@dataclass(frozen=True)
class Web:
    """A Service of the mesh with nginx, and how curl calls it."""

    url: str
    flag: str

    def curl(self, path: str, *words: str, given: bytes | None = None) -> Answer:
        """Runs curl once, which writes its answer to the standard output and what it saw to the other."""
        asked = [
            program("curl", "curl"),
            "-sSv",
            "--max-time",
            str(PATIENCE_SECONDS),
            self.flag,
            *words,
            self.url + path,
        ]
        ended = subprocess.run(asked, input=given, capture_output=True, timeout=PATIENCE_SECONDS * 2, check=False)
        said = ended.stderr.decode(errors="replace")
        assert ended.returncode == 0, said
        # An interim answer comes before the one that counts.
        *_, last = re.split(r"^< HTTP/", said, flags=re.MULTILINE)
        lines = re.findall(r"^< ([^:\r\n]+): (.*?)\r?$", last, re.MULTILINE)
        head = {key.lower(): value for key, value in lines}
        return Answer(int(last.split()[1]), head, ended.stdout, said)


@pytest.fixture(scope="module")
def nginx(mesh: Mesh) -> Iterator[Path]:
    """Two ports, of HTTP/1.1 and of HTTP/2 by prior knowledge, with the same files; gives their folder."""
    command = program("nginx", "nginx-light")
    with folder("nginx") as place:
        (place / "root").mkdir()
        (place / "root/large").write_bytes(LARGE)
        (place / "root/text.txt").write_bytes(TEXT)
        ports = {"plain": mesh.services["web"].processes[0], "http2": mesh.services["web-http2"].processes[0]}
        (place / "nginx.conf").write_text(CONFIGURATION.format(place=place, **ports))
        (place / "common").write_text(COMMON.replace("LARGE", f"{place}/root"))
        give(place)
        with running([command, "-c", str(place / "nginx.conf"), "-e", "stderr"], place, ports["http2"]):
            yield place / "root"


@pytest.fixture(params=["--http1.1", "--http2-prior-knowledge"])
def flag(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["web", "web-undeclared", "web-http2"])
def web(request: pytest.FixtureRequest, flag: str, mesh: Mesh, nginx: Path) -> Web:
    return Web(f"http://127.0.0.1:{mesh.services[request.param].bind}", flag)


def test_a_large_file_comes_whole(web: Web) -> None:
    answer = web.curl("/large")
    assert (answer.status, answer.head["content-length"]) == (200, str(len(LARGE)))
    assert answer.body == LARGE


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("100-199", LARGE[100:200]), ("0-0", LARGE[:1]), ("-5", LARGE[-5:]), ("20971519-", LARGE[-1:])],
)
def test_a_range_is_that_range(web: Web, asked: str, expected: bytes) -> None:
    answer = web.curl("/large", "-r", asked)
    assert (answer.status, answer.body) == (206, expected)
    assert answer.head["content-range"].endswith(f"/{len(LARGE)}")


def test_several_ranges_and_none(web: Web) -> None:
    answer = web.curl("/large", "-r", "0-9,1000-1009")
    assert (answer.status, answer.head["content-type"].split(";")[0]) == (206, "multipart/byteranges")
    assert LARGE[:10] in answer.body
    assert LARGE[1000:1010] in answer.body
    assert len(answer.body) == int(answer.head["content-length"])
    answer = web.curl("/large", "-r", f"{len(LARGE)}-")
    assert (answer.status, answer.head["content-range"]) == (416, f"bytes */{len(LARGE)}")


def test_a_head_says_how_long_the_body_would_be(web: Web) -> None:
    answer = web.curl("/large", "-I")
    assert (answer.status, answer.head["content-length"]) == (200, str(len(LARGE)))
    # curl prints the head; a body would follow it, or hold up the next request.
    assert answer.body.endswith(b"\r\n\r\n")
    assert web.curl("/missing", "-I").status == 404


def test_what_is_unchanged_has_no_body(web: Web) -> None:
    first = web.curl("/text.txt")
    assert first.body == TEXT
    for field, value in (("If-None-Match", "etag"), ("If-Modified-Since", "last-modified")):
        answer = web.curl("/text.txt", "-H", f"{field}: {first.head[value]}")
        assert (answer.status, answer.body, answer.head["etag"]) == (304, b"", first.head["etag"])
    assert web.curl("/text.txt", "-H", 'If-Match: W/"other"').status == 412


def test_what_is_packed_stays_packed(web: Web) -> None:
    answer = web.curl("/text.txt", "-H", "Accept-Encoding: gzip")
    assert (answer.head["content-encoding"], answer.head["vary"]) == ("gzip", "Accept-Encoding")
    assert "content-length" not in answer.head
    assert gzip.decompress(answer.body) == TEXT
    assert web.curl("/text.txt", "--compressed").body == TEXT


@pytest.mark.parametrize("expect", ["Expect:", "Expect: 100-continue"])
def test_an_upload_of_unknown_length_arrives_whole(web: Web, nginx: Path, expect: str) -> None:
    answer = web.curl("/kept/one", "-T", "-", "-H", expect, given=LARGE)
    assert answer.status in (201, 204)
    assert (nginx / "kept/one").read_bytes() == LARGE
    assert web.curl("/kept/one").body == LARGE
    assert web.curl("/kept/one", "-X", "DELETE").status == 204


@pytest.mark.parametrize("name", ["web", "web-undeclared"])
def test_who_asks_first_is_told_to_go_on_or_refused(mesh: Mesh, nginx: Path, name: str) -> None:
    """Over HTTP/1.1, where a client holds its body back. The sidecar says yes when the way to the server is open."""
    (nginx / "given").write_bytes(LARGE)
    upload = ["-T", str(nginx / "given"), "-H", "Expect: 100-continue", "--expect100-timeout", str(PATIENCE_SECONDS)]
    web = Web(f"http://127.0.0.1:{mesh.services[name].bind}", "--http1.1")
    answer = web.curl("/kept/asked", *upload)
    assert answer.status in (201, 204)
    assert "< HTTP/1.1 100 Continue" in answer.said
    assert (nginx / "kept/asked").read_bytes() == LARGE
    assert web.curl("/small/asked", *upload).status == 413


@pytest.mark.parametrize("name", ["web", "web-undeclared", "web-http2"])
@pytest.mark.usefixtures("nginx")
def test_a_connection_is_kept_whatever_the_server_does(mesh: Mesh, name: str) -> None:
    """nginx closes each of its connections after two requests. The caller's stays; curl shows it over HTTP/1.1 only."""
    web = Web(f"http://127.0.0.1:{mesh.services[name].bind}", "--http1.1")
    many = [f"{web.url}/often/{number}" for number in range(20)]
    answer = web.curl("/often/last", "-w", "%{http_code} %{num_connects}\\n", *many)
    assert answer.body.decode().replace("again\n", "").splitlines() == ["200 1", *["200 0"] * 20]


def test_a_slow_reader_gets_all(web: Web) -> None:
    answer = web.curl("/slow/text.txt", "--limit-rate", "1M")
    assert answer.body == TEXT


@pytest.mark.parametrize("name", ["web", "web-undeclared", "web-http2"])
@pytest.mark.usefixtures("nginx")
def test_none_fails_under_load(mesh: Mesh, name: str) -> None:
    url = f"http://127.0.0.1:{mesh.services[name].bind}/text.txt"
    asked = [program("wrk", "wrk"), "-t1", "-c16", "-d1", "--timeout", str(PATIENCE_SECONDS), url]
    said = subprocess.run(asked, capture_output=True, text=True, timeout=PATIENCE_SECONDS * 2, check=True).stdout
    assert int(re.findall(r"(\d+) requests in", said)[0]) > 0
    assert "Non-2xx" not in said
    assert "Socket errors" not in said


@pytest.mark.parametrize(("flag", "spoken"), [("--http1.1", "http/1.1"), ("--http2-prior-knowledge", "http/2")])
@pytest.mark.usefixtures("nginx")
def test_what_is_spoken_where_nothing_is_declared_is_shown(mesh: Mesh, flag: str, spoken: str) -> None:
    assert Web(f"http://127.0.0.1:{mesh.services['web-undeclared'].bind}", flag).curl("/text.txt").status == 200
    assert mesh.heard()["web-undeclared"] == spoken
    told = mesh.ask("caller", "/explain?from=bench/caller&method=GET&url=http://web-undeclared/")
    assert json.loads(told)["destination"]["heard"] == spoken
