"""Calls of an application that knows nothing of its sidecar, between network namespaces."""

import pytest
from pods import NODE, UNDECLARED_PORT, Pods, address

WEB, ECHO, ECHO6, OTHER = "10.96.77.1", "10.96.77.2", "fd96::2", "10.96.77.3"


@pytest.mark.parametrize(
    ("to", "port", "path", "host", "answers", "routed"),
    [
        pytest.param(ECHO, 80, "/", "echo", "echo-1", True, id="a Service at its address"),
        pytest.param(ECHO6, 80, "/", "echo", "echo-1", True, id="and at that of IPv6"),
        pytest.param(ECHO, 80, "/other/7", "echo", "other-1", False, id="with its route"),
        pytest.param(ECHO, 80, "/", "other", "echo-1", True, id="whatever Host says"),
        pytest.param(OTHER, 80, "/other/7", "echo.shop", "other-1", False, id="whatever Host says, the other way"),
        pytest.param(
            address("echo-1"), 8080, "/other/7", "echo", "echo-1", False, id="a pod at its own address, no route"
        ),
        pytest.param(address("echo-1"), UNDECLARED_PORT, "/", "echo", "echo-1", False, id="a port nobody declared"),
        pytest.param(WEB, 80, "/", "web", "web-1", False, id="its own Service"),
        pytest.param(address("web-1"), 8080, "/", "web", "web-1", False, id="its own address"),
        pytest.param("127.0.0.1", 8080, "/", "web", "web-1", False, id="itself on loopback"),
        pytest.param(NODE[4], 8080, "/", "echo", "outside", False, id="what the mesh does not know"),
        pytest.param(NODE[6], 8080, "/", "echo", "outside", False, id="and by IPv6"),
    ],
)
def test_the_address_that_was_dialled_is_called(
    pods: Pods, to: str, port: int, path: str, host: str, answers: str, routed: bool
) -> None:
    status, body = pods.get("web-1", to, port, path, host)
    assert status == 200, body
    assert (body["name"], body["path"]) == (answers, path)
    assert ("x-routed" in body["fields"]) == routed
    assert body["fields"]["host"] == host


@pytest.mark.parametrize(
    ("to", "port", "said"),
    [
        pytest.param(ECHO, 9000, "hello of echo-1\n", id="declared"),
        pytest.param(ECHO, 9001, "hello of echo-1\n", id="found out"),
        pytest.param(address("echo-1"), 9000, "hello of echo-1\n", id="at the pod's own address"),
        pytest.param(NODE[4], 9000, "hello of outside\n", id="outside"),
    ],
)
def test_a_server_may_speak_first(pods: Pods, to: str, port: int, said: str) -> None:
    assert pods.call("web-1", address=to, port=port) == {"said": said}


def test_who_calls_is_proven(pods: Pods) -> None:
    assert pods.get("web-1", OTHER, 80)[0] == 200
    status, text = pods.get("echo-1", OTHER, 80)
    assert (status, "other-for-web" in text) == (403, True), text
    status, text = pods.get("echo-1", address("other-1"), 8080)
    assert (status, "other-for-web" in text) == (403, True), text


def test_a_port_that_a_service_does_not_have_is_refused(pods: Pods) -> None:
    status, text = pods.get("web-1", ECHO, 81)
    assert (status >= 500, "no port 81" in text) == (True, True), text
