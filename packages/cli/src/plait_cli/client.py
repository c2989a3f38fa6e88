"""Owns the questions asked over Unix sockets: the control plane's API and the admin socket of each sidecar.

Called by the verbs and by `laptop`. Turns every transport error into `Unreachable`; must not print. The standard
library does it: a client made for the whole web costs each verb a quarter of a second to import.
"""

import http.client
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from plait_cli.errors import UNREACHABLE, USAGE, Failure
from plait_cli.meshes import Mesh

TIMEOUT_SECONDS = 5.0

Query = Sequence[tuple[str, str]]


class Unreachable(Failure):
    """Nobody answers on the socket, or not in time."""

    def __init__(self, what: str, cause: Exception) -> None:
        super().__init__(f"{what} does not answer: {cause}", "plait status tells which part is away", UNREACHABLE)


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    content: bytes

    @property
    def text(self) -> str:
        """The content as text."""
        return self.content.decode(errors="replace")

    def json(self) -> Any:
        """The content as facts."""
        return json.loads(self.content)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        super().__init__("plait", timeout=timeout_seconds)
        self._path = path

    def connect(self) -> None:
        """Opens the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(
    path: Path, target: str, query: Query = (), post: object = None, timeout_seconds: float = TIMEOUT_SECONDS
) -> Answer:
    """One request over a Unix socket; POST with JSON when `post` is given. Raises Unreachable or Failure."""
    connection = UnixConnection(path, timeout_seconds)
    full = f"{target}?{urlencode(query)}" if query else target
    try:
        if post is None:
            connection.request("GET", full)
        else:
            connection.request("POST", full, json.dumps(post), {"content-type": "application/json"})
        response = connection.getresponse()
        answer = Answer(response.status, response.read())
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(path.name, error) from error
    finally:
        connection.close()
    if answer.status in (400, 422):
        raise Failure(reason_of(answer), code=USAGE)
    if answer.status > 400 and target != "/ready":
        raise Failure(f"{path.name} refused {target}: {answer.status} {reason_of(answer)}")
    return answer


def follow(path: Path, target: str) -> Iterator[bytes]:
    """The lines of an answer that goes on, until the other side ends it. Raises Unreachable or Failure at once."""
    connection = UnixConnection(path, TIMEOUT_SECONDS)
    try:
        connection.request("GET", target)
        response = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise Unreachable(path.name, error) from error
    if response.status != 200:
        answer = Answer(response.status, response.read())
        connection.close()
        raise Failure(f"{path.name} refused {target}: {answer.status} {reason_of(answer)}")
    # Between two lines as much time may pass as wants to.
    connection.sock.settimeout(None)
    return lines_of(connection, response)


def lines_of(connection: UnixConnection, response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The lines of `response`; a connection that breaks ends them."""
    try:
        yield from response
    except (OSError, http.client.HTTPException):
        return
    finally:
        connection.close()


def reason_of(answer: Answer) -> str:
    """What an error answer says: FastAPI's detail, else the text."""
    try:
        body = answer.json()
    except ValueError:
        return answer.text.strip()
    return str(body.get("detail", body)) if isinstance(body, Mapping) else str(body)


class Api:
    """The control plane's API of one mesh, as api.sock serves it."""

    def __init__(self, mesh: Mesh) -> None:
        self.socket = mesh.api

    def ask(
        self, target: str, query: Query = (), post: object = None, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> Answer:
        """One question. Raises Unreachable or Failure."""
        return ask(self.socket, target, query, post, timeout_seconds)

    def mesh(self) -> dict[str, Any]:
        """Name, generation, last change, trust domain, addresses, root."""
        return dict(self.ask("/v1/mesh").json())

    def objects(self) -> list[dict[str, Any]]:
        """Every object with its file, line, status and problems."""
        return list(self.ask("/v1/objects").json())

    def hooks(self) -> list[dict[str, Any]]:
        """Every plugin of the control plane and how it is."""
        return list(self.ask("/v1/hooks").json())

    def proxies(self) -> list[dict[str, Any]]:
        """Every connected proxy with the generation it serves."""
        return list(self.ask("/v1/proxies").json())

    def workloads(self) -> list[dict[str, Any]]:
        """Every Workload in force."""
        return list(self.ask("/v1/workloads").json())

    def resources(self, workload: str) -> bytes:
        """A serialised ChangeSet: what the proxy of `workload` would hold with all destinations."""
        return self.ask("/v1/resources", [("workload", workload)]).content

    def join_token(
        self, workload: str, ttl_seconds: int = 3600, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> dict[str, str]:
        """A join token for one Workload, and where its proxy finds discovery."""
        body = {"workload": workload, "ttl_seconds": ttl_seconds}
        return dict(self.ask("/v1/join-tokens", post=body, timeout_seconds=timeout_seconds).json())


class Admin:
    """The admin socket of one sidecar."""

    def __init__(self, mesh: Mesh, workload: str) -> None:
        self.socket = mesh.admin(workload)

    def ready(self) -> str:
        """Empty when ready, else why not."""
        answer = ask(self.socket, "/ready")
        return "" if answer.status == 200 else answer.text.strip() or str(answer.status)

    def metrics(self) -> str:
        """Prometheus text."""
        return ask(self.socket, "/metrics").text

    def config(self) -> dict[str, Any]:
        """Generation, workloads with their certificates, destinations, where the configuration came from."""
        return dict(ask(self.socket, "/config").json())

    def connections(self) -> list[dict[str, Any]]:
        """Open connections to other sidecars with the identity on the far end."""
        return list(ask(self.socket, "/connections").json())

    def tap(self) -> Iterator[bytes]:
        """A line of the access log, in JSON, for each request and connection that ends from now on."""
        return follow(self.socket, "/tap")

    def explain(
        self, workload: str, method: str, url: str, headers: list[str], sni: str | None = None
    ) -> dict[str, Any]:
        """The decision on a request nobody sends; `headers` as "name: value", `sni` the name that TLS would ask for."""
        query: Query = [
            ("from", workload),
            ("method", method),
            ("url", url),
            *(("header", header) for header in headers),
            *([("sni", sni)] if sni else []),
        ]
        return dict(ask(self.socket, "/explain", query).json())


def name_of(workload: Mapping[str, Any]) -> str:
    """ "namespace/name" of an entry of /v1/workloads."""
    return f"{workload['namespace']}/{workload['name']}"
