"""The control plane as processes of its own, and what it spends. Used by `at_scale`."""

import asyncio
import os
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

TRUST_DOMAIN = "cluster.local"
PEM = serialization.Encoding.PEM


class ControlPlane:
    """`plait-controlplane serve --source kubernetes`."""

    def __init__(self, folder: Path, api_server: str) -> None:
        self.folder = folder
        self.discovery = ""
        self._process: asyncio.subprocess.Process | None = None
        user, cluster = "{name: u, user: {token: t}}", f"{{name: c, cluster: {{server: {api_server!r}}}}}"
        (folder / "kubeconfig").write_text(
            f"{{apiVersion: v1, kind: Config, clusters: [{cluster}], users: [{user}],"
            " contexts: [{name: x, context: {cluster: c, user: u}}], current-context: x}"
        )

    async def start(self, patience_seconds: float) -> None:
        """Until it says that it is ready."""
        folders = ["--state", str(self.folder / "state"), "--sockets", str(self.folder / "s")]
        source = ["--source", "kubernetes", "--kubeconfig", str(self.folder / "kubeconfig"), "--log-level", "warning"]
        command = [sys.executable, "-m", "plait_controlplane", "serve", *source, *folders]
        self._process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert self._process.stdout is not None
        line = (await asyncio.wait_for(self._process.stdout.readline(), patience_seconds)).decode()
        if not line.startswith("ready: discovery "):
            raise RuntimeError(f"the control plane did not start: {line!r}")
        self.discovery = line.split()[2].rstrip(",")

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()

    def write_leaf(self, namespace: str, account: str) -> None:
        """A certificate for the simulated proxies, which are all of one service account, and the root they trust."""
        authority = self.folder / "state" / "ca"
        root = x509.load_pem_x509_certificate((authority / "root.pem").read_bytes())
        signer = serialization.load_pem_private_key((authority / "root.key").read_bytes(), None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        identity = x509.UniformResourceIdentifier(f"spiffe://{TRUST_DOMAIN}/ns/{namespace}/sa/{account}")
        leaf = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(root.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(hours=12))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([identity]), critical=True)
            .sign(signer, hashes.SHA256())
        )
        private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (self.folder / "leaf.pem").write_bytes(private + leaf.public_bytes(PEM))
        shutil.copy(authority / "root.pem", self.folder / "root.pem")

    def memory_bytes(self) -> int:
        """Resident memory of its largest process: discovery, which holds the streams."""
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self._pids()]
        return max(pages) * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self) -> float:
        """Processor time of all its processes so far."""
        ticks = 0
        for pid in self._pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def _pids(self) -> list[int]:
        assert self._process is not None
        found, seen = [self._process.pid], 0
        while seen < len(found):
            children = Path(f"/proc/{found[seen]}/task/{found[seen]}/children").read_text().split()
            found += map(int, children)
            seen += 1
        return found
