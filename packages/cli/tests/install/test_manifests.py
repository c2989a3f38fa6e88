"""What an installation consists of: all of it beside this file, written by PLAIT_GOLDEN=write, and what must hold."""

import os
from pathlib import Path
from typing import Any

import yaml
from plait_cli.install import rbac
from plait_cli.install.cluster import KINDS, path
from plait_cli.install.manifests import control_plane, everything, hooks, text
from plait_cli.install.settings import Settings

GOLDEN = Path(__file__).parent
SETTINGS = Settings(registry="registry.example.com/mesh", image_tag="1.2.3", replicas=3)


def golden(name: str, objects: list[dict[str, Any]]) -> None:
    file = GOLDEN / name
    if os.environ.get("PLAIT_GOLDEN") == "write":
        file.write_text(text(objects))
    assert list(yaml.safe_load_all(file.read_text())) == objects


def test_the_whole_of_it() -> None:
    golden("controlplane.yaml", [one for one in control_plane(SETTINGS) if "rbac" not in one["apiVersion"]])
    golden("webhooks.yaml", hooks())


def test_the_rights_are_those_that_were_agreed_on() -> None:
    golden("rbac.yaml", rbac.roles())


def test_no_right_is_wide() -> None:
    for role in rbac.roles():
        for rule in role.get("rules", []):
            assert "*" not in rule["verbs"], rule
            assert rule["resources"] != ["*"] or (rule["apiGroups"] == ["plait.dev"] and "create" not in rule["verbs"])
            if "secrets" in rule["resources"]:
                assert role["metadata"].get("namespace") == "plait-system", "nobody's Secret but our own"
                assert rule["verbs"] == ["create"] or rule["resourceNames"] == ["plait-ca"]


def test_the_control_plane_is_of_the_strictest_standard() -> None:
    (deployment,) = (one for one in control_plane(SETTINGS) if one["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        strict = container["securityContext"]
        assert strict["readOnlyRootFilesystem"]
        assert not strict["allowPrivilegeEscalation"]
        assert strict["capabilities"] == {"drop": ["ALL"]}


def test_the_api_server_reaches_a_replica_before_another_goes_and_after_it_was_told_to_go() -> None:
    (deployment,) = (one for one in control_plane(SETTINGS) if one["kind"] == "Deployment")
    spec = deployment["spec"]
    assert spec["minReadySeconds"] >= 5, "nodes hear of a new endpoint only after it is ready"
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    (container,) = spec["template"]["spec"]["containers"]
    program, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    # The rest is for the processes to end by themselves.
    assert 5 <= int(seconds) <= spec["template"]["spec"]["terminationGracePeriodSeconds"] - 10


def test_everything_has_a_place_and_a_second_text_is_the_same() -> None:
    objects = everything(SETTINGS)
    assert len({path(one) for one in objects}) == len(objects)
    assert {one["kind"] for one in objects} <= set(KINDS)
    assert text(everything(SETTINGS)) == text(objects)
    # Parsers of others know no anchors that we would put in for shared parts.
    assert "&id" not in text(objects)


def test_images_have_their_public_names() -> None:
    assert Settings(image_tag="1").image("proxy") == "plait/proxy:1"
    assert SETTINGS.image("controlplane") == "registry.example.com/mesh/plait/controlplane:1.2.3"
    assert Settings("localhost:5000/").image("proxy").startswith("localhost:5000/plait/proxy:")


def test_what_never_opted_in_is_never_shown() -> None:
    injection, validation = hooks()
    for hook in injection["webhooks"]:
        assert hook["failurePolicy"] == "Fail"
        selectors = [*hook["namespaceSelector"]["matchExpressions"], *hook["objectSelector"]["matchExpressions"]]
        assert {"key": "plait.dev/inject", "operator": "In", "values": ["enabled"]} in selectors
        never = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["plait-system", "kube-system"]}
        assert never in selectors
    assert {hook["failurePolicy"] for hook in validation["webhooks"]} == {"Ignore"}
