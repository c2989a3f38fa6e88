"""How a call runs: verdicts, junk, failures by policy, rollback, skipped plugins, async hooks, context variables."""

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

import plait_sdk as plait
import pytest
from plait_sdk.calls import Phase
from plait_sdk.testing import Failure, PluginPart
from plait_sdk.testing import Harness as AnyHarness
from plait_sdk.testing.crossing import Crossing, FrameCrossing, MemoryCrossing, Question

Harness = Callable[..., AnyHarness]


@pytest.fixture(name="harness_of", params=[FrameCrossing, MemoryCrossing])
def both_ways(request: pytest.FixtureRequest) -> Harness:
    """A harness by the frames of production, and one by plain objects: they may not differ."""
    crossing: type[Crossing] = request.param
    return lambda *plugins, **options: AnyHarness(*plugins, **options, crossing=crossing())


PluginClass = type[plait.Plugin[plait.PluginConfig]]


class Plain(plait.Plugin[plait.PluginConfig]):
    """A plugin of no hooks yet."""


def answers(answer: Any, hook: str = "on_request") -> PluginClass:
    """A plugin whose one hook answers so."""

    def implementation(self: Any) -> Any:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    implementation.__name__ = hook
    return type("Answers", (Plain,), {hook: plait.hookimpl(implementation)})


class Tag(plait.Plugin[plait.PluginConfig]):
    writes = plait.Writes(headers={"x-tag"})

    @plait.hookimpl
    def on_request(self, request: plait.Request) -> None:
        request.headers["x-tag"] = "yes"


class TagAndFail(plait.Plugin[plait.PluginConfig]):
    writes = plait.Writes(headers={"x-tag"}, path=True)
    reads = plait.Reads(path=True)

    @plait.hookimpl
    def on_request(self, request: plait.Request) -> None:
        request.headers["x-tag"] = "wrong"
        request.path = "/wrong"
        request.attributes["note"] = "wrong"
        raise LookupError("no such tenant")


def test_the_first_verdict_that_is_not_continue_ends_the_chain(harness_of: Harness) -> None:
    with harness_of(
        answers(plait.Continue()), answers(plait.Deny("closed", 451)), answers(plait.Reply(204))
    ) as harness:
        exchange = harness.request()
    assert (exchange.verdict, exchange.by, exchange.status) == (plait.Deny("closed", 451), "Answers-2", 451)


def test_a_reply_answers_in_place_of_the_backend(harness_of: Harness) -> None:
    with harness_of(answers(plait.Reply(200, {"X-A": "b"}, "text"))) as harness:
        exchange = harness.request(backend=lambda _: pytest.fail("the backend was asked"))
    assert (exchange.response.body, exchange.response.headers["x-a"]) == (b"text", "b")


@pytest.mark.parametrize(
    ("hook", "answer", "told"),
    [
        ("on_request", 5, "TypeError: on_request answered 5; a verdict is plait.Continue, Reply, Deny or None"),
        ("on_request", {"x": "y"}, "TypeError: on_request answered {'x': 'y'}"),
        ("on_complete", plait.Deny("late"), "TypeError: on_complete answers no verdict"),
        ("authenticate", "ada", "TypeError: authenticate answered 'ada'; claims are a mapping"),
        ("authenticate", {"sub": {1}}, "TypeError: Object of type set is not JSON serializable"),
        ("rate_limit_key", 7, "TypeError: rate_limit_key answered 7; a key is a text"),
        ("choose_backend", "shop/webb", "ValueError: choose_backend answered 'shop/webb', which is no candidate"),
        ("labels", {"tenant": "a"}, 'UndeclaredError: the label "tenant" is not declared'),
        ("labels", "tenant", "TypeError: labels answered 'tenant'; it is a mapping"),
        ("retry_decision", "yes", "TypeError: retry_decision answered 'yes'"),
        (
            "rank_endpoints",
            ["10.0.0.9:80"],
            "ValueError: rank_endpoints answered '10.0.0.9:80', which it was not given",
        ),
        ("on_response", KeyError("x"), "KeyError: 'x'"),
    ],
)
def test_junk_and_exceptions_are_failures_of_the_plugin(harness_of: Harness, hook: str, answer: Any, told: str) -> None:
    phase = {"retry_decision": Phase.RETRY, "rank_endpoints": Phase.ENDPOINTS, "on_response": Phase.RESPONSE}
    phase["on_complete"] = Phase.COMPLETE
    with harness_of(answers(answer, hook)) as harness:
        crossed = harness.cross(Question(phase.get(hook, Phase.REQUEST), {"candidates": ["shop/web", "shop/web-2"]}))
    assert (crossed.answer.kind, crossed.effects) == ("fail", [])
    assert crossed.answer.text.startswith(told)


def test_a_failure_is_closed_by_default_and_nothing_follows(harness_of: Harness) -> None:
    with harness_of(TagAndFail, Tag) as harness:
        exchange = harness.request()
    assert isinstance(exchange.verdict, Failure)
    assert (exchange.by, exchange.verdict.text) == ("TagAndFail", "LookupError: no such tenant")


def test_an_open_failure_is_undone_and_the_chain_goes_on(harness_of: Harness) -> None:
    with harness_of(PluginPart(TagAndFail, on_error="open"), Tag) as harness:
        exchange = harness.request("GET", "/right")
    assert exchange.verdict == plait.Continue()
    assert (exchange.path, exchange.sent["x-tag"], dict(exchange.attributes)) == ("/right", "yes", {})
    assert [(effect.plugin, effect.value) for effect in exchange.effects] == [(1, "yes")]
    assert exchange.errors == [("TagAndFail", "LookupError: no such tenant")]


