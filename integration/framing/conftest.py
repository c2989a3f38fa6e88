"""One pair of sidecars for all cases, and behind it servers that others wrote, each called in plaintext and by mTLS."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import backends
import pytest
from lane import Lane
from mesh import Mesh, free_port, listens, until


def _listening(port: int) -> None:
    until(lambda: listens(port), f"somebody listens on {port}")


@pytest.fixture(scope="session")
def lanes() -> Iterator[list[Lane]]:
    """Each backend through one plaintext hop and through the pair; nginx where it is installed."""
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        folder = Path(place)
        mesh = Mesh(folder)
        nginx = backends.nginx_program()
        found = []
        for name in ["h11", "http-server", *(["nginx"] if nginx else [])]:
            pair = mesh.add(name, "http", 80)
            hop = mesh.in_plaintext(f"{name}-plaintext", pair)
            port = pair.processes[0]
            match name:
                case "h11":
                    backend = stack.enter_context(backends.h11_server(port))
                case "http-server":
                    backend = stack.enter_context(backends.http_server(port))
                case _:
                    assert nginx
                    origin = free_port(mesh.taken)
                    backend = stack.enter_context(backends.nginx(nginx, port, origin, folder, _listening))
            found += [Lane("hop", hop.bind, backend), Lane("pair", pair.bind, backend)]
        stack.callback(mesh.stop)
        mesh.start()
        yield found
