"""What one proxy is told, without I/O."""

import pytest
from plait_controlplane.discovery.subscription import Subscription
from plait_controlplane.interest.publication import Publication, publish, resources_of
from plait_controlplane.lint import offline
from plait_controlplane.resources.reader import read
from plait_controlplane.resources.world import world_of
from plait_controlplane.status.proxies import Proxies
from plait_sdk.contracts import discovery_pb2, plugin_pb2

WORLD = """
{apiVersion: plait.dev/v1alpha1, kind: Mesh, metadata: {name: default}, spec: {trustDomain: shop.example}}
---
apiVersion: v1
kind: Service
metadata: {name: stock, namespace: shop}
spec: {selector: {app: stock}, ports: [{port: 80}]}
---
apiVersion: plait.dev/v1alpha1
kind: Workload
metadata: {name: web-1, namespace: shop}
spec: {serviceAccount: web, address: 127.0.0.1}
"""
DESTINATIONS = ["shop/stock", "www.example.com"]


@pytest.fixture
def publication() -> Publication:
    found, problems = read("shop.yaml", WORLD)
    assert not problems
    world, _ = world_of(found)
    return publish(1, resources_of(offline(world), [b"root"]))


@pytest.fixture
def subscription() -> Subscription:
    state = Proxies().connected("shop/web-1", ("shop/web-1",), "0.1.0")
    return Subscription(discovery_pb2.Hello(workloads=["shop/web-1"], destinations=DESTINATIONS), state)


def told(subscription: Subscription, publication: Publication) -> discovery_pb2.ChangeSet:
    message = subscription.next(publication)
    assert message is not None, "nothing was said"
    return discovery_pb2.WatchResponse.FromString(message).change_set


def ack(subscription: Subscription, changes: discovery_pb2.ChangeSet) -> None:
    answer = discovery_pb2.Ack(nonce=changes.nonce, generation=changes.generation)
    subscription.receive(discovery_pb2.WatchRequest(ack=answer))


def leave_and_come_back(subscription: Subscription) -> None:
    """Both requests arrive before anything can be said in between."""
    away = discovery_pb2.Unsubscribe(destinations=DESTINATIONS)
    subscription.receive(discovery_pb2.WatchRequest(unsubscribe=away))
    back = discovery_pb2.Subscribe(destinations=DESTINATIONS)
    subscription.receive(discovery_pb2.WatchRequest(subscribe=back))


def test_who_leaves_and_comes_back_at_once_is_answered(subscription: Subscription, publication: Publication) -> None:
    ack(subscription, told(subscription, publication))
    leave_and_come_back(subscription)
    again = told(subscription, publication)
    assert (list(again.known), list(again.unknown)) == (["shop/stock"], ["www.example.com"])
    assert not again.upserts, "it holds them still"


def test_who_does_so_while_an_answer_is_under_way_is_answered_behind_it(
    subscription: Subscription, publication: Publication
) -> None:
    under_way = told(subscription, publication)
    leave_and_come_back(subscription)
    assert subscription.next(publication) is None
    ack(subscription, under_way)
    again = told(subscription, publication)
    assert (list(again.known), list(again.unknown)) == (["shop/stock"], ["www.example.com"])


def test_what_was_left_is_taken_away(subscription: Subscription, publication: Publication) -> None:
    ack(subscription, told(subscription, publication))
    away = discovery_pb2.Unsubscribe(destinations=DESTINATIONS)
    subscription.receive(discovery_pb2.WatchRequest(unsubscribe=away))
    changes = told(subscription, publication)
    assert "shop/stock" in {key.name for key in changes.removals}
    assert not changes.known


def test_what_became_of_plugins_is_kept_as_said_last(subscription: Subscription) -> None:
    report = plugin_pb2.PluginReport(
        name="shop/p", version=b"1", state=plugin_pb2.PLUGIN_STATE_FAILED, reason="x" * 9000
    )
    for reports in ([report, plugin_pb2.PluginReport(name="shop/q")], []):
        message = plugin_pb2.PluginReports(plugins=reports)
        subscription.receive(discovery_pb2.WatchRequest(plugins=message))
        found = [(one.name, one.state, len(one.reason)) for one in subscription.status.plugins]
        assert found == ([("shop/p", "Failed", 4096)] if reports else [])
