"""A browser logs in at a real provider through the plugin; forged, old and stolen pieces of a login open nothing."""

import json
import secrets
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import plait_sdk as plait
import pytest
from oidc_provider_mock import User, run_server_in_thread
from plait_oidc import Oidc
from plait_oidc.session import Sealer
from plait_sdk.testing import Exchange, Failure, Harness

KEY = secrets.token_urlsafe(32)
HTML = {"accept": "text/html,*/*"}
SITE = "https://shop.example"


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    ada = User(sub="ada", claims={"email": "ada@example.org", "name": "Ada"})
    with run_server_in_thread(user_claims=[ada], require_nonce=True) as server:
        yield f"http://127.0.0.1:{server.server_port}"


def harness(issuer: str, **config: Any) -> Harness:
    facts = {"issuer": issuer, "client_id": "shop", "client_secret": "s", "public_url": SITE, "cookie_key": KEY}
    return Harness(Oidc, config={**facts, **config})


def cookie_of(exchange: Exchange) -> str:
    return exchange.response.headers["set-cookie"].partition(";")[0]


def with_cookie(exchange: Exchange) -> dict[str, str]:
    return {**HTML, "cookie": cookie_of(exchange)}


def lets_in(location: str, sub: str = "ada") -> str:
    """What the provider sends the browser back with: path and query."""
    answered = httpx.post(location, data={"sub": sub}, follow_redirects=False, trust_env=False)
    back = urlsplit(answered.headers["location"])
    assert f"{back.scheme}://{back.netloc}" == SITE
    return f"{back.path}?{back.query}"


def logs_in(browser: Harness, target: str = "/cart?item=7") -> Exchange:
    sent = browser.request(target=target, headers=HTML)
    assert sent.status == 302
    return browser.request(target=lets_in(sent.response.headers["location"]), headers=with_cookie(sent))


def test_a_browser_logs_in_and_comes_back_to_where_it_was(issuer: str) -> None:
    with harness(issuer) as browser:
        done = logs_in(browser)
        assert (done.status, done.response.headers["location"]) == (302, "/cart?item=7")
        inside = browser.request(target="/cart?item=7", headers=with_cookie(done) | {"x-user": "root"})
    assert inside.status == 200
    assert (inside.sent["x-user"], inside.sent["x-user-email"]) == ("ada", "ada@example.org")
    assert inside.claims["sub"] == "ada"
    assert "cookie" not in inside.sent


def test_the_cookie_can_be_read_by_nobody_else(issuer: str) -> None:
    with harness(issuer) as browser:
        done = logs_in(browser)
    said = done.response.headers["set-cookie"]
    assert said.endswith("; Max-Age=28800; Path=/; HttpOnly; SameSite=Lax; Secure")
    assert "ada" not in said


def test_the_service_keeps_its_own_cookies(issuer: str) -> None:
    with harness(issuer) as browser:
        cookies = f"a=1; {cookie_of(logs_in(browser))}; b=2"
        assert browser.request(headers={**HTML, "cookie": cookies}).sent["cookie"] == "a=1; b=2"


def test_any_proxy_opens_the_session(issuer: str) -> None:
    with harness(issuer) as one, harness(issuer) as other:
        assert other.request(headers=with_cookie(logs_in(one))).sent["x-user"] == "ada"


@pytest.mark.parametrize(
    ("request_", "others", "status"),
    [
        ({"headers": {"accept": "application/json"}}, "Refuse", 401),
        ({"method": "POST", "headers": HTML}, "Refuse", 401),
        ({"headers": {"accept": "application/json"}}, "Pass", 200),
        ({"target": "/health"}, "Refuse", 200),
        ({"target": "/health/x"}, "Refuse", 401),
    ],
)
def test_who_is_no_browser_is_refused_or_passes_as_nobody(
    issuer: str, request_: dict[str, Any], others: str, status: int
) -> None:
    with harness(issuer, others=others, open_paths=["/health"]) as browser:
        request_["headers"] = {**request_.get("headers", {}), "x-user": "root"}
        exchange = browser.request(**request_)
    assert exchange.status == status
    assert "x-user" not in exchange.sent


