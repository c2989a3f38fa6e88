"""The way to the Kubernetes API server: where it is, one question at a time, and watches; JSON in and JSON out.

Called by whatever talks to a cluster. Knows no kind and keeps nothing: callers decide what an error means to them. The
client's library takes most of a second to load, so it is loaded by whom it serves: the command has verbs without a
cluster.
"""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

Object = dict[str, Any]

# How long one question may take; a watch has its own.
TIMEOUT_SECONDS = 15.0

# A pod has its own account's token there; elsewhere a kubeconfig says who asks.
IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")

MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


class ApiError(Exception):
    """The API server refused, or (status 0) gave no answer."""

    def __init__(self, status: int, reason: str, message: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message
        self.retry_after_seconds = retry_after_seconds
        """How long the server asks us to stay away; 0 = it does not say."""

    @property
    def is_away(self) -> bool:
        """Whether asking again may help: nobody answered, or the server said that it cannot just now."""
        return self.status == 0 or self.status == 429 or self.status >= 500


class ApiServer:
    """One API server. Use as `async with await ApiServer.connect() as api`."""

    def __init__(self, configuration: Any) -> None:
        from kubernetes.aio import client

        self._client = client.ApiClient(configuration)

    @classmethod
    async def connect(cls, kubeconfig: Path | None = None, context: str | None = None) -> Self:
        """As the pod's own service account, or as the kubeconfig (else KUBECONFIG, else ~/.kube/config) says.

        Raises ApiError when neither is there.
        """
        from kubernetes.aio import client, config

        found = client.Configuration()
        try:
            if kubeconfig is None and context is None and await asyncio.to_thread(IN_CLUSTER.exists):
                config.load_incluster_config(found)
            else:
                file = str(kubeconfig) if kubeconfig else os.environ.get("KUBECONFIG") or "~/.kube/config"
                await config.load_kube_config(file, context, found, persist_config=False)
        except config.ConfigException as error:
            raise ApiError(0, "NoConfiguration", f"no way to a cluster: {error}") from error
        return cls(found)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connections."""
        await self._client.close()

    @property
    def host(self) -> str:
        """The address, for people."""
        return str(self._client.configuration.host)

    async def ask(
        self,
        method: str,
        path: str,
        body: Object | list[Object] | None = None,
        query: Mapping[str, str] | None = None,
        content: str = "application/json",
        accept: str = "application/json",
    ) -> Object:
        """What the server answers; raises ApiError."""
        import aiohttp

        headers = {"Accept": accept, "Content-Type": content}
        try:
            answer = await self._call(method, path, (query, headers, body), TIMEOUT_SECONDS)
            return _read(answer.status, answer.reason, await answer.read(), answer.headers)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error) from error

    async def through(
        self, path: str, query: Sequence[tuple[str, str]], headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """What a pod answers behind its proxy subresource; raises ApiError where the API server itself says no."""
        import aiohttp

        try:
            answer = await self._call("GET", path, (query, dict(headers), None), TIMEOUT_SECONDS)
            data = await answer.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error) from error
        if _is_refusal(answer.status, data):
            _read(answer.status, answer.reason, data, answer.headers)
        return answer.status, data

    async def watch(
        self, path: str, query: Mapping[str, str], quiet_seconds: float, accept: str = "application/json"
    ) -> AsyncGenerator[Object]:
        """Event after event until the server ends the watch; raises ApiError.

        A server that says nothing for `quiet_seconds` is taken for gone: one that is there sends bookmarks.
        """
        import aiohttp

        limit = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT_SECONDS, sock_read=quiet_seconds)
        words = {**query, "watch": "true", "allowWatchBookmarks": "true"}
        answer = None
        try:
            answer = await self._call("GET", path, (words, {"Accept": accept}, None), limit)
            if answer.status != 200:
                _read(answer.status, answer.reason, await answer.read(), answer.headers)
            async for line in answer.response.content:
                yield _event(line)
        except (TimeoutError, ValueError, aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error) from error
        finally:
            if answer is not None:
                answer.response.close()

    async def lines(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[bytes]:
        """Line after line of a text that goes on, such as the log of a pod, until it ends; raises ApiError."""
        import aiohttp

        limit = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT_SECONDS)
        answer = None
        try:
            answer = await self._call("GET", path, (query, {"Accept": "*/*"}, None), limit)
            if answer.status != 200:
                _read(answer.status, answer.reason, await answer.read(), answer.headers)
            async for line in answer.response.content:
                yield line
        except (TimeoutError, ValueError, aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error) from error
        finally:
            if answer is not None:
                answer.response.close()

    async def _call(self, method: str, path: str, asked: tuple[Any, Any, Any], limit: Any) -> Any:
        query, headers, body = asked
        call = await self._client.param_serialize(
            method,
            path,
            query_params=list(query.items()) if isinstance(query, Mapping) else list(query or ()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        return await self._client.call_api(*call[:4], _request_timeout=limit)

    def _unreachable(self, error: Exception) -> ApiError:
        why = str(error) or type(error).__name__
        return ApiError(0, "Unreachable", f"the API server at {self.host} does not answer: {why}")


def _is_refusal(status: int, data: bytes) -> bool:
    """Whether an error is the API server's own, which says a Status, and not that of whom it asked."""
    if status < 400:
        return False
    try:
        said = json.loads(data)
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("kind") == "Status"


def _event(line: bytes) -> Object:
    said = json.loads(line)
    if not isinstance(said, dict):
        raise ValueError("an event of a watch is no object")
    return said


def _read(status: int, reason: str, data: bytes, headers: Mapping[str, str]) -> Object:
    try:
        said = json.loads(data) if data else {}
    except ValueError:
        said = {"message": data[:200].decode(errors="replace")}
    if not isinstance(said, dict):
        raise ApiError(0, "NoObject", f"the API server answered {status} and no object")
    if not 200 <= status < 300:
        after = headers.get("Retry-After", "")
        pause = float(after) if after.isdigit() else 0.0
        raise ApiError(status, str(said.get("reason") or reason), str(said.get("message") or reason), pause)
    return said
