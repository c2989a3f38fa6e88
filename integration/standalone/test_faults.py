"""Parts of a running mesh break under load: nothing is lost that others could answer, and nothing stays behind."""

import json
import os
import re
import signal
import threading
import time

import pytest
from calling import Answer, Load, ask
from shop import Shop, alive, until

pytestmark = pytest.mark.fault


# What reached a process that then died may have been done: only the user can say that it is asked for again.
RETRIES = """
apiVersion: plait.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: stock, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: stock}]
  retries: {attempts: 2, backoff: 25ms}
"""


def test_a_process_that_dies_costs_no_request(own_shop: Shop) -> None:
    before = own_shop.generation()
    own_shop.write("retries.yaml", RETRIES)
    until(lambda: own_shop.generation() > before and own_shop.current(), "retries are in force")
    with Load(own_shop.ports["web_out"], "http://stock/") as load:
        until(lambda: load.answered_by("stock-1"), "stock-1 answers")
        own_shop.applications["stock_1"].kill()
        own_shop.applications["stock_1"].wait()
        time.sleep(2)
        back = time.monotonic()
        own_shop.start_application("stock_1")
        until(lambda: load.answered_by("stock-1", back), "stock-1 answers again")
    assert not load.lost()


CHECKS = """
apiVersion: plait.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: stock, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: stock}]
  healthCheck: {interval: 200ms, timeout: 2s, http: {path: /seen/health}}
  loadBalancer: {algorithm: RoundRobin, slowStart: {window: 10s}}
"""


def test_a_process_that_hangs_is_passed_over_until_it_answers_its_checks(own_shop: Shop) -> None:
    question = "/explain?from=shop/web-1&method=GET&url=http://stock/"

    def standing() -> dict[str, list[str]]:
        places = own_shop.admin("web-1", question).json()["endpoints"]
        return {place["workload"]: place["standing"] for place in places}

    def said(workload: str, word: str) -> bool:
        return any(word in one for one in standing()[workload])

    before = own_shop.generation()
    own_shop.write("checks.yaml", CHECKS)
    until(lambda: own_shop.generation() > before and own_shop.current(), "checks are in force")
    port = own_shop.ports["web_out"]
    assert ask(port, "http://stock/").status == 200
    hung = own_shop.applications["stock_1"]
    hung.send_signal(signal.SIGSTOP)
    try:
        # The kernel still takes its connections: nobody but who asks it something can tell.
        until(lambda: said("shop/stock-1", "fails its health checks: it took longer than 2s"), "it fails them", 60)
        told = own_shop.plait("explain", "GET", "http://stock/", "-f", "web-1", "--state", str(own_shop.state)).stdout
        assert "! fails its health checks: it took longer than 2s" in told, told
        answers = [ask(port, "http://stock/") for _ in range(10)]
        assert {(answer.status, answer.json()["name"]) for answer in answers} == {(200, "stock-2")}
    finally:
        hung.send_signal(signal.SIGCONT)
    until(lambda: said("shop/stock-1", "slow start"), "it is back, and starts slowly", 60)
    until(lambda: not any(standing().values()), "it has its whole share", 60)
    assert {ask(port, "http://stock/").json()["name"] for _ in range(10)} == {"stock-1", "stock-2"}


EJECTION = """
apiVersion: plait.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: stock, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: stock}]
  outlierDetection: {consecutiveFailures: 1, baseEjection: 5m}
"""


def test_who_is_ejected_and_for_how_long_is_told(own_shop: Shop) -> None:
    before = own_shop.generation()
    own_shop.write("ejection.yaml", EJECTION)
    until(lambda: own_shop.generation() > before and own_shop.current(), "ejection is in force")
    port = own_shop.ports["web_out"]
    assert ask(port, "http://stock/flaky/1/once").status == 503
    left = {ask(port, "http://stock/").json()["name"] for _ in range(10)}
    assert len(left) == 1
    places = own_shop.ask("explain", "GET", "http://stock/", "--from", "web-1")["endpoints"]
    standing = {place["workload"].removeprefix("shop/"): place["standing"] for place in places}
    assert standing.pop(*left) == []
    ((told,),) = standing.values()
    assert re.fullmatch(r"ejected for bad answers, for 2\d\d(\.\d+)?s more", told), told