def test_a_login_that_another_browser_began_is_not_taken(issuer: str) -> None:
    with harness(issuer) as browser:
        mine, theirs = browser.request(headers=HTML), browser.request(headers=HTML)
        back = lets_in(theirs.response.headers["location"])
        assert browser.request(target=back, headers=with_cookie(mine)).status == 400
        assert browser.request(target=back, headers=HTML).status == 400


def test_a_code_opens_one_session(issuer: str) -> None:
    with harness(issuer) as browser:
        sent = browser.request(headers=HTML)
        back = lets_in(sent.response.headers["location"])
        assert browser.request(target=back, headers=with_cookie(sent)).status == 302
        assert browser.request(target=back, headers=with_cookie(sent)).status == 400


def test_a_token_for_another_client_or_login_is_not_believed(issuer: str) -> None:
    with harness(issuer) as browser:
        sent = browser.request(headers=HTML)
        location = sent.response.headers["location"]
        nonce = parse_qs(urlsplit(location).query)["nonce"][0]
        back = lets_in(location.replace(nonce, "another"))
        assert browser.request(target=back, headers=with_cookie(sent)).status == 400


def test_a_refusal_of_the_provider_is_told(issuer: str) -> None:
    with harness(issuer) as browser:
        sent = browser.request(headers=HTML)
        state = parse_qs(urlsplit(sent.response.headers["location"]).query)["state"][0]
        answered = browser.request(
            target=f"/oauth2/callback?error=access_denied&state={state}", headers=with_cookie(sent)
        )
    assert (answered.status, answered.response.body) == (400, b"the provider let nobody in: access_denied\n")


def test_what_is_over_forged_or_of_another_kind_is_no_session(issuer: str) -> None:
    claims, good, past = {"claims": {"sub": "root"}}, 4_000_000_000, 1_000_000_000
    sealed = [
        Sealer(KEY).seal("session", claims, past),
        Sealer(KEY).seal("login", claims, good),
        Sealer(secrets.token_urlsafe(32)).seal("session", claims, good),
        Sealer(KEY).seal("session", claims, good)[:-2],
        "x.y.z",
        "",
    ]
    with harness(issuer) as browser:
        seen = [browser.request(headers={**HTML, "cookie": f"plait-session={each}"}).status for each in sealed]
        # The pieces are right: what is whole, good and in time opens.
        whole = Sealer(KEY).seal("session", claims, good)
        assert browser.request(headers={**HTML, "cookie": f"plait-session={whole}"}).sent["x-user"] == "root"
    assert seen == [302] * len(sealed)


def test_a_logout_ends_the_session_here_and_there(issuer: str) -> None:
    with harness(issuer) as browser:
        out = browser.request(target="/oauth2/logout", headers=with_cookie(logs_in(browser)))
    assert out.status == 302
    assert out.response.headers["location"].startswith(f"{issuer}/")
    assert "Max-Age=0" in out.response.headers["set-cookie"]


def test_a_provider_that_is_away_lets_nobody_in() -> None:
    with harness("http://127.0.0.1:1") as browser:
        assert isinstance(browser.request(headers=HTML).verdict, Failure)


def test_a_provider_that_names_itself_otherwise_is_not_believed(issuer: str) -> None:
    class Pretender(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = json.dumps({"issuer": issuer, "authorization_endpoint": "http://127.0.0.1/"}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with HTTPServer(("127.0.0.1", 0), Pretender) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with harness(f"http://127.0.0.1:{server.server_port}") as browser:
            verdict = browser.request(headers=HTML).verdict
        thread.join(30)
    assert isinstance(verdict, Failure)
    assert "says that its issuer is" in verdict.text


@pytest.mark.parametrize(
    "config",
    [{"issuer": "ftp://x"}, {"public_url": "https://x/path"}, {"cookie_key": "short"}, {"callback_path": "oauth2"}],
)
def test_a_wrong_configuration_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(plait.ConfigError):
        harness(**{"issuer": "http://localhost", **config})
