"""The CustomResourceDefinitions: as the models say, fit for an API server, and right about what lint says is right."""

import importlib.util
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from plait_controlplane.resources.crd import definitions
from plait_controlplane.resources.kinds import CLUSTER_SCOPED, KINDS, PLAIT
from plait_controlplane.resources.reader import read

TOOL = Path(__file__).parents[2] / "tools" / "crds.py"
CASES = sorted((Path(__file__).parents[1] / "lint" / "cases").glob("*.yaml"))
DEMO = Path(__file__).parents[3] / "cli" / "src" / "plait_cli" / "demo" / "mesh"
SCHEMAS = {
    one["spec"]["names"]["kind"]: one["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for one in definitions()
}


def ours(text: str) -> list[dict[str, Any]]:
    """Documents of our kinds; none of what is no YAML."""
    try:
        found = list(yaml.safe_load_all(text))
    except yaml.YAMLError:
        return []
    documents = [one for one in found if isinstance(one, dict)]
    return [one for one in documents if one.get("apiVersion") == PLAIT and one.get("kind") in SCHEMAS]


def fits(document: dict[str, Any]) -> bool:
    return bool(jsonschema.Draft7Validator(SCHEMAS[document["kind"]]).is_valid(document))


def test_what_is_checked_in_is_what_the_models_say() -> None:
    spec = importlib.util.spec_from_file_location("crds", TOOL)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert {path.name: path.read_text() for path in tool.FOLDER.glob("*.yaml")} == tool.written(), f"run {TOOL}"


def test_every_kind_of_ours_has_one() -> None:
    assert set(SCHEMAS) == {kind for version, kind in KINDS if version == PLAIT}
    scopes = {one["spec"]["names"]["kind"]: one["spec"]["scope"] for one in definitions()}
    assert {kind for kind, scope in scopes.items() if scope == "Cluster"} == CLUSTER_SCOPED & set(scopes)


@pytest.mark.parametrize("kind", sorted(SCHEMAS))
def test_a_schema_is_structural(kind: str) -> None:
    def walk(node: dict[str, Any], path: str) -> None:
        anything = {"x-kubernetes-preserve-unknown-fields": True}, {"x-kubernetes-int-or-string": True}
        assert "type" in node or node in anything, path
        assert not {"$ref", "anyOf", "allOf", "oneOf", "not", "const", "default", "title"} & node.keys(), path
        assert not ("additionalProperties" in node and "properties" in node), path
        for name, inner in node.get("properties", {}).items():
            walk(inner, f"{path}.{name}")
        for inner in (node.get("items"), node.get("additionalProperties")):
            if inner is not None:
                walk(inner, f"{path}[]")

    walk(SCHEMAS[kind], kind)


@pytest.mark.parametrize("path", [*CASES, *sorted(DEMO.glob("*.yaml"))], ids=lambda path: path.stem)
def test_what_reads_well_fits_the_schema(path: Path) -> None:
    """The other way round it need not: what a schema cannot say, lint, the webhook and the status say."""
    wrong = {problem.object for problem in read(path.name, path.read_text())[1] if problem.severity == "error"}
    for document in ours(path.read_text()):
        meta = document.get("metadata", {})
        titles = {f"{document['kind']} {meta.get('namespace', 'default')}/{meta.get('name')}"}
        titles.add(f"{document['kind']} {meta.get('name')}")
        if not titles & wrong:
            assert fits(document), document


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("AuthorizationPolicy", {"action": "Permit"}),
        ("AuthorizationPolicy", {}),
        ("TrafficPolicy", {"targetRefs": [{"name": "a"}], "timeouts": {"request": "soon"}}),
        ("TrafficPolicy", {"targetRefs": []}),
        ("Workload", {"address": "10.0.0.1", "ports": [{"name": "http", "port": 0}]}),
        ("Mesh", {"mtls": {"mode": "Maybe"}}),
    ],
)
def test_what_a_schema_can_say_it_refuses(kind: str, spec: dict[str, Any]) -> None:
    assert not fits({"apiVersion": PLAIT, "kind": kind, "metadata": {"name": "default"}, "spec": spec})


def test_a_misspelt_field_is_kept_so_that_it_is_told() -> None:
    """Cut off, a misspelt `from` would leave a rule that lets everybody in."""
    rules = SCHEMAS["AuthorizationPolicy"]["properties"]["spec"]["properties"]["rules"]
    assert rules["items"]["x-kubernetes-preserve-unknown-fields"]
