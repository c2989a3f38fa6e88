"""Owns the harness: a chain of plugins as a worker would load it, driven one request at a time, with no proxy and no
process.

Used by authors' tests, through the fixture `plait` or directly, and by `plait plugin check` and `bench`. The
dispatch, the judgement of answers and the limits of views are the worker's own.
"""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from plait_sdk.calls import Call, Phase
from plait_sdk.config import PluginConfig
from plait_sdk.errors import PluginError
from plait_sdk.host.dispatch import Dispatcher, Serving
from plait_sdk.host.driving import finish, start
from plait_sdk.manager import Chain, Loaded, OnError, build, load
from plait_sdk.plugin import Plugin
from plait_sdk.testing.crossing import Crossed, Crossing, FrameCrossing, Question
from plait_sdk.testing.exchange import Exchange, PluginPart
from plait_sdk.testing.faults import Kind, inject
from plait_sdk.testing.passage import Backend, Passage, answer_ok

Given = type[Plugin[Any]] | PluginPart
Headers = Mapping[str, str] | Iterable[tuple[str, str]]


class Harness:
    """A chain under test.

    Args:
        plugins: classes in the order in which they run, or `PluginPart`s with a configuration of their own.
        config: of the plugin when there is one.
        on_error: "closed" or "open", for plugins that say nothing else.
        on_timeout: likewise, for hooks that overrun their time.
        crossing: how calls reach the dispatch; by the frames of production when none is given.

    Raises:
        DefinitionError, ConfigError: as loading on a mesh would be refused.
    """

    def __init__(
        self,
        *plugins: Given,
        config: Mapping[str, Any] | PluginConfig | None = None,
        on_error: str = "closed",
        on_timeout: str = "closed",
        crossing: Crossing | None = None,
    ) -> None:
        if not plugins:
            raise PluginError("a harness without a plugin tests nothing", "give the class of your plugin")
        if config is not None and len(plugins) > 1:
            raise PluginError("config is for one plugin", "give each a PluginPart(YourPlugin, config=…)")
        parts = [
            each if isinstance(each, PluginPart) else PluginPart(each, config, "", on_error, on_timeout)
            for each in plugins
        ]
        self._open_on_timeout = {number for number, part in enumerate(parts) if part.on_timeout == "open"}
        self._crossing: Crossing = crossing or FrameCrossing()
        self.chain: Chain = build([self._load(part, number) for number, part in enumerate(parts)])
        self.backend: Backend = answer_ok
        self._channel = self._crossing.channel
        self._dispatcher = Dispatcher({0: self.chain}, self._channel)
        self._runner = asyncio.Runner()
        self._numbers = iter(range(1, 2**63))
        self._life("self_test")
        self._life("worker_started")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the loop of async hooks."""
        self._runner.close()

    def request(
        self,
        method: str = "GET",
        target: str = "/",
        *,
        headers: Headers = (),
        body: bytes | Sequence[bytes] = b"",
        authority: str = "web.shop:80",
        identity: str | None = "spiffe://shop.example/ns/shop/sa/test",
        candidates: Sequence[str] = (),
        backend: Backend | None = None,
        traceparent: str | None = None,
    ) -> Exchange:
        """Sends one request through all phases of the chain.

        Args:
            method: such as "GET".
            target: path and query.
            headers: of the request; a list of pairs for several values of a name.
            body: a list is sent as chunks.
            authority: host and port, as called.
            identity: of the caller, None for one that proved nothing.
            candidates: backends of the rule, "namespace/name".
            backend: answers what reaches it; 200 without a body by default.
            traceparent: the trace that the request belongs to (W3C).
        """
        path, _, query = target.partition("?")
        facts = {
            "method": method,
            "path": path,
            "query": query,
            "authority": authority,
            "scheme": "http",
            "request_id": f"test-{next(self._numbers)}",
            "candidates": list(candidates),
            "traceparent": traceparent,
            **_peer(identity),
            **DESTINATION,
        }
        chunks = [body] if isinstance(body, bytes) else list(body)
        passage = Passage(self.chain, self.cross, facts, _pairs(headers), backend or self.backend)
        return passage.run(chunks)

    def cross(self, question: Question) -> Crossed:
        """Makes one crossing, as a proxy would."""
        (crossed,) = self._answered([question], self._dispatcher.serve)
        culprit = crossed.answer.plugin
        if crossed.answer.kind != "fail" or crossed.answer.text != DEADLINE or culprit not in self._open_on_timeout:
            return crossed
        again = self.cross(replace(question, skip=question.skip | 1 << culprit))
        again.errors.insert(0, (culprit, DEADLINE))
        return again

    def fault(self, hook: str, kind: Kind, *, plugin: int = 0, times: int = 1) -> None:
        """Makes a hook fail the next `times` times: "timeout" as one that overran its time, "crash" as a worker that
        died.

        Args:
            hook: such as "on_request".
            kind: "timeout" is answered by `on_timeout`, "crash" by `on_error`.
            plugin: its place in the chain.
            times: how often.
        """
        inject(self._dispatcher, plugin, hook, kind, times)

    def hook(self, name: str, *arguments: Any) -> Any:
        """Runs a hook that is not on the path of requests, such as `validate`, and gives the answers of all plugins."""
        stage = self.chain.others.get(name)
        if stage is None:
            raise PluginError(
                f"no plugin of this chain implements {name}", "a hook of requests is tested with request()"
            )
        return [self._await(step.function(*arguments[: len(step.takes)]), step.is_async) for step in stage.steps]

    def connect(self, *, identity: str | None = "spiffe://shop.example/ns/shop/sa/test") -> Crossed:
        """Opens a connection: what `on_connect` says to it."""
        return self.cross(Question(Phase.CONNECT, {**_peer(identity), **DESTINATION}))

    def log(self, records: Sequence[Exchange]) -> None:
        """Hands requests that ended to `on_log`, as one batch."""
        facts = [{"method": each.method, "path": each.path, "status": each.status} for each in records]
        questions = [
            Question(Phase.LOG, {**each, "duration_micros": 1000}, record.sent.pairs)
            for each, record in zip(facts, records, strict=True)
        ]
        self._answered(questions, None)

    def _answered(self, questions: Sequence[Question], serve: Callable[[Call], Serving] | None) -> list[Crossed]:
        """Asks, lets the dispatch answer each by itself or all as one batch of records, and gives the answers."""
        numbers = [self._crossing.ask(question) for question in questions]
        calls = self._channel.take()
        for serving in [serve(call) for call in calls] if serve else [self._dispatcher.serve_log(calls)]:
            self._run(self._served(serving))
        self._channel.flush()
        results = self._crossing.results()
        return [results[number] for number in numbers]

    async def _served(self, serving: Serving) -> None:
        pending = start(serving)
        if pending is not None:
            await finish(serving, pending, self._channel)

    def _load(self, part: PluginPart, number: int) -> Loaded:
        values = part.config.model_dump(by_alias=True) if isinstance(part.config, PluginConfig) else part.config
        name = part.name or (part.plugin.__name__ if number == 0 else f"{part.plugin.__name__}-{number + 1}")
        for policy in (part.on_error, part.on_timeout):
            if policy not in ("open", "closed"):
                raise PluginError(f'a policy is "open" or "closed", not "{policy}"')
        on_error: OnError = "open" if part.on_error == "open" else "closed"
        return load(name, part.plugin, values, self._crossing.interest, on_error=on_error)

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs to the end, in a context of its own, as each call in a worker does."""
        return self._runner.run(work, context=contextvars.copy_context())

    def _life(self, name: str) -> None:
        if name in self.chain.others:
            self.hook(name)

    def _await(self, answer: Any, is_async: bool) -> Any:
        async def wait() -> Any:
            return await answer

        return self._run(wait()) if is_async else answer


DEADLINE = "deadline"
"""How the dispatch tells that a hook was interrupted."""

DESTINATION: dict[str, Any] = {"workload": "shop/web-1", "service": "shop/web", "port": 80}
"""Where every request of a harness goes."""


def _part(given: Given, config: Mapping[str, Any] | PluginConfig | None, on_error: str) -> PluginPart:
    return given if isinstance(given, PluginPart) else PluginPart(given, config, on_error=on_error)


def _pairs(headers: Headers) -> list[tuple[str, str]]:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return [(name.lower(), value) for name, value in pairs]


def _peer(identity: str | None) -> dict[str, Any]:
    """The peer's fields of a call; namespace and account are read from the identity."""
    parts = identity.split("/") if identity else []
    known = len(parts) == 7 and parts[3] == "ns" and parts[5] == "sa"
    return {
        "peer_identity": identity,
        "peer_namespace": parts[4] if known else None,
        "peer_service_account": parts[6] if known else None,
        "peer_address": "127.0.0.1:40000",
    }
