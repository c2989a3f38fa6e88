"""What an authorizer is asked, what its answers do, and that nothing passes without it. Real servers, three ways."""

import json
from collections.abc import Iterator
from typing import Any

import grpc
import plait_sdk as plait
import pytest
from aiohttp import web
from authorizers import grpc_server, http_server
from plait_extauthz import ExtAuthz
from plait_extauthz._gen import check_pb2
from plait_extauthz.grpc import METHOD, answer_of, request_of
from plait_extauthz.opa import answer_of as opa_answer_of
from plait_extauthz.question import Answer, BadAnswer, Question
from plait_sdk.testing import Failure, Harness

ASK: dict[str, Any] = {
    "method": "POST",
    "target": "/orders/7?deep=1",
    "headers": {"Authorization": "Bearer x", "x-other": "y"},
}
UPSTREAM = {"allowed_upstream_headers": ["x-user"]}


def harness(protocol: str, url: str, **config: Any) -> Harness:
    return Harness(ExtAuthz, config={"protocol": protocol, "url": url, "timeout_seconds": 10, **config})


def decide_http(request: web.Request, _: bytes) -> web.Response:
    match request.path.removeprefix("/check"):
        case "/login":
            return web.Response(status=302, headers={"Location": "https://login.example/", "X-Secret": "s"})
        case "/broken":
            return web.Response(status=503)
        case "/no":
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic"}, text="who are you?")
        case "/teapot":
            return web.Response(status=299)
    return web.Response(headers={"X-User": "ada", "X-Else": "z"})


def decide_opa(request: web.Request, body: bytes) -> web.Response:
    asked = json.loads(body)["input"]
    results = {
        "/no": {
            "allowed": False,
            "http_status": 451,
            "body": "not here",
            "response_headers_to_add": {"location": "/x"},
        },
        "/false": False,
        "/junk": {"allow": True},
        "/object": {"allowed": True, "headers": {"x-user": "ada"}},
    }
    answer = {} if asked["path"] == "/undefined" else {"result": results.get(asked["path"], asked["method"] == "POST")}
    return web.json_response(answer)