def test_a_plugin_that_failed_openly_leaves_nothing_of_its_earlier_hooks(harness_of: Harness) -> None:
    class Claims(TagAndFail):
        @plait.hookimpl
        def authenticate(self) -> dict[str, str]:
            return {"sub": "ada"}

    with harness_of(PluginPart(Claims, on_error="open"), Tag) as harness:
        exchange = harness.request("GET", "/right")
    assert (exchange.claims, exchange.path, exchange.sent["x-tag"]) == ({}, "/right", "yes")
    assert [effect.plugin for effect in exchange.effects] == [1]


def test_the_traceback_starts_and_ends_in_the_code_of_the_author(harness_of: Harness) -> None:
    class Undeclared(plait.Plugin[plait.PluginConfig]):
        @plait.hookimpl
        def on_request(self, request: plait.Request) -> None:
            self.look(request)

        def look(self, request: plait.Request) -> str:
            return request.path

    with harness_of(Undeclared) as harness:
        verdict = harness.request().verdict
    assert isinstance(verdict, Failure)
    files = [line for line in verdict.traceback.splitlines() if line.startswith("  File")]
    assert [line.rpartition(" ")[2] for line in files] == ["on_request", "look"]
    assert all(__file__ in line for line in files)
    assert "add path=True to its `reads`" in verdict.traceback


def test_a_plugin_that_is_to_be_skipped_does_not_run(harness_of: Harness) -> None:
    with harness_of(answers(plait.Deny("closed")), Tag) as harness:
        crossed = harness.cross(Question(Phase.REQUEST, skip=0b01))
    assert crossed.answer.kind == "continue"
    assert [effect.plugin for effect in crossed.effects] == [1]


def test_async_hooks_run_beside_others_in_order(harness_of: Harness) -> None:
    class Slow(plait.Plugin[plait.PluginConfig]):
        writes = plait.Writes(headers={"x-way"})

        @plait.hookimpl
        async def on_request(self, request: plait.Request) -> None:
            request.headers.add("x-way", "before")
            await asyncio.sleep(0)
            async with asyncio.timeout(30):
                await asyncio.sleep(0)
            request.headers.add("x-way", "after")

    class Fast(plait.Plugin[plait.PluginConfig]):
        writes = plait.Writes(headers={"x-way"})

        @plait.hookimpl
        def on_request(self, request: plait.Request) -> None:
            request.headers.add("x-way", "fast")

    with harness_of(Slow, Fast) as harness:
        exchange = harness.request()
    assert exchange.sent.all("x-way") == ["before", "after", "fast"]
    assert [effect.plugin for effect in exchange.effects] == [0, 0, 1]


def test_a_timeout_of_the_authors_own_is_an_ordinary_exception(harness_of: Harness) -> None:
    class Impatient(plait.Plugin[plait.PluginConfig]):
        @plait.hookimpl
        async def on_request(self) -> plait.Verdict:
            try:
                async with asyncio.timeout(0):
                    await asyncio.sleep(3600)
            except TimeoutError:
                return plait.Reply(504)
            return plait.Continue()

    with harness_of(Impatient) as harness:
        assert harness.request().status == 504


def test_a_context_variable_ends_with_its_call(harness_of: Harness) -> None:
    seen: contextvars.ContextVar[str] = contextvars.ContextVar("seen", default="nobody")

    class Remembers(plait.Plugin[plait.PluginConfig]):
        writes = plait.Writes(headers={"x-seen"})

        @plait.hookimpl
        def on_request(self, request: plait.Request) -> None:
            request.headers["x-seen"] = seen.get()
            seen.set("somebody")

    with harness_of(Remembers) as harness:
        assert [harness.request().sent["x-seen"] for _ in range(2)] == ["nobody", "nobody"]


def test_hooks_of_one_crossing_follow_one_another(harness_of: Harness) -> None:
    class All(plait.Plugin[plait.PluginConfig]):
        reads = plait.Reads(headers={"x-key"}, peer=True)
        writes = plait.Writes(labels={"tenant"})

        @plait.hookimpl
        def authenticate(self, request: plait.Request) -> dict[str, str]:
            return {"sub": request.headers["x-key"]}

        @plait.hookimpl
        def authorize(self, request: plait.Request, peer: plait.Peer) -> plait.Verdict | None:
            assert peer.service_account == "test"
            return None if request.claims["sub"] == "ada" else plait.Deny("not you")

        @plait.hookimpl
        def rate_limit_key(self, request: plait.Request) -> str:
            return str(request.claims["sub"])

        @plait.hookimpl
        def choose_backend(self, candidates: plait.Candidates) -> str | None:
            return candidates.named("web-2")

        @plait.hookimpl
        def labels(self, request: plait.Request) -> dict[str, str]:
            return {"tenant": str(request.claims["sub"])}

    with harness_of(All) as harness:
        exchange = harness.request(headers={"X-Key": "ada"}, candidates=["shop/web", "shop/web-2"])
        assert harness.request(headers={"x-key": "eve"}).verdict == plait.Deny("not you")
    assert (exchange.claims, exchange.rate_limit_key, exchange.backend) == ({"sub": "ada"}, "ada", "shop/web-2")
    assert exchange.labels == {"tenant": "ada"}


def test_records_come_as_one_batch(harness_of: Harness) -> None:
    sizes: list[int] = []

    class Logs(plait.Plugin[plait.PluginConfig]):
        reads = plait.Reads(path=True)

        @plait.hookimpl
        def on_log(self, records: list[plait.LogRecord]) -> None:
            sizes.append(len([record.request.path for record in records if record.outcome.status == 200]))

    with harness_of(Logs) as harness:
        harness.log([harness.request("GET", f"/{number}") for number in range(3)])
    assert sizes == [3]
