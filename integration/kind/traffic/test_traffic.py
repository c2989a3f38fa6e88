"""Traffic of pods that know nothing of their proxies, on a cluster. The first test enrols them; the others follow."""

import uuid
from collections import Counter

import pytest
from tools import Failed
from town import Going, Town, until

OUTAGE_SECONDS = 120
V1, V2 = "200 reviews-v1 /", "200 reviews-v2 /"


def only(answers: Counter[str], *expected: str) -> bool:
    """Whether nothing else came."""
    return set(answers) <= set(expected)


def capture(town: Town, *marks: str) -> Going:
    """Looks at the packets of the node."""
    return Going(town.program("tap", "capture", *marks), "looking")


def test_a_namespace_is_labelled_and_rolled(town: Town) -> None:
    assert only(town.call("web", count=20), V1, V2)
    assert not any("plait-proxy" in names(pod) for pod in town.pods("town"))
    town.enrol()
    assert all("plait-proxy" in names(pod) for pod in town.pods("town"))
    assert only(town.call("web", count=20), V1, V2)
    assert only(town.call("neighbour", count=20), V1, V2)


def names(pod: dict) -> set[str]:
    """Of its containers, native sidecars included."""
    spec = pod["spec"]
    return {one["name"] for one in [*spec["containers"], *spec.get("initContainers", [])]}


def test_nothing_travels_in_plaintext(town: Town) -> None:
    inside, outside = uuid.uuid4().hex, uuid.uuid4().hex
    looking = capture(town, inside, outside)
    assert only(town.call("web", f"/{inside}", 20), f"200 reviews-v1 /{inside}", f"200 reviews-v2 /{inside}")
    assert town.call("stranger", f"/{outside}", 5) == {"403 unauthenticated": 5}
    found = looking.end()
    assert found[outside] > 0, "what is sent in plaintext is seen"
    # The pods' own ends, where processes and their proxies speak over loopback, are no packets of the node.
    assert found[inside] == 0, found


def test_a_canary_gets_its_share_of_the_requests_of_one_connection(town: Town) -> None:
    town.route([{"backendRefs": [share("reviews-v1", 90), share("reviews-v2", 10)]}])
    until(lambda: town.call("web", count=100)[V2] < 30, "the canary gets little")
    answers = town.call("web", count=500)
    town.no_route()
    assert only(answers, V1, V2), answers
    assert 23 <= answers[V2] <= 77, answers  # 10 %: four deviations either way


def share(name: str, weight: int = 1) -> dict:
    """A backend of a route."""
    return {"name": name, "namespace": "town", "port": 80, "weight": weight}


def path_rule(path: str, filter: dict | None = None, backends: list[dict] | None = None) -> dict:
    """A rule for the paths below one."""
    filters = {"filters": [filter]} if filter else {}
    targets = (
        {} if filter and filter["type"] == "RequestRedirect" else {"backendRefs": backends or [share("reviews-v1")]}
    )
    return {"matches": [{"path": {"type": "PathPrefix", "value": path}}], **filters, **targets}


def rewrite(path: dict) -> dict:
    """A filter."""
    return {"type": "URLRewrite", "urlRewrite": {"path": path}}


def redirect(**what: object) -> dict:
    """A filter."""
    return {"type": "RequestRedirect", "requestRedirect": what}


PREFIX = {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}
FULL = {"type": "ReplaceFullPath", "replaceFullPath": "/one"}
SHAPED = [
    ("/prefix", rewrite(PREFIX), "/prefix/a", "200 reviews-v1 /new/a"),
    ("/full", rewrite(FULL), "/full/a/b", "200 reviews-v1 /one"),
    ("/host", redirect(hostname="shop.example"), "/host/a", "302 http://shop.example/host/a"),
    ("/port", redirect(port=8083), "/port", "302 http://reviews.town:8083/port"),
    ("/scheme", redirect(scheme="https", statusCode=301), "/scheme", "301 https://reviews.town/scheme"),
    ("/moved", redirect(path=PREFIX, hostname="shop.example"), "/moved/a", "302 http://shop.example/new/a"),
    ("/flat", redirect(path=FULL), "/flat/a/b", "302 http://reviews.town/one"),
]


def test_what_the_suite_does_not_look_at(town: Town) -> None:
    town.route([path_rule(path, filter) for path, filter, _, _ in SHAPED])
    until(
        lambda: town.call("web", "/nobody") == {"404 route_not_found": 1}, "no rule matches, and nothing is passed on"
    )
    answers = {asked: set(town.call("web", asked, 3)) for _, _, asked, _ in SHAPED}
    town.no_route()
    assert answers == {asked: {expected} for _, _, asked, expected in SHAPED}


def test_a_reference_that_leads_nowhere_is_500_for_its_share_alone(town: Town) -> None:
    town.route([path_rule("/gone", backends=[share("nobody")]), path_rule("/")])
    until(lambda: town.call("web", "/gone") == {"500 backend_not_found": 1}, "the share answers 500")
    assert only(town.call("web", count=10), V1)
    town.no_route()


def test_a_consumer_route_binds_its_own_namespace(town: Town) -> None:
    town.route([{"backendRefs": [share("reviews-v2")]}], "mine", "suburb")
    until(lambda: only(town.call("neighbour", count=20), V2), "the neighbours' calls follow their route")
    assert town.call("web", count=40)[V1] > 0
    town.no_route("mine", "suburb")


def test_a_broken_object_is_refused_with_the_place_and_what_to_write(town: Town) -> None:
    rule = {"to": [{"pahts": ["/"]}]}
    kind = {"apiVersion": "plait.dev/v1alpha1", "kind": "AuthorizationPolicy"}
    policy = {**kind, "metadata": {"name": "broken", "namespace": "town"}, "spec": {"action": "Allow", "rules": [rule]}}
    with pytest.raises(Failed) as refused:
        town.apply(policy)
    assert "pahts" in str(refused.value)


@pytest.mark.parametrize("name", ["reviews-v1", "reviews-v2"])
def test_a_rolling_restart_loses_nothing(town: Town, name: str) -> None:
    load = town.load("web")
    town.cluster.kubectl("-n", "town", "rollout", "restart", f"deployment/{name}")
    town.rolled(name, "town")
    answers = load.end()
    assert only(answers, V1, V2), answers
    assert sum(answers.values()) > 20, answers


def test_two_minutes_without_the_api_server_cost_nothing(town: Town) -> None:
    town.outage("web", OUTAGE_SECONDS)
    answers = town.counted("web")
    assert only(answers, V1, V2), answers
    assert sum(answers.values()) > OUTAGE_SECONDS, answers
    town.route([{"backendRefs": [share("reviews-v2")]}])
    until(lambda: only(town.call("web", count=20), V2), "a change is heard again")
    town.no_route()
    until(lambda: town.call("web", count=20)[V1], "the route is gone")


def test_a_control_plane_that_is_deleted_costs_nothing_and_comes_back(town: Town) -> None:
    load = town.load("web")
    system = ("-n", "plait-system")
    town.cluster.kubectl(*system, "delete", "pod", "--all", "--wait=true")
    town.cluster.kubectl(*system, "rollout", "status", "deployment/plait-controlplane", "--timeout=180s")
    town.route([{"backendRefs": [share("reviews-v2")]}])
    until(lambda: only(town.call("web", count=20), V2), "the new control plane is heard")
    town.no_route()
    until(lambda: town.call("web", count=20)[V1], "the route is gone")
    answers = load.end()
    assert only(answers, V1, V2), answers
