"""Which requests fit a document, what the others are told, and documents that are none."""

import json
from typing import Any

import plait_sdk as plait
import pytest
from plait_openapi import OpenApi
from plait_openapi.document import header_names
from plait_sdk.testing import Harness

ORDER = {
    "type": "object",
    "required": ["book"],
    "additionalProperties": False,
    "properties": {"book": {"type": "string", "minLength": 1}, "copies": {"type": "integer", "minimum": 1}},
}
DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "orders", "version": "1"},
    "servers": [{"url": "https://api.example.com/v9"}],
    "paths": {
        "/orders": {
            "get": {
                "parameters": [
                    {"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 100}},
                    {"$ref": "#/components/parameters/tenant"},
                ],
                "responses": {"200": {"description": "ok"}},
            },
            "post": {
                "requestBody": {"required": True, "content": {"application/json": {"schema": ORDER}}},
                "responses": {"201": {"description": "made"}},
            },
        },
        "/orders/{id}": {
            "servers": [{"url": "https://other.example.com"}],
            "get": {
                "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}],
                "responses": {"200": {"description": "ok"}},
            },
        },
    },
    "components": {
        "parameters": {"tenant": {"name": "X-Tenant", "in": "header", "required": True, "schema": {"type": "string"}}},
    },
}  # fmt: skip
POST: dict[str, Any] = {"method": "POST", "target": "/orders", "headers": {"content-type": "application/json"}}
TENANT = {"x-tenant": "acme"}


def harness(**config: Any) -> Harness:
    return Harness(OpenApi, config={"document": DOCUMENT, **config})


@pytest.mark.parametrize(
    ("request_", "status", "told"),
    [
        ({"target": "/orders", "headers": TENANT}, 200, ""),
        ({"target": "/orders?limit=5", "headers": TENANT}, 200, ""),
        ({"target": "/orders?limit=500", "headers": TENANT}, 400, "500 is greater than the maximum of 100"),
        ({"target": "/orders?limit=many", "headers": TENANT}, 400, "limit"),
        ({"target": "/orders"}, 400, "Missing required header parameter: X-Tenant"),
        ({"target": "/orders/7"}, 200, ""),
        ({"target": "/orders/%37"}, 200, ""),
        ({"target": "/orders/seven"}, 400, "id"),
        ({"target": "/order"}, 404, "/order is not described"),
        ({"target": "/v9/orders", "headers": TENANT}, 404, "/v9/orders is not described"),
        ({"method": "DELETE", "target": "/orders/7"}, 405, "DELETE is not described for /orders/7"),
        ({**POST, "body": b'{"book": "Emma"}'}, 200, ""),
        ({**POST, "body": [b'{"book"', b': "Em', b'ma"}']}, 200, ""),
        ({**POST, "body": b'{"book": ""}'}, 400, "book: '' should be non-empty"),
        ({**POST, "body": b'{"book": "x", "copies": 0}'}, 400, "copies: 0 is less than"),
        ({**POST, "body": b'{"title": "x"}'}, 400, "'book' is a required property"),
        ({**POST, "body": b"{"}, 400, ""),
        (POST, 400, "Missing required request body"),
        ({**POST, "headers": {"content-type": "text/csv"}, "body": b"a,b"}, 415, "text/csv"),
        ({**POST, "body": b" " * (1024 * 1024 + 1)}, 413, ""),
    ],
)  # fmt: skip
def test_requests(request_: dict[str, Any], status: int, told: str) -> None:
    with harness() as judged:
        exchange = judged.request(**request_)
    assert exchange.status == status, exchange.response
    assert told in exchange.response.body.decode()


def test_a_refusal_is_a_problem_document() -> None:
    with harness() as judged:
        answered = judged.request(target="/orders?limit=500").response
    body = json.loads(answered.body)
    assert answered.headers["content-type"] == "application/problem+json"
    assert (body["status"], len(body["errors"])) == (400, 2)


def test_a_base_path_stands_before_the_documents_paths() -> None:
    with harness(base_path="/api/v1") as judged:
        assert judged.request(target="/api/v1/orders/7").status == 200
        assert judged.request(target="/orders/7").status == 404


def test_what_is_not_described_may_pass() -> None:
    with harness(unknown="Pass") as judged:
        assert judged.request("DELETE", "/orders/7").status == 200
        assert judged.request("POST", "/health", body=b"x").status == 200
        assert judged.request(target="/orders").status == 400


def test_a_dry_run_refuses_nothing_and_says_what_it_would(capsys: pytest.CaptureFixture[str]) -> None:
    with harness(mode="DryRun") as judged:
        assert judged.request(target="/order").status == 200
    assert "GET /order would be refused: /order is not described" in capsys.readouterr().out


def test_only_headers_that_the_document_names_cross() -> None:
    assert header_names(DOCUMENT) == {"content-type", "x-tenant"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"openapi": "2.0"}, "3.0 and 3.1 are read"),
        ({"paths": {"/x": {"get": {"parameters": [{"name": "a"}]}}}}, "no valid OpenAPI 3.1"),
        ({"paths": {"/x": {"$ref": "#/nowhere"}}}, "no valid OpenAPI 3.1"),
    ],
)
def test_a_document_that_is_none_is_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(plait.ConfigError, match=told):
        Harness(OpenApi, config={"document": {**DOCUMENT, **change}})


def test_version_3_0_is_read_too() -> None:
    with harness(document={**DOCUMENT, "openapi": "3.0.3"}) as judged:
        assert judged.request(target="/orders/7").status == 200
