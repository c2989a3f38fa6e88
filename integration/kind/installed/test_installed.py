"""The mesh as `plait install` puts it on a cluster: injection, identity, refusals, a new root, nothing left behind."""

import base64
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from labelled import SHOP, SYSTEM, Shop, until
from plait_controlplane.identity.authority import create_root
from tools import Failed

GOOD = "200 reviews-1"


def test_pods_call_one_another_as_their_service_accounts(shop: Shop) -> None:
    assert shop.call("web-1", count=20) == {GOOD: 20}
    lines = [line for line in shop.log("reviews-1") if line["direction"] == "inbound" and line["status"] == 200]
    assert {(line["tls"], line["peer"]) for line in lines} == {(True, "spiffe://cluster.local/ns/shop/sa/web")}
    assert {line["policy"] for line in lines} == {"AuthorizationPolicy shop/reviews-readers"}


def test_another_service_account_is_refused(shop: Shop) -> None:
    assert shop.call("guest-1", count=3) == {"403 policy_denied": 3}


def test_who_is_outside_is_refused_however_it_calls(shop: Shop) -> None:
    address = shop.get(*SHOP, "pod", "reviews-1")["status"]["podIP"]
    for url in ("http://reviews.shop/", f"http://{address}:8080/"):
        assert shop.call("stranger-1", url, 3, "outside") == {"403 unauthenticated": 3}, url


def test_a_job_has_its_proxy_from_the_first_call_and_completes(shop: Shop) -> None:
    shop.job("report")
    shop.cluster.kubectl(*SHOP, "wait", "--for=condition=Complete", "job/report", "--timeout=240s")
    assert json.loads(shop.cluster.kubectl(*SHOP, "logs", "job/report", "-c", "app")) == {GOOD: 20}
    shop.cluster.kubectl(*SHOP, "delete", "job", "report")


def test_what_the_application_says_of_its_health_reaches_kubelet(shop: Shop) -> None:
    shop.pod("sick-1", "web")
    shop.ready("shop")
    assert shop.call("sick-1", "http://127.0.0.1:8080/unwell") == {"200 sick-1": 1}
    condition = '{.status.conditions[?(@.type=="Ready")].status}'
    words = (*SHOP, "get", "pod", "sick-1", "-o", f"jsonpath={condition}")
    until(lambda: shop.cluster.kubectl(*words) == "False", "kubelet hears of it")
    shop.cluster.kubectl(*SHOP, "delete", "pod", "sick-1")


def test_a_pod_may_stay_outside_and_one_that_cannot_be_inside_is_refused(shop: Shop) -> None:
    shop.pod("free-1", "web", **{"plait.dev/inject": "disabled"})
    assert len(shop.get(*SHOP, "pod", "free-1")["spec"].get("initContainers", [])) == 0
    shop.cluster.kubectl(*SHOP, "delete", "pod", "free-1")
    shop.cluster.kubectl("create", "namespace", "strict")
    enforce = "pod-security.kubernetes.io/enforce=restricted"
    shop.cluster.kubectl("label", "namespace", "strict", "plait.dev/inject=enabled", enforce)
    with pytest.raises(Failed, match="enforces the pod security standard restricted"):
        shop.pod("web-1", "default", "strict")
    shop.cluster.kubectl("delete", "namespace", "strict")


def test_an_object_that_is_broken_is_refused_with_its_field(shop: Shop) -> None:
    spec = {"action": "Allow", "rules": [{"to": [{"pahts": ["/"]}]}]}
    metadata = {"name": "broken", "namespace": "shop"}
    policy = {"apiVersion": "plait.dev/v1alpha1", "kind": "AuthorizationPolicy", "metadata": metadata, "spec": spec}
    with pytest.raises(Failed, match=r'rules\[0\]\.to\[0\]\.pahts: unknown field "pahts"; did you mean "paths"'):
        shop.apply(json.dumps(policy))


def test_installing_again_changes_nothing_and_every_check_passes(shop: Shop) -> None:
    before = shop.get(*SYSTEM, "deployment", "plait-controlplane")["metadata"]["generation"]
    shop.plait("install", "--image-tag", "dev")
    assert shop.get(*SYSTEM, "deployment", "plait-controlplane")["metadata"]["generation"] == before
    found = json.loads(shop.plait("check", "-o", "json"))["checks"]
    assert {one["state"] for one in found} <= {"passed", "warning"}, found
    assert {one["category"] for one in found if one["state"] == "warning"} <= {"cluster"}, found