class Envoy:
    """A server of Envoy's service."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def check(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.asked.append(request.attributes)
        path = request.attributes.request.http.path
        if path == "/broken":
            context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        user = [check_pb2.HeaderValueOption(header=check_pb2.HeaderValue(key="X-User", value="ada"))]
        if path == "/no":
            denied = check_pb2.DeniedHttpResponse(status=check_pb2.HttpStatus(code=401), body="who?", headers=user)
            return check_pb2.CheckResponse(status=check_pb2.Status(code=16), denied_response=denied)
        status = check_pb2.Status(code=7 if path == "/bare" else 0)
        return check_pb2.CheckResponse(status=status, ok_response=check_pb2.OkHttpResponse(headers=user))

    def add_to(self, server: grpc.Server) -> None:
        handler = grpc.unary_unary_rpc_method_handler(
            self.check, check_pb2.CheckRequest.FromString, check_pb2.CheckResponse.SerializeToString
        )
        service, method = METHOD.strip("/").split("/")
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {method: handler})])


@pytest.fixture(scope="module")
def http() -> Iterator[tuple[str, list[web.Request]]]:
    with http_server(decide_http) as (url, asked):
        yield f"{url}/check", asked


@pytest.fixture(scope="module")
def opa() -> Iterator[str]:
    with http_server(decide_opa) as (url, _):
        yield f"{url}/v1/data/mesh/allow"


@pytest.fixture(scope="module")
def envoy_server() -> Iterator[tuple[str, Envoy]]:
    server = Envoy()
    with grpc_server(server.add_to) as url:
        yield url, server


def test_over_http_it_is_asked_with_the_method_the_path_and_chosen_headers(http: tuple[str, list[web.Request]]) -> None:
    url, asked = http
    with harness("HTTP", url, context={"mesh": "shop"}) as checked:
        assert checked.request(**ASK).status == 200
    seen = asked[-1]
    assert (seen.method, seen.path_qs, seen.host) == ("POST", "/check/orders/7?deep=1", "web.shop:80")
    assert (seen.headers["authorization"], seen.headers["x-context-mesh"]) == ("Bearer x", "shop")
    assert seen.headers["x-plait-identity"] == "spiffe://shop.example/ns/shop/sa/test"
    assert "x-other" not in seen.headers


def test_what_it_says_of_the_caller_replaces_what_the_caller_says(http: tuple[str, list[web.Request]]) -> None:
    with harness("HTTP", http[0], **UPSTREAM) as checked:
        exchange = checked.request(headers={"x-user": "root"})
    assert exchange.sent["x-user"] == "ada"
    assert "x-else" not in exchange.sent


def test_an_answer_without_the_header_leaves_no_header_of_the_callers(opa: str) -> None:
    with harness("OPA", opa, **UPSTREAM) as checked:
        exchange = checked.request("POST", "/", headers={"x-user": "root"})
    assert (exchange.status, "x-user" in exchange.sent) == (200, False)


@pytest.mark.parametrize(
    ("path", "status", "headers", "body"),
    [
        ("/no", 401, {"www-authenticate": "Basic", "content-type": "text/plain; charset=utf-8"}, b"who are you?"),
        ("/login", 302, {"location": "https://login.example/"}, b""),
        ("/teapot", 200, {}, b""),
    ],
)
def test_over_http_a_status_decides(
    http: tuple[str, list[web.Request]], path: str, status: int, headers: dict[str, str], body: bytes
) -> None:
    with harness("HTTP", http[0]) as checked:
        answered = checked.request("GET", path).response
    assert (answered.status, dict(answered.headers), answered.body) == (status, headers, body)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/", 200),
        ("GET", "/", 403),
        ("GET", "/object", 200),
        ("POST", "/false", 403),
        ("POST", "/undefined", 403),
        ("POST", "/no", 451),
        ("POST", "/junk", 500),  # unintelligible: an error, which the policy refuses
    ],
)
def test_by_opas_api_the_rules_result_decides(opa: str, method: str, path: str, status: int) -> None:
    with harness("OPA", opa) as checked:
        assert checked.request(method, path).status == status


@pytest.mark.parametrize(
    "result",
    [1, "yes", [], {}, {"allowed": "yes"}, {"allowed": False, "http_status": "4"}, {"allowed": True, "headers": 5}],
)
def test_a_result_that_is_no_decision_is_none(result: Any) -> None:
    with pytest.raises(BadAnswer):
        opa_answer_of(result)


def test_over_grpc_it_is_asked_as_envoy_asks(envoy_server: tuple[str, Envoy]) -> None:
    url, server = envoy_server
    with harness("GRPC", url, **UPSTREAM, context={"mesh": "shop"}) as checked:
        exchange = checked.request(**ASK)
    assert (exchange.status, exchange.sent["x-user"]) == (200, "ada")
    asked = server.asked[-1]
    http = asked.request.http
    assert (http.method, http.path, http.host) == ("POST", "/orders/7?deep=1", "web.shop:80")
    assert dict(http.headers) == {"authorization": "Bearer x"}
    assert asked.source.principal == "spiffe://shop.example/ns/shop/sa/test"
    assert asked.source.address.socket_address.port_value == 40000
    assert (asked.destination.service, dict(asked.context_extensions)) == ("shop/web", {"mesh": "shop"})


def test_over_grpc_the_code_decides(envoy_server: tuple[str, Envoy]) -> None:
    with harness("GRPC", envoy_server[0], allowed_client_headers=["x-user"]) as checked:
        refused, bare = checked.request("GET", "/no"), checked.request("GET", "/bare")
    assert (refused.status, refused.response.body, refused.response.headers["x-user"]) == (401, b"who?", "ada")
    assert (bare.status, bare.verdict) == (403, plait.Deny("the authorizer refused"))


def test_bytes_are_those_of_envoys_own_messages() -> None:
    question = Question(
        "POST", "/orders/7", "deep=1", "web.shop:80", "http", {"authorization": "Bearer x"},
        "spiffe://d/ns/a/sa/x", "127.0.0.1:40000", "shop/web", "r-1", {"mesh": "shop"},
    )  # fmt: skip
    assert request_of(question).SerializeToString(deterministic=True).hex() == (
        "0a94010a290a110a0f12093132372e302e302e3118c0b80222147370696666653a2f2f642f6e732f612f73612f78120a1208"
        "73686f702f776562224d124b0a03722d311204504f53541a190a0d617574686f72697a6174696f6e12084265617265722078"
        "22102f6f72646572732f373f646565703d312a0b7765622e73686f703a3830320468747470520c0a046d657368120473686f"
        "70"
    )
    allowed = check_pb2.CheckResponse.FromString(bytes.fromhex(
        "0a001a16120f0a0d0a06582d5573657212036164612a03782d6222100a0e0a0161120911000000000000f03f"
    ))  # fmt: skip
    assert answer_of(allowed) == Answer(True, 200, [("X-User", "ada")])
    denied = check_pb2.CheckResponse.FromString(bytes.fromhex(
        "0a06081012026e6f121c0a03089103120f0a0d0a06582d5573657212036164611a0477686f3f"
    ))  # fmt: skip
    assert answer_of(denied) == Answer(False, 401, [("X-User", "ada")], b"who?")


@pytest.mark.parametrize("protocol", ["HTTP", "OPA", "GRPC"])
def test_nothing_passes_when_nobody_answers(protocol: str) -> None:
    scheme = "grpc" if protocol == "GRPC" else "http"
    with harness(protocol, f"{scheme}://127.0.0.1:1/x" if protocol != "GRPC" else "grpc://127.0.0.1:1") as checked:
        verdict = checked.request().verdict
    assert isinstance(verdict, Failure)


@pytest.mark.parametrize(("protocol", "path"), [("HTTP", "/broken"), ("GRPC", "/broken")])
def test_nothing_passes_when_it_breaks(
    http: tuple[str, list[web.Request]], envoy_server: tuple[str, Envoy], protocol: str, path: str
) -> None:
    with harness(protocol, http[0] if protocol == "HTTP" else envoy_server[0]) as checked:
        assert isinstance(checked.request("GET", path).verdict, Failure)


@pytest.mark.parametrize(
    "config",
    [
        {"protocol": "GRPC", "url": "http://x"},
        {"protocol": "HTTP", "url": "grpc://x"},
        {"protocol": "HTTP", "url": "http://"},
        {"protocol": "SOAP", "url": "http://x"},
        {"protocol": "HTTP", "url": "http://x", "timeout_seconds": 0},
    ],
)
def test_a_wrong_configuration_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(plait.ConfigError):
        Harness(ExtAuthz, config=config)