def test_a_sidecar_that_is_told_to_end_finishes_what_it_has(own_shop: Shop) -> None:
    port, pid = own_shop.ports["web_out"], own_shop.sidecar("stock-1")
    answers: list[Answer] = []
    slow = [threading.Thread(target=lambda: answers.append(ask(port, "http://stock/slow/2"))) for _ in range(12)]
    with Load(port, "http://stock/") as load:
        until(lambda: load.answered_by("stock-1"), "stock-1 answers")
        for thread in slow:
            thread.start()
        time.sleep(0.5)
        os.kill(pid, signal.SIGTERM)
        ended = time.monotonic()
        for thread in slow:
            thread.join()
        until(lambda: not alive(pid), "the sidecar has ended")
        until(lambda: load.answered_by("stock-1", ended + 2), "its successor serves")
    assert not load.lost()
    assert [answer.status for answer in answers] == [200] * 12
    assert {answer.json()["name"] for answer in answers} == {"stock-1", "stock-2"}


def test_a_control_plane_that_dies_costs_no_request_and_comes_back(own_shop: Shop) -> None:
    with Load(own_shop.ports["web_out"], "http://stock/") as load:
        for _ in range(2):
            until(lambda: load.calls, "there is load")
            for pid in own_shop.processes("plait-controlplane serve"):
                os.kill(pid, signal.SIGKILL)
            until(lambda: own_shop.plait("status", "--state", str(own_shop.state)).returncode != 0, "it is missed")
            until(own_shop.current, "it is back")
    assert not load.lost()


def test_a_sidecar_restarted_without_a_control_plane_serves_what_it_knew(own_shop: Shop) -> None:
    assert ask(own_shop.ports["web_out"], "http://stock/").status == 200
    generation = own_shop.generation()
    kept = own_shop.state / "proxies" / "shop.web-1" / "state" / "resources"
    until(lambda: kept.exists() and b"shop/stock" in kept.read_bytes(), "what it was told of stock is on disk")
    control = own_shop.processes("plait-controlplane") + own_shop.processes("plait_controlplane")
    for pid in control:
        os.kill(pid, signal.SIGSTOP)
    try:
        os.kill(own_shop.sidecar("web-1"), signal.SIGKILL)
        until(lambda: served(own_shop), "the successor serves")
        config = own_shop.admin("web-1", "/config").json()
        assert (config["source"], config["generation"]) == ("last_known_good", generation)
    finally:
        for pid in control:
            os.kill(pid, signal.SIGCONT)
    until(lambda: own_shop.admin("web-1", "/config").json()["source"] == "live", "it follows the control plane again")


def served(shop: Shop) -> bool:
    try:
        return ask(shop.ports["web_out"], "http://stock/").status == 200
    except OSError:
        return False


def test_up_that_is_killed_leaves_no_process(own_shop: Shop) -> None:
    parts = own_shop.processes("plait-proxy") + own_shop.processes("controlplane")
    assert len(parts) >= 6 + 3
    up = json.loads((own_shop.state / "mesh.json").read_text())["pid"]
    os.kill(up, signal.SIGKILL)
    until(lambda: not any(map(alive, parts)), "all parts are gone", 5)


def test_down_under_load_ends_everything(own_shop: Shop) -> None:
    with Load(own_shop.ports["web_out"], "http://stock/") as load:
        until(lambda: load.calls, "there is load")
        assert own_shop.plait("down", "--state", str(own_shop.state)).returncode == 0
        assert not own_shop.processes("plait-proxy")
        assert not own_shop.processes("controlplane")
