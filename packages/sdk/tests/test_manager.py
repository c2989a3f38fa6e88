"""How plugins become a chain: order, tryfirst and trylast, wrappers, skipped plugins, configuration by generic
parameter.
"""

from typing import Any

import plait_sdk as plait
import pytest
from plait_sdk.manager import phases_of
from plait_sdk.testing import Harness, PluginPart

WRITES = plait.Writes(response_headers={"x-way"})


def step(name: str, **options: Any) -> type[plait.Plugin[plait.PluginConfig]]:
    """A plugin that tells that it ran."""

    class Step(plait.Plugin[plait.PluginConfig]):
        writes = WRITES

        @plait.hookimpl(**options)
        def on_response(self, response: plait.Response) -> None:
            response.headers.add("x-way", name)

    return Step


def wrapper(name: str) -> type[plait.Plugin[plait.PluginConfig]]:
    class Wrapper(plait.Plugin[plait.PluginConfig]):
        writes = WRITES

        @plait.hookimpl(wrapper=True)
        def on_response(self, response: plait.Response) -> Any:
            response.headers.add("x-way", f"{name}(")
            answer = yield
            response.headers.add("x-way", f"){name}")
            return answer

    return Wrapper


@pytest.mark.parametrize(
    ("plugins", "way"),
    [
        ([step("a"), step("b"), step("c")], "a, b, c"),
        ([step("a"), step("b", tryfirst=True), step("c")], "b, a, c"),
        ([step("a", trylast=True), step("b"), step("c")], "b, c, a"),
        ([step("a"), wrapper("w"), step("b")], "w(, a, b, )w"),
        ([wrapper("v"), wrapper("w"), step("b")], "v(, w(, b, )w, )v"),
    ],
)
def test_hooks_run_in_the_order_of_the_chain(plugins: list[Any], way: str) -> None:
    with Harness(*plugins) as harness:
        assert harness.request().response.headers["x-way"] == way


class Deny(plait.Plugin[plait.PluginConfig]):
    @plait.hookimpl
    def on_request(self) -> plait.Verdict:
        return plait.Deny("closed")


class Forgive(plait.Plugin[plait.PluginConfig]):
    @plait.hookimpl(wrapper=True)
    def on_request(self) -> Any:
        answer = yield
        assert answer == plait.Deny("closed")
        return plait.Reply(204)


def test_a_wrapper_sees_the_answer_and_gives_another() -> None:
    with Harness(Forgive, Deny) as harness:
        exchange = harness.request()
    assert (exchange.verdict, exchange.by) == (plait.Reply(204), "Forgive")


class Config(plait.PluginConfig):
    word: str = "none"


class Base(plait.Plugin[Config]):
    writes = plait.Writes(headers={"x-word"})

    @plait.hookimpl
    def on_request(self, request: plait.Request) -> None:
        request.headers["x-word"] = self.config.word


class Derived(Base):
    pass


def test_a_derived_class_keeps_configuration_and_hooks() -> None:
    assert Derived.config_model() is Config
    with Harness(PluginPart(Derived, {"word": "a"}), PluginPart(Base, {"word": "b"}, name="second")) as harness:
        exchange = harness.request()
    assert [(effect.plugin, effect.value) for effect in exchange.effects] == [(0, "a"), (1, "b")]
    assert exchange.sent["x-word"] == "b"


def test_the_phases_that_must_cross_follow_from_the_hooks() -> None:
    with Harness(Base) as harness:
        assert phases_of(harness.chain.plugins[0]) == ("request",)
