"""What proxies say of a Plugin, as its user is told."""

import pytest
from plait_controlplane.sources.lastgood import Verdict
from plait_controlplane.status.plugins import judged
from plait_controlplane.status.proxies import PluginState, Proxies, ProxyState

VERDICT = Verdict("Plugin", "shop", "p", "shop.yaml", 7, "Accepted", ())
TRACEBACK = "Traceback\n" + "\n".join(f"line {number}" for number in range(9)) + "\nImportError: no module\n"


def proxy(*plugins: PluginState) -> ProxyState:
    state = Proxies().connected("shop/a-1", ("shop/a-1",), "0.1.0")
    state.plugins = plugins
    return state


def failed(version: bytes, earlier: bool) -> PluginState:
    return PluginState("shop/p", version, "Failed", TRACEBACK, earlier)


@pytest.mark.parametrize(
    ("proxies", "status", "problems"),
    [
        ([], "Accepted", 0),
        ([proxy(PluginState("shop/p", b"2", "Live", "", False))], "Accepted", 0),
        ([proxy(failed(b"1", earlier=False))], "Accepted", 0),
        ([proxy(failed(b"2", earlier=True))], "Stale", 1),
        ([proxy(failed(b"2", earlier=False))], "Refused", 1),
        ([proxy(failed(b"2", earlier=True)), proxy(failed(b"2", earlier=False))], "Refused", 2),
    ],
)
def test_a_version_that_was_not_loaded_is_told(proxies: list[ProxyState], status: str, problems: int) -> None:
    [found] = judged([VERDICT], proxies, {"shop/p": b"2"})
    assert (found.state, len(found.problems)) == (status, problems)


def test_the_last_lines_of_a_traceback_are_told_and_who_said_them() -> None:
    [found] = judged([VERDICT], [proxy(failed(b"2", earlier=True))], {"shop/p": b"2"})
    message = found.problems[0].message
    assert message.startswith("beside shop/a-1 it was not loaded, the version before serves on: line 4")
    assert message.endswith("ImportError: no module")


def test_other_objects_are_left_as_they_are() -> None:
    other = Verdict("Service", "shop", "p", "shop.yaml", 1, "Accepted", ())
    assert judged([other], [proxy(failed(b"2", earlier=False))], {"shop/p": b"2"}) == [other]
