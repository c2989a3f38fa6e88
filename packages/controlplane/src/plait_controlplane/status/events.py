"""Events on objects, for what no status of ours can say: pods that should have a proxy and have none.

Called by `writer`. An event is named by what it says, so that it is said once, by whichever replica.
"""

import hashlib
import logging
from collections.abc import Iterable
from datetime import UTC, datetime

from plait_controlplane.apiserver import ApiError, ApiServer, Object
from plait_controlplane.resources.cluster import PlainPod

LOG = logging.getLogger(__name__)

REASON = "NotInjected"
MESSAGE = (
    "asked into the mesh by plait.dev/inject, and it has no proxy: it was created before that, or its namespace was not"
    " labelled then; calls reach it in plaintext, and it calls nobody as itself. Delete it to have it created anew"
)


class Events:
    """Use: `announce`, again and again."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api
        self._said: set[str] = set()

    async def announce(self, pods: Iterable[PlainPod]) -> None:
        """Says it of each that was not said before; raises ApiError when nothing can be said now."""
        missing = {pod.uid: pod for pod in pods if pod.is_missing}
        self._said &= missing.keys()
        for uid, pod in missing.items():
            if uid in self._said:
                continue
            try:
                await self._api.ask("POST", f"/api/v1/namespaces/{pod.namespace}/events", _event(pod))
            except ApiError as error:
                if error.is_away:
                    raise
                if error.status != 409:  # another replica has said it
                    LOG.warning("no event on pod %s/%s: %s", pod.namespace, pod.name, error.message)
            self._said.add(uid)


def _event(pod: PlainPod) -> Object:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    digest = hashlib.sha256(f"{pod.uid} {REASON}".encode()).hexdigest()[:16]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{pod.name[:200]}.{digest}", "namespace": pod.namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": pod.namespace,
            "name": pod.name,
            "uid": pod.uid,
        },
        "type": "Warning",
        "reason": REASON,
        "message": MESSAGE,
        "source": {"component": "plait-controlplane"},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
