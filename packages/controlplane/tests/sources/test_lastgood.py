"""What is in force when files are broken: a table of edits over one small shop."""

from pathlib import Path

import pytest
from plait_controlplane.resources.authorizationpolicy import AuthorizationPolicy
from plait_controlplane.resources.cluster import Cluster, Slice, SliceEndpoint
from plait_controlplane.resources.plugin import RefusedPlugin
from plait_controlplane.resources.workload import Workload
from plait_controlplane.resources.world import World
from plait_controlplane.sources.history import Generation, History, what_changed
from plait_controlplane.sources.lastgood import Settled, settle
from plait_controlplane.sources.watch import _read
from plait_controlplane.translate.plugin import translate_plugin

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: stock, namespace: shop}
spec: {selector: {app: stock}, ports: [{port: 80}]}
---
apiVersion: plait.dev/v1alpha1
kind: Workload
metadata: {name: stock-1, namespace: shop, labels: {app: stock}}
spec: {address: 127.0.0.1, ports: [{name: http, port: 80}]}
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: stock, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: stock}]
  rules: [{backendRefs: [{name: stock, port: 80, weight: 1}]}]
"""
POLICY = """
apiVersion: plait.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: readers, namespace: shop}
spec: {action: Allow, targetRefs: [{kind: Service, name: stock}], rules: [{to: [{methods: [GET]}]}]}
"""
FILES = {"services.yaml": SERVICE, "route.yaml": ROUTE, "policy.yaml": POLICY}


def put(folder: Path, files: dict[str, str], before: Settled | None = None) -> Settled:
    for path in folder.glob("*.yaml"):
        path.unlink()
    for name, text in files.items():
        (folder / name).write_text(text)
    reading = _read(folder)
    return settle(before or Settled(), reading.world, reading.problems, reading.broken)


def states(settled: Settled) -> dict[str, str]:
    return {f"{one.kind} {Path(one.name).name}": one.state for one in settled.verdicts if one.state != "Accepted"}


def test_a_sound_folder_is_in_force(tmp_path: Path) -> None:
    settled = put(tmp_path, FILES)
    assert states(settled) == {}
    assert [key[0] for key in settled.world.objects] == ["AuthorizationPolicy", "HTTPRoute", "Service", "Workload"]


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("route.yaml", "weight: 1", "wieght: 1", {"HTTPRoute stock": "Stale"}),
        ("route.yaml", "weight: 1", "weight: -1", {"HTTPRoute stock": "Stale"}),
        ("route.yaml", "kind: HTTPRoute", "kind: HTTPRout", {"HTTPRoute stock": "Stale"}),
        ("route.yaml", "kind: HTTPRoute", "kind: httproute", {"HTTPRoute stock": "Stale"}),
        ("route.yaml", "k8s.io/v1", "k8s.io/v1beta1", {"HTTPRoute stock": "Stale"}),
        ("services.yaml", "kind: Service", "kind: Servce", {"Service stock": "Stale"}),
        ("services.yaml", "kind: Workload", "kind: Worklaod", {"Workload stock-1": "Stale"}),
        ("policy.yaml", "AuthorizationPolicy", "AuthorisationPolicy", {"AuthorizationPolicy readers": "Stale"}),
        ("route.yaml", "kind: HTTPRoute", "kind: [", {"HTTPRoute stock": "Stale", "File route.yaml": "Refused"}),
        ("services.yaml", "---", "--\n{", {"Service stock": "Stale", "Workload stock-1": "Stale"}),
        ("policy.yaml", "methods: [GET]", "methods: [get]", {"AuthorizationPolicy readers": "Stale"}),
        ("policy.yaml", "to: [{", "from: [{claims: {a: b}}], to: [{", {"AuthorizationPolicy readers": "Stale"}),
        ("route.yaml", "name: stock, port: 80", "name: sotck, port: 80", {}),
    ],
)
def test_a_broken_object_keeps_its_last_good_version(
    tmp_path: Path, file: str, old: str, new: str, expected: dict[str, str]
) -> None:
    before = put(tmp_path, FILES)
    settled = put(tmp_path, {**FILES, file: FILES[file].replace(old, new)}, before)
    assert {**expected, "File services.yaml": "Refused"}.items() >= states(settled).items() >= expected.items()
    told = [one for one in settled.verdicts if one.problems]
    assert told, "what is wrong is told"
    for name in expected:
        key = next((key for key in before.world.objects if f"{key[0]} {key[2]}" == name), None)
        assert key is None or settled.world.objects[key] is before.world.objects[key]


@pytest.mark.parametrize(("file", "kind"), [("policy.yaml", "AuthorizationPolicy"), ("route.yaml", "HTTPRoute")])
@pytest.mark.parametrize(("old", "new"), [("name: ", "nmae: "), ("namespace: ", "namespce: "), ("metadata", "meta")])
def test_an_object_whose_name_is_broken_keeps_its_last_good_version(
    tmp_path: Path, file: str, kind: str, old: str, new: str
) -> None:
    before = put(tmp_path, FILES)
    settled = put(tmp_path, {**FILES, file: FILES[file].replace(old, new, 1)}, before)
    assert list(settled.world.objects) == list(before.world.objects)
    told = next(one for one in settled.verdicts if (one.kind, one.namespace) == (kind, "shop"))
    assert (told.state, {problem.file for problem in told.problems}) == ("Stale", {str(tmp_path / file)})


def test_a_dangling_reference_does_not_keep_the_object_out(tmp_path: Path) -> None:
    files = {**FILES, "route.yaml": ROUTE.replace("{name: stock, port: 80", "{name: gone, port: 80")}
    settled = put(tmp_path, files)
    route = next(one for one in settled.verdicts if one.kind == "HTTPRoute")
    assert (route.state, len(route.problems)) == ("Accepted", 1)


def test_what_is_removed_is_gone(tmp_path: Path) -> None:
    before = put(tmp_path, FILES)
    after = put(tmp_path, {"services.yaml": SERVICE}, before).world
    assert sorted(key[0] for key in after.objects) == ["Service", "Workload"]


@pytest.mark.parametrize(
    ("old", "new", "targets"),
    [
        ("methods: [GET]", "methods: [get]", 1),
        ("name: stock", "nmae: stock", 0),
        ("action: Allow", "action: Maybe", 1),
        ("kind: AuthorizationPolicy", "kind: AuthorisationPolicy", 1),
        ("v1alpha1", "v1beta1", 1),
        ("plait.dev/v1alpha1", "v1alpha1", 1),
        ("to: [{", "from: [{claims: {a: b}}], to: [{", 1),
        ("to: [{", "from: [{identities: []}], to: [{", 1),
        ("methods: [GET]", 'hosts: ["stock:80"]', 1),
    ],
)
def test_a_security_policy_without_a_last_good_version_denies(tmp_path: Path, old: str, new: str, targets: int) -> None:
    settled = put(tmp_path, {**FILES, "policy.yaml": POLICY.replace(old, new)})
    policy = settled.world.objects["AuthorizationPolicy", "shop", "readers"].resource
    assert isinstance(policy, AuthorizationPolicy)
    assert (policy.spec.action, len(policy.spec.rules), len(policy.spec.target_refs)) == ("Deny", 1, targets)
    assert states(settled) == {"AuthorizationPolicy readers": "Refused"}
    assert put(tmp_path, FILES, settled).stand_ins == frozenset()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("namespace: shop", "namespce: shop"),
        ("name: readers", "nmae: readers"),
        ("namespace: shop", "namespace: [shop]"),
    ],
)
def test_a_policy_that_could_stand_anywhere_denies_everywhere(tmp_path: Path, old: str, new: str) -> None:
    files = {**FILES, "policy.yaml": POLICY.replace(old, new)}
    settled = put(tmp_path, files)
    policy = settled.world.objects["AuthorizationPolicy", "plait-system", "unreadable-policies"].resource
    assert isinstance(policy, AuthorizationPolicy)
    assert (policy.spec.action, [ref.kind for ref in policy.spec.target_refs]) == ("Deny", ["Mesh"])
    assert "Refused" in states(settled).values()
    before = put(tmp_path, FILES)
    assert put(tmp_path, files, before).stand_ins == frozenset(), "it is the one whose last good version goes on"


OTHER = SERVICE.replace("stock", "other").replace("port: 80", "port: 81").replace("{port: 81}", "{port: 80}")
BROKEN = POLICY.replace("action: Allow", "action: Maybe")
STAND_IN = ("AuthorizationPolicy", "shop", "readers")


@pytest.mark.parametrize(
    ("old", "new", "targets"),
    [
        ("name: stock}]", "name: other}]", ["stock", "other"]),
        ("name: stock}]", "name: stock}, {kind: Service, name: other}]", ["stock", "other"]),
        ("name: stock}]", "name: gone}]", []),
        ("targetRefs: [{kind: Service, name: stock}]", "selector: {app: other}", []),
        ("targetRefs: [{kind: Service, name: stock}],", "", []),
        ("action: Maybe", "action: Never", ["stock"]),
        ("kind: Auth", "kind: [Auth", ["stock"]),
    ],
)
def test_a_stand_in_guards_what_it_did_and_what_is_readable_now(
    tmp_path: Path, old: str, new: str, targets: list[str]
) -> None:
    files = {**FILES, "other.yaml": OTHER, "policy.yaml": BROKEN}
    settled = put(tmp_path, {**files, "policy.yaml": BROKEN.replace(old, new)}, put(tmp_path, files))
    policy = settled.world.objects[STAND_IN].resource
    assert isinstance(policy, AuthorizationPolicy)
    assert ([ref.name for ref in policy.spec.target_refs], policy.spec.selector) == (targets, {})
    assert (policy.spec.action, settled.stand_ins) == ("Deny", {STAND_IN})
    assert states(settled)["AuthorizationPolicy readers"] == "Refused"
    assert put(tmp_path, {**FILES, "policy.yaml": ""}, settled).stand_ins == frozenset(), "what is removed is gone"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: stock}]", "name: sotck}]"),
        ("kind: Service", "kind: Serivce"),
        ("kind: Service", "group: x, kind: Service"),
    ],
)
def test_a_policy_whose_target_cannot_be_found_never_stops_guarding(tmp_path: Path, old: str, new: str) -> None:
    files = {**FILES, "policy.yaml": POLICY.replace(old, new)}
    key = ("AuthorizationPolicy", "shop", "readers")
    before = put(tmp_path, FILES)
    assert put(tmp_path, files, before).world.objects[key] is before.world.objects[key], "the last good version goes on"
    policy = put(tmp_path, files).world.objects[key].resource
    assert isinstance(policy, AuthorizationPolicy)
    assert (policy.spec.action, policy.spec.target_refs) == ("Deny", []), "its whole namespace is denied"


@pytest.mark.parametrize(
    ("mesh", "trust_domain"),
    [
        ("metadata: {name: default}\nspec: {trustDomain: a.example, defaultPolicy: DenyAl}", "a.example"),
        ("metadata: {name: default}\nspec: {trustDomain: A, egress: Deny}", "cluster.local"),
        ("metadata: {name: main}\nspec: {trustDomain: a.example, defaultPolicy: DenyAll}", "a.example"),
        ("metadata: {name: default}\nspec: 7", "cluster.local"),
        ("metadata: {name: default}\nspec: {trustDomain: a.example}\nkind: Mehs", "a.example"),
        ("metadata: {name: default}\nspec: {telemetry: {tracing: {endpoint: x}}}", "cluster.local"),
    ],
)
def test_a_mesh_without_a_last_good_version_denies(tmp_path: Path, mesh: str, trust_domain: str) -> None:
    kind = "" if "kind: " in mesh else "kind: Mesh\n"
    text = f"apiVersion: plait.dev/v1alpha1\n{kind}{mesh}\n"
    settled = put(tmp_path, {**FILES, "mesh.yaml": text})
    found = settled.world.mesh()
    assert found is not None
    assert (found.spec.default_policy, found.spec.egress, found.spec.mtls.mode) == ("DenyAll", "Deny", "Strict")
    assert found.spec.trust_domain == trust_domain
    assert "Refused" in states(settled).values()
    good = "apiVersion: plait.dev/v1alpha1\nkind: Mesh\nmetadata: {name: default}\n"
    mended = put(tmp_path, {**FILES, "mesh.yaml": good}, settled).world.mesh()
    assert mended is not None
    assert mended.spec.default_policy == "AllowAuthenticated"


def test_a_dry_run_policy_never_denies(tmp_path: Path) -> None:
    text = POLICY.replace("action: Allow", "mode: DryRun, action: Maybe")
    settled = put(tmp_path, {**FILES, "policy.yaml": text})
    assert ("AuthorizationPolicy", "shop", "readers") not in settled.world.objects


def test_a_newcomer_does_not_take_the_address_of_another(tmp_path: Path) -> None:
    before = put(tmp_path, FILES)
    rival = SERVICE.split("---")[1].replace("stock-1", "a-1")
    settled = put(tmp_path, {**FILES, "rival.yaml": rival}, before)
    assert settled.world.objects["Workload", "shop", "stock-1"] is before.world.objects["Workload", "shop", "stock-1"]
    assert states(settled) == {"Workload stock-1": "Stale"}


def test_history_survives_a_restart_over_broken_files(tmp_path: Path) -> None:
    source, state = tmp_path / "source", tmp_path / "state"
    source.mkdir()
    settled = put(source, FILES)
    History(state).keep(Generation(4, "digest", 1.0, "first", settled.world), settled)
    last = History(state).last()
    assert (last.number, last.digest, list(last.world.objects)) == (4, "digest", list(settled.world.objects))
    broken = put(source, {**FILES, "route.yaml": "{"}, Settled(last.world))
    assert states(broken) == {"HTTPRoute stock": "Stale", "File route.yaml": "Refused"}


def test_history_never_gives_a_number_twice_and_keeps_a_hundred(tmp_path: Path) -> None:
    settled = Settled()
    history = History(tmp_path)
    for number in range(1, 121):
        history.keep(Generation(number, "", 0.0, "", World()), settled)
    assert len(list((tmp_path / "generations").iterdir())) == 100
    (tmp_path / "generation.json").write_text("{")
    assert History(tmp_path).last().number == 120


def test_a_change_is_told_by_file_and_object(tmp_path: Path) -> None:
    before = put(tmp_path, FILES)
    after = put(tmp_path, {**FILES, "route.yaml": ROUTE.replace("weight: 1", "weight: 2")}, before).world
    assert what_changed(before.world, after) == "route.yaml changed HTTPRoute shop/stock"
    assert what_changed(before.world, World()).startswith("policy.yaml removed AuthorizationPolicy shop/readers; ")


PLUGIN = """
apiVersion: plait.dev/v1alpha1
kind: Plugin
metadata: {name: guard, namespace: shop}
spec:
  {package: plait-guard, direction: Inbound, targetRefs: [{kind: Service, name: stock}], onLoadFailure: Closed}
