"""`plait-controlplane serve` as it is started by people: its processes, its API, and when it is ready.

Used by tests of whole control planes.
"""

import asyncio
import base64
import json
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
from cryptography import x509
from plait_controlplane.identity.credentials import KeyPair, new_key, request
from plait_controlplane.identity.join_token import fingerprint
from plait_sdk.contracts import identity_pb2, identity_pb2_grpc

Channel = Callable[..., Awaitable[grpc.aio.Channel]]

OWN = "spiffe://cluster.local/ns/plait-system/sa/plait-controlplane"

# A start imports gRPC and FastAPI in two processes on a machine that may be busy with other tests.
TIMEOUT_SECONDS = 60.0

OBJECTS = """
apiVersion: v1
kind: Service
metadata: {name: stock, namespace: shop}
spec: {selector: {app: stock}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: plait.dev/v1alpha1
kind: Workload
metadata: {name: stock-1, namespace: shop, labels: {app: stock}}
spec: {serviceAccount: stock, address: 127.0.0.1, ports: [{name: http, port: 8080}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: stock, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: stock}]
  rules: [{backendRefs: [{name: stock, port: 80, weight: 1}]}]
"""


class Serve:
    """The command, and what it is asked."""

    def __init__(self, folder: Path) -> None:
        self.source, self.state, self.sockets = folder / "shop", folder / "state", folder / "s"
        self.source.mkdir()
        self.file = self.source / "all.yaml"
        self.file.write_text(OBJECTS)
        self.process: asyncio.subprocess.Process | None = None
        self.ready = ""

    async def start(self, *options: str) -> None:
        command = ["serve", "--source", str(self.source), "--state", str(self.state), "--sockets", str(self.sockets)]
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "plait_controlplane", *command, *options, stdout=asyncio.subprocess.PIPE
        )
        await self.wait_ready()

    async def wait_ready(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), TIMEOUT_SECONDS)
        self.ready = line.decode().strip()
        assert self.ready.startswith("ready: discovery "), self.ready

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        children = self.children(process.pid)
        process.send_signal(number)
        code = await asyncio.wait_for(process.wait(), TIMEOUT_SECONDS)
        await self.until(lambda: not any(map(alive, children.values())))
        return code

    def children(self, parent: int | None = None) -> dict[str, int]:
        """Process numbers by command."""
        parent = parent or (self.process.pid if self.process else 0)
        numbers = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        commands = {int(one): Path(f"/proc/{one}/cmdline").read_text().split("\0") for one in numbers}
        # One that just ended or has not begun yet shows no command of ours.
        return {command[3]: one for one, command in commands.items() if command[2:3] == ["plait_controlplane"]}

    async def ask(self, path: str, **options: Any) -> Any:
        transport = httpx.AsyncHTTPTransport(uds=str(self.sockets / "api.sock"))
        async with httpx.AsyncClient(transport=transport, base_url="http://plait", timeout=TIMEOUT_SECONDS) as api:
            answer = await (api.post(path, json=options) if options else api.get(path))
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def bytes(self, path: str) -> bytes:
        transport = httpx.AsyncHTTPTransport(uds=str(self.sockets / "api.sock"))
        async with httpx.AsyncClient(transport=transport, base_url="http://plait", timeout=TIMEOUT_SECONDS) as api:
            return (await api.get(path)).content

    async def fails(self, *options: str) -> tuple[int | None, str]:
        """Exit code and words of a start that must not succeed."""
        command = ["serve", "--source", str(self.source), "--state", str(self.state), "--sockets", str(self.sockets)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "plait_controlplane", *command, *options, stderr=asyncio.subprocess.PIPE
        )
        _, error = await asyncio.wait_for(process.communicate(), TIMEOUT_SECONDS)
        return process.returncode, error.decode()

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while True:
                found = condition()
                if await found if asyncio.iscoroutine(found) else found:
                    return
                await asyncio.sleep(0.02)

    async def generation(self) -> int:
        return int((await self.ask("/v1/mesh"))["generation"])


def alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def enrol(serve: Serve, connect: Channel, workload: str = "shop/stock-1") -> KeyPair:
    """As a proxy does that knows its token alone."""
    token = (await serve.ask("/v1/join-tokens", workload=workload))["token"]
    payload = token.split(".")[1]
    said = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    root = x509.load_pem_x509_certificate((serve.state / "ca" / "root.pem").read_bytes())
    assert said["roots"] == [fingerprint(root)]
    stub: Any = identity_pb2_grpc.IdentityStub(await connect(said["identity"], [root], OWN))
    key = new_key()
    signed = await stub.Sign(identity_pb2.SignRequest(csr=request(key), workload=workload, join_token=token))
    return KeyPair(key, tuple(map(x509.load_der_x509_certificate, signed.chain)), (root,))