def test_without_a_control_plane_what_runs_goes_on_and_nothing_slips_past_it(shop: Shop) -> None:
    load = shop.load("web-1")
    scale = (*SYSTEM, "scale", "deployment/plait-controlplane")
    shop.cluster.kubectl(*scale, "--replicas=0")
    shop.cluster.kubectl(*SYSTEM, "wait", "--for=delete", "pod", "--all", "--timeout=120s")
    with pytest.raises(Failed, match="failed calling webhook"):
        shop.pod("late-1", "web")
    shop.pod("other-1", "default", "outside")  # who never opted in is not asked about
    shop.ready("outside")
    shop.cluster.kubectl(*scale, "--replicas=2")
    shop.cluster.kubectl(*SYSTEM, "rollout", "status", "deployment/plait-controlplane", "--timeout=240s")
    until(shop.injects, "the node passes calls of webhooks on again")
    shop.pod("late-1", "web")
    shop.ready("shop")
    assert shop.call("late-1", count=5) == {GOOD: 5}
    shop.cluster.kubectl(*SHOP, "delete", "pod", "late-1")
    lossless(load.end())


def test_no_pod_is_refused_while_the_control_plane_is_rolled(shop: Shop) -> None:
    shop.cluster.kubectl(*SYSTEM, "rollout", "restart", "deployment/plait-controlplane")
    rolling = ("rollout", "status", "deployment/plait-controlplane", "--timeout=240s")
    with ThreadPoolExecutor() as pool:
        rolled = pool.submit(shop.cluster.kubectl, *SYSTEM, *rolling)
        asked = 0
        while not rolled.done():
            shop.asked()
            asked += 1
        rolled.result()
    assert asked > 3, "pods were asked for meanwhile"


def test_a_root_is_exchanged_without_a_lost_call(shop: Shop) -> None:
    load = shop.load("web-1")
    (old,) = shop.bundle()
    new, key = create_root(datetime.now(UTC))
    trust(shop, new.decode())
    until(lambda: len(shop.bundle()) == 2, "the new root is trusted")
    for pod in ("web-1", "reviews-1"):
        until(lambda pod=pod: current(shop, pod), f"{pod} has heard of the new root")
    data = {"tls.crt": base64.b64encode(new).decode(), "tls.key": base64.b64encode(key).decode()}
    trust(shop, old)
    shop.cluster.kubectl(*SYSTEM, "patch", "secret", "plait-ca", "-p", json.dumps({"data": data}))
    until(lambda: shop.bundle()[0] == new.decode() and len(shop.bundle()) == 2, "the new root signs")
    shop.pod("young-1", "web")
    shop.ready("shop")
    assert shop.call("young-1", count=5) == {GOOD: 5}, "who is of the new root and who is of the old one"
    shop.cluster.kubectl(*SHOP, "delete", "pod", "young-1")
    lossless(load.end())


def trust(shop: Shop, roots: str) -> None:
    """Further roots."""
    metadata = {"name": "plait-ca-roots", "namespace": "plait-system"}
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"roots.pem": roots}}
    shop.apply(json.dumps(made))


def current(shop: Shop, pod: str) -> bool:
    """Whether the last call through a proxy was of the newest state of the mesh that the control plane put in force."""
    try:
        logs = shop.cluster.kubectl(*SYSTEM, "logs", "-l", "app.kubernetes.io/component=controlplane", "--tail=200")
    except Failed:  # a replica of an earlier roll went while it was asked
        return False
    numbers = [int(line.split("generation=")[1].split()[0]) for line in logs.splitlines() if " generation=" in line]
    return bool(numbers) and int(shop.log(pod)[-1]["generation"]) >= max(numbers)


def lossless(answers: Counter[str]) -> None:
    """Every call was answered by reviews."""
    assert answers[GOOD] > 20, answers
    assert set(answers) == {GOOD}, answers


def test_nothing_is_left(shop: Shop) -> None:
    shop.plait("uninstall")
    kinds = "crd,clusterrole,clusterrolebinding,mutatingwebhookconfiguration,validatingwebhookconfiguration,namespace"
    names = shop.cluster.kubectl("get", kinds, "-o", "name").splitlines()
    assert [name for name in names if "plait" in name] == []
    shop.pod("after-1", "web")
    until(lambda: shop.get(*SHOP, "pod", "after-1")["status"]["phase"] == "Running", "pods start without the mesh")
