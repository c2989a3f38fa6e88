"""Pods in, pods or refusals out. `cases` has a file a pod, beside it what came out; PLAIT_GOLDEN=write writes that."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from plait_controlplane.injection.pod import ENFORCE, INJECT, Refused, inject, wanted
from plait_controlplane.injection.template import PROXY, PROXY_UID, REDIRECT, Template

CASES = sorted((Path(__file__).parent / "cases").glob("*.in.yaml"))
ENABLED = {INJECT: "enabled"}
TEMPLATE = Template(
    image="plait/proxy:1.2.3",
    discovery="plait-controlplane.plait-system:15012",
    identity="plait-controlplane.plait-system:15013",
    trust_domain="cluster.local",
    roots=("ab" * 32,),
)


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app", "image": "i"}], **spec}}


def applied(before: dict[str, Any], patch: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    """The patch as the API server applies it."""
    after = copy.deepcopy(before)
    for step in patch:
        *way, last = step["path"].strip("/").split("/")
        holder = after
        for word in way:
            holder = holder[word]
        assert (last in holder) == (step["op"] == "replace") or not holder[last], step
        holder[last] = step["value"]
    return after


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name.removesuffix(".in.yaml"))
def test_what_comes_out(case: Path) -> None:
    given = yaml.safe_load(case.read_text())
    outcome = inject("shop", ENABLED, given, TEMPLATE)
    came = applied(given, outcome.patch)
    golden = case.with_name(case.name.replace(".in.", ".out."))
    if os.environ.get("PLAIT_GOLDEN") == "write":
        golden.write_text(yaml.safe_dump(came, sort_keys=False, width=140))
    assert came == yaml.safe_load(golden.read_text())
    assert inject("shop", ENABLED, came, TEMPLATE).patch == (), "a second time changes nothing"


def test_there_are_cases() -> None:
    assert len(CASES) >= 4


@pytest.mark.parametrize(
    ("namespace", "of_namespace", "of_pod", "expected"),
    [
        ("shop", {}, {}, False),
        ("shop", ENABLED, {}, True),
        ("shop", ENABLED, {INJECT: "disabled"}, False),
        ("shop", {}, ENABLED, True),
        ("shop", {INJECT: "disabled"}, ENABLED, True),
        ("shop", {INJECT: "true"}, {}, False),
        ("shop", ENABLED, {INJECT: ""}, False),
        ("kube-system", ENABLED, ENABLED, False),
        ("plait-system", ENABLED, ENABLED, False),
    ],
)
def test_the_pods_own_label_wins_and_some_namespaces_never_are(
    namespace: str, of_namespace: dict[str, str], of_pod: dict[str, str], expected: bool
) -> None:
    given = pod()
    given["metadata"]["labels"] |= of_pod
    assert wanted(namespace, of_namespace, given) is expected
    assert bool(inject(namespace, of_namespace, given, TEMPLATE).patch) is expected


@pytest.mark.parametrize(
    ("labels", "given", "reason"),
    [
        ({ENFORCE: "restricted"}, pod(), "pod security standard restricted, which forbids the capability NET_ADMIN"),
        ({ENFORCE: "baseline"}, pod(), "Label the namespace pod-security.kubernetes.io/enforce: privileged"),
        ({}, pod(os={"name": "windows"}), "Linux only"),
        ({}, pod(containers=[{"name": PROXY}]), "name of its container plait-proxy belongs to the mesh"),
        ({}, pod(initContainers=[{"name": REDIRECT}]), "name of its container plait-redirect belongs to the mesh"),
        ({}, pod(containers=[{"name": "a", "ports": [{"containerPort": 15006}]}]), "port 15006 of its container a"),
        ({}, pod(initContainers=[{"name": "a", "ports": [{"containerPort": 15020}]}]), "port 15020"),
        ({}, pod(volumes=[{"name": "plait-token"}]), "name of its volume plait-token"),
        ({}, pod(securityContext={"runAsUser": PROXY_UID}), "the pod runs as user 1337"),
        ({}, pod(containers=[{"name": "a", "securityContext": {"runAsUser": PROXY_UID}}]), "its container a runs as"),
        (
            {},
            pod(initContainers=[{"name": "a", "securityContext": {"runAsUser": PROXY_UID}}]),
            "its container a runs as",
        ),
    ],
)
def test_a_pod_that_cannot_be_in_the_mesh_is_refused_and_told_the_way_out(
    labels: dict[str, str], given: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Refused) as caught:
        inject("shop", {**ENABLED, **labels}, given, TEMPLATE)
    assert reason in str(caught.value)
    assert f"label it {INJECT}: disabled" in str(caught.value)


def test_a_label_is_no_proxy() -> None:
    given = pod()
    given["metadata"]["labels"]["plait.dev/injected"] = "true"
    assert inject("shop", ENABLED, given, TEMPLATE).patch


def test_a_pod_on_the_hosts_network_is_left_with_a_warning_and_refused_when_it_asks() -> None:
    given = pod(hostNetwork=True)
    outcome = inject("shop", ENABLED, given, TEMPLATE)
    assert (outcome.patch, len(outcome.warnings)) == ((), 1)
    given["metadata"]["labels"] |= ENABLED
    with pytest.raises(Refused, match="hostNetwork"):
        inject("shop", ENABLED, given, TEMPLATE)


@pytest.mark.parametrize("odd", [{}, {"metadata": None, "spec": None}, {"spec": {"containers": []}}, {"metadata": {}}])
def test_odd_pods_are_not_in_the_way_of_the_api_server(odd: dict[str, Any]) -> None:
    assert json.dumps(inject("shop", ENABLED, odd, TEMPLATE).patch)
