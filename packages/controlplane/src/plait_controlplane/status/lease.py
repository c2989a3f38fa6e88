"""Which replica writes: the holder of a Lease. Called by `writer`.

A Lease counts as left when its holder has not renewed it for its duration by our own clock: clocks of replicas may
differ. Who cannot renew gives up writing before another may take over.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime

from plait_controlplane.apiserver import ApiError, ApiServer, Object

LOG = logging.getLogger(__name__)

NAME = "plait-status"


class Lease:
    """Use: `run` in a task; `held` says whether to write."""

    duration_seconds = 15.0
    renew_seconds = 5.0

    def __init__(self, api: ApiServer, namespace: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._clock = clock
        self.holder = f"{socket.gethostname()}-{os.urandom(4).hex()}"
        self._renewed = float("-inf")
        self._seen: tuple[str, float] = ("", 0.0)

    @property
    def held(self) -> bool:
        """Whether it is ours, with time enough to end a write."""
        return self._clock() < self._renewed + self.duration_seconds - self.renew_seconds

    async def run(self) -> None:
        """Takes, renews and waits, until cancelled; then gives it back."""
        try:
            while True:
                try:
                    await self.tend()
                except ApiError as error:
                    LOG.warning("the Lease %s: %s", NAME, error.message)
                await asyncio.sleep(self.renew_seconds * (1 if self.held else 0.5))
        finally:
            if self.held:
                await asyncio.shield(self._give_back())

    async def tend(self) -> None:
        """One look at it; raises ApiError."""
        began = self._clock()
        try:
            lease = await self._api.ask("GET", f"{self._path}/{NAME}")
        except ApiError as error:
            if error.status != 404:
                raise
            body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": NAME}}
            await self._write("POST", self._path, {**body, "spec": self._spec(0)}, began)
            return
        spec, version = lease.get("spec") or {}, str(lease["metadata"]["resourceVersion"])
        mine = spec.get("holderIdentity") == self.holder
        if version != self._seen[0]:
            self._seen = (version, began)
        left = not spec.get("holderIdentity") or began >= self._seen[1] + float(spec.get("leaseDurationSeconds") or 0)
        if mine or left:
            changes = int(spec.get("leaseTransitions") or 0) + (not mine)
            await self._write("PUT", f"{self._path}/{NAME}", {**lease, "spec": self._spec(changes)}, began)

    async def _write(self, method: str, path: str, body: Object, began: float) -> None:
        try:
            await self._api.ask(method, path, body)
        except ApiError as error:
            if error.status != 409:
                raise
            return  # another was faster
        if not self.held:
            LOG.info("%s writes status", self.holder)
        self._renewed = began

    def _spec(self, changes: int) -> Object:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "holderIdentity": self.holder,
            "leaseDurationSeconds": int(self.duration_seconds),
            "leaseTransitions": changes,
            "renewTime": now,
        }

    async def _give_back(self) -> None:
        self._renewed = float("-inf")
        try:
            lease = await self._api.ask("GET", f"{self._path}/{NAME}")
            if (lease.get("spec") or {}).get("holderIdentity") == self.holder:
                body = {**lease, "spec": {**lease["spec"], "holderIdentity": ""}}
                await self._api.ask("PUT", f"{self._path}/{NAME}", body)
        except ApiError as error:
            LOG.info("the Lease %s was not given back: %s", NAME, error.message)