"""


@pytest.mark.parametrize(
    ("old", "new", "covered"),
    [
        ("package: plait-guard", "pakage: plait-guard", ["Service"]),
        ("direction: Inbound", "direction: Inward", ["Service"]),
        ("targetRefs: [{", "targetRefs: [{nam: x, ", ["Namespace"]),
        ("onLoadFailure: Closed", "onLoadFailure: Open, x: y", None),
        ("name: stock", "name: stok", None),
    ],
)
def test_a_plugin_without_a_last_good_version_refuses_what_it_covers(
    tmp_path: Path, old: str, new: str, covered: list[str] | None
) -> None:
    settled = put(tmp_path, {"services.yaml": SERVICE, "plugin.yaml": PLUGIN.replace(old, new)})
    found = settled.world.objects.get(("Plugin", "shop", "guard"))
    assert states(settled) == {"Plugin guard": "Refused"}
    if covered is None:
        assert found is None
        return
    assert found is not None
    assert isinstance(found.resource, RefusedPlugin)
    assert [ref.kind for ref in found.resource.spec.target_refs] == covered
    assert translate_plugin(found.resource).invalid != ""
    better = put(tmp_path, {"services.yaml": SERVICE, "plugin.yaml": PLUGIN}, settled)
    assert states(better) == {}
    broken = put(tmp_path, {"services.yaml": SERVICE, "plugin.yaml": PLUGIN.replace(old, new)}, better)
    assert states(broken) == {"Plugin guard": "Stale"}


def pod(name: str, address: str) -> Workload:
    spec = {"serviceAccount": "web", "address": address, "ports": []}
    written = {"apiVersion": "plait.dev/v1alpha1", "kind": "Workload", "metadata": {"name": name, "namespace": "shop"}}
    return Workload.model_validate({**written, "spec": spec})


def endpoints(address: str) -> tuple[Slice, ...]:
    return (Slice("IPv4", {"": 80}, (SliceEndpoint(address),)),)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (Cluster(), Cluster(), ""),
        (Cluster(), Cluster(pods={"shop/a": pod("a", "10.0.0.1")}), "pods came: shop/a"),
        (
            Cluster(pods={"shop/a": pod("a", "10.0.0.1")}),
            Cluster(pods={f"shop/{name}": pod(name, "10.0.0.2") for name in "bcd"}),
            "pods came: shop/b, shop/c and 1 more; pods gone: shop/a",
        ),
        (
            Cluster(pods={"shop/a": pod("a", "10.0.0.1")}, slices={"shop/web": endpoints("10.0.0.1")}),
            Cluster(pods={"shop/a": pod("a", "10.0.0.2")}, slices={"shop/web": endpoints("10.0.0.2")}),
            "pods changed: shop/a",
        ),
        (
            Cluster(slices={"shop/web": endpoints("10.0.0.1")}),
            Cluster(slices={"shop/web": endpoints("10.0.0.2")}),
            "endpoints changed of shop/web",
        ),
    ],
)
def test_a_change_of_a_cluster_is_told_by_its_pods(before: Cluster, after: Cluster, told: str) -> None:
    assert what_changed(World(cluster=before), World(cluster=after)) == told
