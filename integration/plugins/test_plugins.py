"""Plugins on a real mesh: from the user's YAML to what caller and application see."""

from pathlib import Path

import pytest
from plugged import Mesh, live, until


def test_without_plugins_there_is_no_python_beside_a_proxy(mesh: Mesh) -> None:
    assert mesh.workers() == 0
    assert "x-word" not in mesh.received()["headers"]


def test_what_a_plugin_changes_is_what_both_sides_see(mesh: Mesh) -> None:
    mesh.attach("p", config={"word": "two"})
    live(mesh, "two")
    assert mesh.received()["headers"]["x-word"] == "two"
    assert mesh.received(path="/a", do="rewrite")["path"] == "/rewritten"
    assert mesh.workers() > 0
    assert mesh.status("p") == ("Accepted", "")
    mesh.detach("p")
    until(lambda: mesh.workers() == 0, "the workers end with the last plugin")


@pytest.mark.parametrize("direction", ["Inbound", "Outbound"])
def test_a_plugin_answers_or_refuses_in_its_own_words(mesh: Mesh, direction: str) -> None:
    mesh.attach("p", direction=direction)
    live(mesh)
    denied = mesh.call(do="deny")
    assert (denied.status_code, denied.headers["plait-reason"]) == (401, "plugin_denied")
    assert "Plugin shop/p" in denied.text
    assert "not you; never" in denied.text
    reply = mesh.call(do="reply")
    assert (reply.status_code, reply.headers["x-teapot"], reply.text) == (418, "yes", "short and stout")
    mesh.detach("p")


def test_policies_judge_what_a_plugin_made_of_a_request(mesh: Mesh) -> None:
    mesh.attach("p")
    live(mesh)
    refused = mesh.call(do="admin")
    assert (refused.status_code, refused.headers["plait-reason"]) == (403, "policy_denied")
    mesh.detach("p")


@pytest.mark.parametrize(
    ("do", "policy", "status", "reason"),
    [
        ("raise", {"onError": "Closed"}, 500, "plugin_error"),
        ("raise", {"onError": "Open"}, 200, None),
        ("sleep", {"onTimeout": "Closed"}, 504, "plugin_timeout"),
        ("sleep", {"onTimeout": "Open"}, 200, None),
    ],
)
def test_a_plugin_that_fails_is_dealt_with_as_its_policy_says(
    mesh: Mesh, do: str, policy: dict[str, str], status: int, reason: str | None
) -> None:
    mesh.attach("p", limits={"deadline": "500ms"}, **policy)
    live(mesh)
    answer = mesh.call(do=do)
    assert (answer.status_code, answer.headers.get("plait-reason")) == (status, reason), answer.text
    assert "secret of the plugin" not in answer.text
    mesh.detach("p")


def test_a_version_that_cannot_be_loaded_never_takes_the_place_of_one_that_serves(mesh: Mesh) -> None:
    mesh.attach("p", config={"word": "good"})
    live(mesh, "good")
    mesh.attach("p", config={"word": "bad"})
    until(lambda: mesh.status("p")[0] == "Stale", "the failure is told on the object")
    assert "no plugin works with the word bad" in mesh.status("p")[1]
    assert mesh.call().headers["x-answered"] == "good"
    mesh.attach("p", config={"word": "better"})
    live(mesh, "better")
    until(lambda: mesh.status("p") == ("Accepted", ""), "it is well again")
    mesh.detach("p")


@pytest.mark.parametrize(("policy", "status"), [("Closed", 503), ("Open", 200)])
def test_without_any_version_on_load_failure_decides(mesh: Mesh, policy: str, status: int) -> None:
    mesh.attach("p", config={"word": "bad"}, onLoadFailure=policy)
    until(lambda: mesh.status("p")[0] == "Refused", "the failure is told on the object")
    answer = mesh.call()
    assert answer.status_code == status, answer.text
    assert answer.headers.get("plait-reason") == ("plugin_unavailable" if status == 503 else None)
    (mesh.yaml / "p.yaml").unlink()
    until(lambda: mesh.status("p") == ("", "") and mesh.call().status_code == 200, "the plugin is gone")


def test_bodies_are_read_and_changed_whole(mesh: Mesh) -> None:
    mesh.attach("p")
    mesh.attach("r", plugin="reader", limits={"body": "1k"}, order={"after": ["p"]})
    live(mesh)
    until(lambda: mesh.call(body=b"abc").text.endswith("\n"), "the reader is live")
    assert mesh.received(body=b"abc")["body"] == "cba"
    refused = mesh.call(body=b"no")
    assert (refused.status_code, refused.headers["plait-reason"]) == (422, "plugin_denied")
    large = mesh.call(body=b"x" * 2000)
    assert (large.status_code, large.headers["plait-reason"]) == (413, "body_too_large")
    mesh.detach("p", "r")


def test_a_wheel_is_taken_by_its_digest_and_nothing_in_its_place(mesh: Mesh) -> None:
    mesh.attach("p", config={"word": "wheel"})
    live(mesh, "wheel")
    mesh.attach("p", digest=f"sha256:{'0' * 64}", config={"word": "forged"})
    until(lambda: mesh.status("p")[0] == "Stale", "the digest is not found")
    assert "has the digest" in mesh.status("p")[1]
    assert mesh.call().headers["x-answered"] == "wheel"
    mesh.detach("p")
    # Another version of it is in the environment.
    mesh.attach("t", package="plait-tenant-from-path", plugin="tenant-from-path", digest=f"sha256:{'0' * 64}")
    until(lambda: mesh.status("t")[0] == "Refused", "the digest is not found")
    assert mesh.call().headers["plait-reason"] == "plugin_unavailable"
    (mesh.yaml / "t.yaml").unlink()
    until(lambda: mesh.call().status_code == 200, "the plugin is gone")


def test_the_example_of_the_design_runs_as_it_stands(mesh: Mesh) -> None:
    mesh.write("example.yaml", (Path(__file__).parent / "example.yaml").read_text())
    until(lambda: mesh.received(path="/acme/x")["headers"].get("x-tenant") == "acme", "the tenant is told")
    (mesh.yaml / "example.yaml").unlink()
    until(lambda: "x-tenant" not in mesh.received()["headers"], "the plugin is gone")


def test_what_plugins_did_is_counted_and_logged(mesh: Mesh) -> None:
    mesh.attach("p")
    live(mesh)
    mesh.call(do="deny")
    metrics = mesh.admin("stock-1", "/metrics").text
    assert 'plait_plugin_calls_total{plugin="shop/p",phase="request"}' in metrics
    assert 'plait_plugin_verdicts_total{plugin="shop/p",phase="request"}' in metrics
    config = mesh.admin("stock-1", "/config").json()
    assert [(one["name"], one["state"]) for one in config["plugins"]] == [("shop/p", "live")]
    mesh.detach("p")
