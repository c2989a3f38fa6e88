"""HTTPRoutes from YAML to what applications receive and get: matches, filters, timeouts, retries, bad backends."""

import uuid

import pytest
from calling import Answer, ask
from shop import Shop, until

ROUTE = """
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: shop}
spec: {selector: {app: nobody}, ports: [{name: http, port: 80, targetPort: http, appProtocol: http}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: stock, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: stock}]
  rules:
  - matches: [{path: {type: Exact, value: /exact}}]
    backendRefs: [{name: green, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /prefix}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}]
    backendRefs: [{name: green, port: 80}]
  - matches: [{path: {type: RegularExpression, value: "/re/[0-9]+"}}]
    backendRefs: [{name: blue, port: 80}]
  - matches: [{path: {type: Exact, value: /both}, headers: [{name: x-kind, value: a}], method: POST}]
    backendRefs: [{name: blue, port: 80}]
  - matches: [{path: {type: Exact, value: /both}}]
    backendRefs: [{name: green, port: 80}]
  - matches: [{path: {value: /query}, queryParams: [{name: q, value: "1"}]}]
    backendRefs: [{name: blue, port: 80}]
  - matches: [{path: {value: /fields}}]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {set: [{name: x-set, value: s}], add: [{name: x-add, value: a}], remove: [x-gone]}
    - {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-answer, value: r}]}}
    backendRefs:
    - name: green
      port: 80
      filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-backend, value: g}]}}]
  - matches: [{path: {value: /host}}]
    filters:
    - {type: URLRewrite, urlRewrite: {hostname: other.example, path: {type: ReplaceFullPath, replaceFullPath: /whole}}}
    backendRefs: [{name: green, port: 80}]
  - matches: [{path: {value: /redirect}}]
    filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: new.example, statusCode: 302}}]
  - matches: [{path: {value: /mirror}}]
    filters: [{type: RequestMirror, requestMirror: {backendRef: {name: blue, port: 80}}}]
    backendRefs: [{name: green, port: 80}]
  - matches: [{path: {value: /slow}}]
    timeouts: {request: 300ms}
    backendRefs: [{name: green, port: 80}]
  - matches: [{path: {value: /flaky}}]
    retry: {codes: [503], attempts: 2, backoff: 10ms}
    backendRefs: [{name: green, port: 80}]
  - matches: [{path: {value: /missing}}]
    backendRefs: [{name: green, port: 80, weight: 0}, {name: gone, port: 80, weight: 1}]
  - matches: [{path: {value: /empty}}]
    backendRefs: [{name: nobody, port: 80}]
"""


@pytest.fixture(scope="module", autouse=True)
def routed(shop: Shop) -> None:
    """The route is in force."""
    shop.write("test-route.yaml", ROUTE)
    until(lambda: get(shop, "/nowhere").status == 404, "the route is in force")


def get(shop: Shop, path: str, method: str = "GET", **headers: str) -> Answer:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(shop.ports["web_out"], f"http://stock{path}", fields, method)


@pytest.mark.parametrize(
    ("path", "method", "headers", "who"),
    [
        ("/exact", "GET", {}, "stock-1"),
        ("/re/17", "GET", {}, "stock-2"),
        ("/both", "POST", {"x_kind": "a"}, "stock-2"),
        ("/both", "GET", {"x_kind": "a"}, "stock-1"),
        ("/both", "POST", {"x_kind": "b"}, "stock-1"),
        ("/query?q=1", "GET", {}, "stock-2"),
        ("/%65xact", "GET", {}, "stock-1"),
    ],
)
def test_the_most_specific_rule_takes_a_request(
    shop: Shop, path: str, method: str, headers: dict[str, str], who: str
) -> None:
    answer = get(shop, path, method, **headers)
    assert (answer.status, answer.json()["name"]) == (200, who)


@pytest.mark.parametrize("path", ["/exact/more", "/re/x", "/re/17/x", "/query?q=2", "/prefixes"])
def test_what_no_rule_takes_is_not_found(shop: Shop, path: str) -> None:
    answer = get(shop, path)
    assert (answer.status, answer.headers["plait-reason"]) == (404, "route_not_found")
    assert "HTTPRoute shop/stock" in answer.body


@pytest.mark.parametrize(("path", "received"), [("/prefix", "/new"), ("/prefix/a?x=1", "/new/a?x=1")])
def test_a_prefix_is_rewritten(shop: Shop, path: str, received: str) -> None:
    assert get(shop, path).json()["path"] == received


def test_fields_are_set_added_and_removed(shop: Shop) -> None:
    answer = get(shop, "/fields", x_set="old", x_add="first", x_gone="1")
    fields = answer.json()["headers"]
    assert (fields["x-set"], fields["x-backend"], "x-gone" in fields) == ("s", "g", False)
    assert fields["x-add"] == "first,a"
    assert answer.headers["x-answer"] == "r"


def test_host_and_path_are_rewritten(shop: Shop) -> None:
    received = get(shop, "/host/a").json()
    assert (received["headers"]["host"], received["path"]) == ("other.example", "/whole")


def test_a_redirect_is_answered_by_the_sidecar(shop: Shop) -> None:
    answer = get(shop, "/redirect/a?x=1")
    assert (answer.status, answer.headers["location"]) == (302, "https://new.example/redirect/a?x=1")


def test_a_mirror_gets_a_copy_and_answers_nobody(shop: Shop) -> None:
    path = f"/mirror/{uuid.uuid4()}"
    assert get(shop, path).json()["name"] == "stock-1"

    def copies() -> int:
        return int(ask(shop.ports["stock_2"], f"/seen{path}").body)

    until(lambda: copies() == 1, "the copy arrives")


def test_a_request_that_takes_too_long_is_given_up(shop: Shop) -> None:
    answer = get(shop, "/slow/2")
    assert (answer.status, answer.headers["plait-reason"]) == (504, "request_timeout")
    assert get(shop, "/slow/0").status == 200


@pytest.mark.parametrize(("failures", "status"), [(0, 200), (2, 200), (3, 503)])
def test_a_request_is_tried_again_as_often_as_the_route_says(shop: Shop, failures: int, status: int) -> None:
    assert get(shop, f"/flaky/{failures}/{uuid.uuid4()}").status == status


def test_what_cannot_be_replayed_is_not_tried_again(shop: Shop) -> None:
    assert get(shop, f"/flaky/1/{uuid.uuid4()}", "POST").status in (200, 503)


@pytest.mark.parametrize(
    ("path", "status", "reason"), [("/missing", 500, "backend_not_found"), ("/empty", 503, "no_ready_endpoint")]
)
def test_a_backend_that_cannot_serve_says_why(shop: Shop, path: str, status: int, reason: str) -> None:
    answer = get(shop, path)
    assert (answer.status, answer.headers["plait-reason"]) == (status, reason)
