"""Owns the questions to a mesh on a cluster: through the API server, as whom the user's kubeconfig says.

Made by `asked`. What may be asked is up to the cluster's RBAC: each replica of the control plane is reached by the
proxy subresource of its pod, and believes whoever shows a token of the account `plait-viewer`, which the API server
makes for those who may have one. Must not print.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from plait_controlplane.apiserver import ApiError, ApiServer

from plait_cli.client import TIMEOUT_SECONDS, Answer, Api, Query, Unreachable, reason_of
from plait_cli.errors import UNREACHABLE, USAGE, Failure
from plait_cli.install.settings import API_PORT, NAMESPACE, SELECTOR_TEXT, VIEWER

T = TypeVar("T")

PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
TOKENS = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{VIEWER}/token"
AUDIENCE, HEADER = "plait-api", "plait-authorization"
# The shortest that an API server makes.
TOKEN_SECONDS = 600
RENEW_SECONDS = 300
MOST_AT_ONCE = 8
LOGS_HINT = "the ClusterRole view lets read logs: kubectl -n {} create rolebinding NAME --clusterrole=view --user=YOU"
BIND_HINT = f"whoever may, lets you: kubectl -n {NAMESPACE} create rolebinding NAME --role={VIEWER} --user=YOU"


class Silent(Unreachable):
    """A replica of the control plane does not answer, or none is ready."""

    def __init__(self, why: str) -> None:
        Failure.__init__(self, f"the control plane does not answer: {why}", "plait check", UNREACHABLE)
        self.why = why


class ClusterApi(Api):
    """The API of a mesh on a cluster. What every replica knows is asked of the first that answers."""

    def __init__(self, kubeconfig: Path | None, context: str | None) -> None:
        self._runner = asyncio.Runner()
        self._api = self._done(ApiServer.connect(kubeconfig, context))
        self._token, self._made = "", 0.0
        self._pods: list[str] = []
        self.silent: dict[str, str] = {}
        """Replicas that did not answer, and why."""

    def close(self) -> None:
        """Ends the connections."""
        self._runner.run(self._api.close())
        self._runner.close()

    def ask(
        self, target: str, query: Query = (), post: object = None, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> Answer:
        """One question. Raises Failure."""
        if post is not None:
            raise Failure("on a cluster nothing is changed by this way", code=USAGE)
        return self._done(self._ask_any(target, query))

    def proxies(self) -> list[dict[str, Any]]:
        """Every connected proxy, of all replicas. One that changed from one to another is where it came last."""
        self._pods, self.silent = [], {}
        found: dict[str, dict[str, Any]] = {}
        for answer in self._done(self._ask_all("/v1/proxies")):
            for proxy in answer.json():
                known = found.get(proxy["proxy"])
                if known is None or known["connected_unix"] <= proxy["connected_unix"]:
                    found[proxy["proxy"]] = proxy
        return [found[name] for name in sorted(found)]

    def replicas(self) -> list[str]:
        """The pods of the control plane that are ready."""
        return self._done(self._ready())

    def metrics(self, workloads: Sequence[str]) -> dict[str, str]:
        """What the proxy of each pod counts; without those that do not answer."""
        return self._done(self._metrics(workloads))

    async def _metrics(self, workloads: Sequence[str]) -> dict[str, str]:
        some = asyncio.Semaphore(MOST_AT_ONCE)

        async def one(name: str) -> str | None:
            try:
                async with some:
                    return (await self._ask_any("/v1/metrics", [("workload", name)])).text
            except Failure:
                return None

        await self._shown()  # once for all of them
        answers = await asyncio.gather(*map(one, workloads))
        return {name: text for name, text in zip(workloads, answers, strict=True) if text is not None}

    async def _ask_any(self, target: str, query: Query = ()) -> Answer:
        silent: Silent | None = None
        for pod in await self._ready():
            try:
                return await self._ask(pod, target, query)
            except Silent as error:
                self.silent[pod] = error.why
                silent = error
        raise silent or Silent("none of its replicas is ready")

    async def _ask_all(self, target: str) -> list[Answer]:
        found = []
        for pod in await self._ready():
            try:
                found.append(await self._ask(pod, target, ()))
            except Silent as error:
                self.silent[pod] = error.why
        return found

    async def _ask(self, pod: str, target: str, query: Query) -> Answer:
        path = f"{PODS}/https:{pod}:{API_PORT}/proxy{target}"
        headers = {"Accept": "*/*", HEADER: f"Bearer {await self._shown()}"}
        try:
            answer = Answer(*await self._api.through(path, query, headers))
        except ApiError as error:
            if error.status in (404, 502, 503, 504):
                raise Silent(error.message) from error
            raise told(error, "get", "pods/proxy") from error
        if answer.status in (400, 422):
            raise Failure(reason_of(answer), code=USAGE)
        if answer.status >= 500:
            raise Silent(reason_of(answer))
        if answer.status >= 400:
            raise Failure(f"the control plane refused {target}: {answer.status} {reason_of(answer)}")
        return answer

    async def _ready(self) -> list[str]:
        """Looked up once, until proxies are asked for again."""
        if self._pods:
            return self._pods
        try:
            found = (await self._api.ask("GET", PODS, query={"labelSelector": SELECTOR_TEXT})).get("items") or []
        except ApiError as error:
            raise told(error, "list", "pods") from error
        if not found:
            raise Failure(f"the cluster at {self._api.host} has no mesh in {NAMESPACE}", "plait install", UNREACHABLE)
        self._pods = sorted(one["metadata"]["name"] for one in found if _is_ready(one))
        return self._pods

    async def _shown(self) -> str:
        if not self._token or time.monotonic() > self._made + RENEW_SECONDS:
            spec = {"audiences": [AUDIENCE], "expirationSeconds": TOKEN_SECONDS}
            body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
            try:
                answer = await self._api.ask("POST", TOKENS, body)
            except ApiError as error:
                if error.status == 404:
                    message = f"the mesh on this cluster has no account {NAMESPACE}/{VIEWER}"
                    raise Failure(message, "plait upgrade", UNREACHABLE) from error
                raise told(error, "create", f"serviceaccounts/token of {VIEWER}") from error
            self._token, self._made = str((answer.get("status") or {}).get("token", "")), time.monotonic()
        return self._token

    def _done(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self._runner.run(work)
        except ApiError as error:
            raise told(error, "reach", "the cluster") from error


class PodLogs:
    """What proxies of pods write to their log: lines of the access log, where the Mesh turns it on, and others."""

    def __init__(self, kubeconfig: Path | None, context: str | None) -> None:
        self._where = (kubeconfig, context)

    def lines(self, workload: str) -> Iterator[bytes]:
        """Those that come from now on, until the pod is gone; blocks, and may be asked in a thread of its own.

        Raises Failure where the cluster refuses.
        """
        namespace, _, name = workload.partition("/")
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/log"
        query = {"container": "plait-proxy", "follow": "true", "tailLines": "0"}
        with asyncio.Runner() as runner:
            api = runner.run(ApiServer.connect(*self._where))
            log = api.lines(path, query)
            try:
                while (line := runner.run(_next(log))) is not None:
                    yield line
            except ApiError as error:
                if not error.is_away and error.status != 404:
                    hint = LOGS_HINT.format(namespace)
                    raise Failure(f"you may not get pods/log in {namespace}: {error.message}", hint) from error
            finally:
                runner.run(log.aclose())
                runner.run(api.close())


async def _next(lines: AsyncIterator[bytes]) -> bytes | None:
    return await anext(lines, None)


def told(error: ApiError, verb: str, resource: str) -> Failure:
    """What the API server said, in the user's words: which right is missing, or how it is reached."""
    if error.status == 403:
        return Failure(f"you may not {verb} {resource} in {NAMESPACE}: {error.message}", BIND_HINT)
    if error.status == 401:
        return Failure(f"the cluster does not know you: {error.message}", "are the credentials of the kubeconfig good?")
    if error.reason == "NoConfiguration":
        return Failure(error.message, "give a kubeconfig with --kubeconfig or KUBECONFIG", UNREACHABLE)
    if error.is_away:
        return Failure(str(error), "does kubectl get nodes answer?", UNREACHABLE)
    return Failure(f"the API server refuses: {error}")


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)
