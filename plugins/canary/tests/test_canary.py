"""Who comes to the new backend: a share of the users, always the same ones, in every worker."""

import plait_sdk as plait
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plait_canary import Canary
from plait_canary.plugin import in_share
from plait_sdk.testing import Failure, Harness

OLD, NEW = "shop/web", "shop/web-next"
BY_HEADER = {"backend": "web-next", "percent": 20, "header": "x-user"}
BY_COOKIE = {"backend": "web-next", "percent": 50, "cookie": "side"}


def side(harness: Harness, **headers: str) -> str | None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return harness.request(headers=named, candidates=[OLD, NEW]).backend


def test_the_share_of_many_users_is_as_written() -> None:
    with Harness(Canary, config=BY_HEADER) as harness:
        new = sum(side(harness, x_user=f"user-{number}") == NEW for number in range(4000))
    assert 700 <= new <= 900  # 800 ± 4 standard deviations


@given(st.text(), st.floats(0, 100), st.floats(0, 100))
def test_who_is_in_a_share_is_in_each_larger_one(user: str, one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert in_share(user, large) or not in_share(user, small)


@given(st.text())
def test_none_and_all_are_none_and_all(user: str) -> None:
    assert not in_share(user, 0)
    assert in_share(user, 100)


def test_a_user_stays_on_one_side_in_every_worker() -> None:
    users = [f"user-{number}" for number in range(50)]
    seen = []
    for _ in range(2):
        with Harness(Canary, config=BY_HEADER) as harness:
            seen.append([side(harness, x_user=user) for user in users])
    assert seen[0] == seen[1]
    assert set(seen[0]) == {OLD, NEW}


def test_another_salt_draws_others() -> None:
    users = [f"user-{number}" for number in range(200)]
    assert [in_share(user, 50, "a") for user in users] != [in_share(user, 50, "b") for user in users]


def test_a_request_of_no_user_stays_with_the_old_backend() -> None:
    with Harness(Canary, config={**BY_HEADER, "percent": 99}) as harness:
        assert {side(harness) for _ in range(20)} == {OLD}


@pytest.mark.parametrize(("wish", "percent", "comes"), [("always", 0, NEW), ("never", 100, OLD), ("perhaps", 100, NEW)])
def test_a_tester_may_say_which_side(wish: str, percent: float, comes: str) -> None:
    with Harness(Canary, config={**BY_HEADER, "percent": percent}) as harness:
        assert side(harness, x_user="ada", x_canary=wish) == comes


def test_who_has_no_cookie_gets_one_and_stays_where_it_was() -> None:
    with Harness(Canary, config=BY_COOKIE) as harness:
        for _ in range(20):
            first = harness.request(candidates=[OLD, NEW])
            cookie = first.response.headers["set-cookie"]
            assert cookie.startswith("side=")
            assert cookie.endswith("; Max-Age=2592000; Path=/; HttpOnly; SameSite=Lax")
            again = harness.request(headers={"cookie": f"a=b; {cookie.partition(';')[0]}"}, candidates=[OLD, NEW])
            assert again.backend == first.backend
            assert "set-cookie" not in again.response.headers


def test_the_backends_own_cookies_are_kept() -> None:
    with Harness(Canary, config=BY_COOKIE) as harness:
        exchange = harness.request(candidates=[OLD, NEW], backend=lambda _: plait.Reply(200, {"set-cookie": "own=1"}))
    assert len(exchange.response.headers.all("set-cookie")) == 2


def test_with_several_other_backends_their_weights_decide() -> None:
    with Harness(Canary, config={**BY_HEADER, "percent": 0}) as harness:
        assert harness.request(headers={"x-user": "ada"}, candidates=[OLD, "shop/web-lts", NEW]).backend is None


def test_a_rule_without_the_backend_is_an_error_that_says_so() -> None:
    with Harness(Canary, config=BY_HEADER) as harness:
        verdict = harness.request(headers={"x-user": "ada"}, candidates=[OLD]).verdict
    assert isinstance(verdict, Failure)
    assert "the rule has no backend 'web-next'; it has shop/web" in verdict.text


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"backend": "x", "percent": 5}, "either `header` or `cookie`"),
        ({"backend": "x", "percent": 5, "header": "a", "cookie": "b"}, "either `header` or `cookie`"),
        ({"backend": "x", "percent": 101, "header": "a"}, "percent"),
    ],
)
def test_a_wrong_configuration_is_refused(config: dict[str, object], told: str) -> None:
    with pytest.raises(plait.ConfigError, match=told):
        Harness(Canary, config=config)
