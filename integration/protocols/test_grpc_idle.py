"""A gRPC stream through two sidecars that waits for something to happen, for longer than a server suffers pings."""

import threading
import time
from collections.abc import Iterator

import grpc
from greeter import OPTIONS, SERVICE, Greeter
from mesh import Mesh

PATIENCE_SECONDS = 60
# The library's server suffers no ping within five minutes of another while it has nothing to say; after so many it ends
# the connection at the next.
STRIKES = ("grpc.http2.max_ping_strikes", 1)
# A sidecar that asks every ten seconds has gone too far by then.
IDLE_SECONDS = 35


def test_a_stream_that_waits_is_not_ended_for_the_sidecar_s_pings(mesh: Mesh) -> None:
    quiet = ("grpc.keepalive_time_ms", 3_600_000)
    greeters = [Greeter(port, quiet, STRIKES) for port in mesh.services["greeter"].processes]
    end = threading.Event()

    def asks() -> Iterator[bytes]:
        yield b"before"
        end.wait(PATIENCE_SECONDS)
        yield b"after"

    with grpc.insecure_channel(f"127.0.0.1:{mesh.services['twins'].bind}", OPTIONS) as channel:
        stream = channel.stream_stream(f"/{SERVICE}/Talk")(asks(), timeout=2 * PATIENCE_SECONDS)
        assert next(stream) == b"BEFORE"
        time.sleep(IDLE_SECONDS)
        end.set()
        assert next(stream) == b"AFTER"
    for greeter in greeters:
        greeter.stop()
