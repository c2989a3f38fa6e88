"""Who gets a certificate when plugins are asked: they refuse or shorten, never lengthen, and fail closed."""

from datetime import timedelta
from pathlib import Path

import house_plugins
import pytest
from plait_controlplane.hooks.answers import Permit
from plait_controlplane.hooks.asking import permit
from plait_controlplane.hooks.enabled import Enabled
from plait_controlplane.hooks.runner import Runner
from plait_sdk.control import IdentityRequest


@pytest.fixture(autouse=True)
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(house_plugins.install(tmp_path / "packages")))


def runner(on_error: str = "Closed", *others: str) -> Runner:
    named = [{"package": "house-rules", "plugin": name, "onError": on_error} for name in (*others, "issues")]
    enabled = [Enabled.model_validate(one) for one in named]
    return Runner([one.model_copy(update={"deadline": timedelta(seconds=30)}) for one in enabled])


def asked(account: str) -> IdentityRequest:
    return IdentityRequest(f"spiffe://shop.example/ns/shop/sa/{account}", "shop", account, 3600, {})


@pytest.mark.parametrize(
    ("account", "wanted"),
    [
        ("web", Permit("", 3600)),
        ("fine", Permit("", 3600)),
        ("short", Permit("", 60)),
        ("long", Permit("", 3600)),
        ("closed", Permit("plugin issues: not today", 0)),
        ("raises", Permit("plugin issues could not say: ZeroDivisionError: no", 0)),
    ],
)
async def test_a_plugin_refuses_or_shortens(account: str, wanted: Permit) -> None:
    assert await permit(runner(), asked(account)) == wanted


@pytest.mark.parametrize("account", ["reply", "nothing"])
async def test_what_is_no_answer_refuses(account: str) -> None:
    assert "could not say: answered" in (await permit(runner(), asked(account))).refused


async def test_open_lets_pass_where_nobody_could_say() -> None:
    assert await permit(runner("Open"), asked("raises")) == Permit("", 3600)
    assert (await permit(runner("Open"), asked("closed"))).refused == "plugin issues: not today"


async def test_one_that_is_not_loaded_refuses_all() -> None:
    assert "plugin missing could not say" in (await permit(runner("Closed", "missing"), asked("web"))).refused
