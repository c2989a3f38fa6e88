"""CustomResourceDefinitions of our kinds, made from the typed models. Pure; written to `crds/` by tools/crds.py.

Fields that nobody knows are kept, not cut off: the control plane refuses them with their path. An API server that drops
a misspelt restriction would leave a policy that lets everybody in.
"""

from typing import Any

from plait_controlplane.resources.fields import Resource
from plait_controlplane.resources.kinds import CLUSTER_SCOPED, KINDS, PLAIT, plural

Schema = dict[str, Any]

COLUMNS = {
    "Mesh": {"Trust domain": ".spec.trustDomain", "mTLS": ".spec.mtls.mode", "Default": ".spec.defaultPolicy"},
    "Workload": {"Account": ".spec.serviceAccount", "Address": ".spec.address"},
    "AuthorizationPolicy": {"Action": ".spec.action", "Mode": ".spec.mode"},
}
"""What `kubectl get` shows beside whether it is accepted."""

CONDITION: Schema = {
    "type": "object",
    "required": ["type", "status", "lastTransitionTime", "reason", "message"],
    "properties": {
        "type": {"type": "string", "maxLength": 316},
        "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
        "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
        "lastTransitionTime": {"type": "string", "format": "date-time"},
        "reason": {"type": "string", "maxLength": 1024, "minLength": 1},
        "message": {"type": "string", "maxLength": 32768},
    },
}
STATUS: Schema = {
    "type": "object",
    "properties": {
        "conditions": {
            "type": "array",
            "items": CONDITION,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        }
    },
}


def definitions() -> list[dict[str, Any]]:
    """One for each kind of ours that is read, in the order of their names."""
    ours = sorted((kind, model) for (version, kind), model in KINDS.items() if version == PLAIT)
    return [_definition(kind, model) for kind, model in ours]


def _definition(kind: str, model: type[Resource]) -> dict[str, Any]:
    group, version = PLAIT.split("/")
    accepted = '.status.conditions[?(@.type=="Accepted")].status'
    columns = [*COLUMNS.get(kind, {}).items(), ("Accepted", accepted)]
    shown = [{"name": name, "type": "string", "jsonPath": path} for name, path in columns]
    shown.append({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"})
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural(kind)}.{group}", "labels": {"app.kubernetes.io/part-of": "plait"}},
        "spec": {
            "group": group,
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural(kind), "singular": kind.lower()},
            "scope": "Cluster" if kind in CLUSTER_SCOPED else "Namespaced",
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": shown,
                    "schema": {"openAPIV3Schema": _root(model)},
                }
            ],
        },
    }


def _root(model: type[Resource]) -> Schema:
    whole = model.model_json_schema(by_alias=True)
    schema = _structural(whole, whole.get("$defs", {}))
    schema.pop("x-kubernetes-preserve-unknown-fields")  # the API server knows what stands beside spec
    properties = schema["properties"]
    properties["apiVersion"], properties["kind"] = {"type": "string"}, {"type": "string"}
    properties["metadata"] = {"type": "object"}
    properties["status"] = STATUS
    schema["required"] = [name for name in schema.get("required", []) if name == "spec"]
    if not schema["required"]:
        del schema["required"]
    return schema


def _structural(node: Schema, defs: dict[str, Schema]) -> Schema:
    """A schema of pydantic as Kubernetes wants it: no references, no null, no defaults, a type at every node."""
    if "$ref" in node:
        beside = {name: value for name, value in node.items() if name == "description"}
        return {**_structural(defs[node["$ref"].rpartition("/")[2]], defs), **beside}
    if "anyOf" in node:
        arms = [arm for arm in node["anyOf"] if arm.get("type") != "null"]
        if len(arms) != 1:
            raise ValueError(f"a field of several types has no structural schema: {node}")
        return _structural(arms[0], defs)
    if "x-kubernetes-int-or-string" in node:
        return {"x-kubernetes-int-or-string": True}
    if "type" not in node and "enum" not in node and "const" not in node:
        return {"x-kubernetes-preserve-unknown-fields": True}
    kept = {name: value for name, value in node.items() if name in KEPT}
    if "const" in node:
        kept |= {"type": "string", "enum": [node["const"]]}
    if "items" in node:
        kept["items"] = _structural(node["items"], defs)
    if isinstance(node.get("additionalProperties"), dict):
        kept["additionalProperties"] = _structural(node["additionalProperties"], defs)
    elif node.get("type") == "object":
        found = {name: _structural(one, defs) for name, one in node.get("properties", {}).items()}
        kept |= {"properties": found} if found else {}
        kept["x-kubernetes-preserve-unknown-fields"] = True
    return kept


KEPT = {
    "type", "description", "enum", "required", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems",
    "maxItems", "x-kubernetes-validations",
}  # fmt: skip
