"""What is refused before it is stored, and what is none of our business."""

from collections.abc import Sequence
from typing import Any

import pytest
from plait_controlplane.admission.judge import ask, judge, shown
from plait_controlplane.hooks.answers import Away, Failure, Judged, Said
from plait_sdk.control import Resource

PARENT = {"group": "", "kind": "Service", "name": "reviews"}
GATEWAY = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"}


def route(parents: list[Any], **spec: Any) -> dict[str, Any]:
    metadata = {"name": "reviews", "namespace": "shop", "uid": "u", "resourceVersion": "7", "managedFields": [{}]}
    rules = [{"backendRefs": [{"name": "reviews-v1", "port": 80}]}]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata,
        "spec": {"parentRefs": parents, "rules": rules, **spec},
        "status": {"parents": []},
    }


def policy(**spec: Any) -> dict[str, Any]:
    metadata = {"name": "readers", "namespace": "shop", "generation": 3}
    return {"apiVersion": "plait.dev/v1alpha1", "kind": "AuthorizationPolicy", "metadata": metadata, "spec": spec}


@pytest.mark.parametrize(
    "given",
    [
        route([PARENT]),
        policy(action="Allow", rules=[{}]),
        # What is named may come later.
        policy(action="Allow", rules=[{}], targetRefs=[{"group": "", "kind": "Service", "name": "later"}]),
        # None of ours, however odd.
        route([GATEWAY], ruls=[]),
        route([], ruls=[]),
        {**route([PARENT], ruls=[]), "apiVersion": "example.com/v1"},
        {"apiVersion": "v1", "kind": "Pod", "spec": {"parentRefs": [PARENT]}},
        {},
        {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "spec": None},
        {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "spec": {"parentRefs": "Service"}},
    ],
)
def test_what_may_be_stored(given: dict[str, Any]) -> None:
    assert judge(given) == []


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (route([PARENT], ruls=[]), 'spec.ruls: unknown field "ruls"; did you mean "rules"?'),
        (route([GATEWAY, PARENT], ruls=[]), "spec.ruls: unknown field"),
        (
            route([PARENT], rules=[{"matches": [{"path": {"type": "RegularExpression", "value": "("}}]}]),
            "matches[0].path",
        ),
        (route([PARENT, GATEWAY], rules=[{"name": "a"}, {"name": "a"}]), 'the rule name "a" comes twice'),
        (policy(action="Allow", rules=[{"from": [{"claims": [{"name": "a", "values": ["b"]}]}]}]), "UnsupportedValue"),
        (policy(action="Permit", rules=[{}]), '"Permit" is not allowed'),
        (policy(action="Allow", rules=[{"to": [{"paths": ["reviews"]}]}]), 'must start with "/"'),
        ({**policy(), "kind": "AuthorizationPolice"}, 'did you mean "AuthorizationPolicy"?'),
        (policy(action="Allow", rules=[{"to": [{"paths": ["/" + "x" * 300_000]}]}]), "larger than 256 KiB"),
    ],
)
def test_what_is_refused_names_the_field(given: dict[str, Any], reason: str) -> None:
    assert reason in "; ".join(judge(given))


class Plugins:
    """Say what they are told to."""

    def __init__(self, answer: Judged | None) -> None:
        self.answer = answer

    async def judge(self, resources: Sequence[Resource]) -> list[Judged]:
        if self.answer is None:
            raise Away("nobody is there")
        return [self.answer for _ in resources]


@pytest.mark.parametrize(
    ("answer", "refused", "notes"),
    [
        (Judged(), [], []),
        (
            Judged(None, (Said("owner", "metadata", "no owner", "error"), Said("owner", "spec", "odd", "note"))),
            ["RefusedByPlugin metadata: owner: no owner"],
            ["spec: owner: odd"],
        ),
        (Judged(failures=(Failure("owner", "validate", "fell"),)), ["PluginFailed owner: validate: fell"], []),
        (Judged(failures=(Failure("owner", "validate", "fell", is_open=True),)), [], []),
        (None, ["PluginFailed: nobody is there"], []),
    ],
)
async def test_plugins_refuse_too_and_so_does_their_silence(
    answer: Judged | None, refused: list[str], notes: list[str]
) -> None:
    resource = shown(policy(action="Deny", rules=[{}]))
    assert resource is not None
    assert await ask(Plugins(answer), resource) == (refused, notes)


def test_plugins_are_shown_what_the_user_wrote_of_objects_of_ours() -> None:
    resource = shown(route([PARENT]))
    assert resource is not None
    assert (resource.kind, resource.namespace, resource.name) == ("HTTPRoute", "shop", "reviews")
    assert (resource.body["metadata"], "status" in resource.body) == ({"name": "reviews", "namespace": "shop"}, False)
    assert shown(route([GATEWAY])) is None
