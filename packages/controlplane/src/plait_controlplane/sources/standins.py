"""What denies in the place of a broken security object without a last good version. Pure; called by `lastgood`.

A policy denies all that it covers, as far as that can be read: its whole namespace when its targets cannot, the whole
mesh when its namespace cannot. A Mesh denies everything. A Plugin refuses what it covers,
unless its onLoadFailure is Open. Must never make what lets anybody in.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from plait_controlplane.resources.authorizationpolicy import AuthorizationPolicy
from plait_controlplane.resources.document import Document
from plait_controlplane.resources.fields import Metadata, ObjectName, Resource
from plait_controlplane.resources.kinds import CORE, PLAIT, group_of, meant
from plait_controlplane.resources.mesh import Mesh
from plait_controlplane.resources.plugin import RefusedPlugin
from plait_controlplane.resources.reader import Key, StoredObject, title
from plait_controlplane.resources.world import ROOT_NAMESPACE
from plait_controlplane.translate.policy import TARGETS

HEAD = {"apiVersion": PLAIT, "kind": "AuthorizationPolicy"}
DENY = {"action": "Deny", "rules": [{}]}

EVERYWHERE = AuthorizationPolicy.model_validate(
    {
        **HEAD,
        "metadata": {"name": "unreadable-policies", "namespace": ROOT_NAMESPACE},
        "spec": {**DENY, "targetRefs": [{"group": "plait.dev", "kind": "Mesh", "name": "default"}]},
    }
)
"""Stands for policies of which not even the namespace can be read."""


def stand_ins(
    broken: Iterable[tuple[str, Document]],
    bad: set[str],
    kept: Mapping[Key, StoredObject],
    stale: set[Key],
    before: Mapping[Key, StoredObject],
) -> dict[Key, StoredObject]:
    """One for each security object among `broken` (by file) that needs one.

    `bad` are the titles of objects that are not in force, `kept` the objects that are, some of them `stale`; `before`
    are the stand-ins of the last time: what one of them guarded, it goes on guarding.
    """
    # A policy without a name in a file of which a last good one goes on is that one, its name broken since.
    named_before = {kept[key].file for key in stale if key[0] == "AuthorizationPolicy"}
    found: dict[Key, StoredObject] = {}
    for file, document in broken:
        resource = _stand_in(document.data, kept)
        if resource is None or (resource is EVERYWHERE and file in named_before):
            continue
        stored = StoredObject(resource, file, document)
        # A Mesh of another name is refused too, and is still what the user wanted to be true everywhere.
        wanted = title(stored.key) in bad or isinstance(resource, Mesh) or resource is EVERYWHERE
        if wanted and stored.key not in kept:
            found.setdefault(stored.key, _widened(stored, before.get(stored.key), kept))
    return found


def _stand_in(data: Any, kept: Mapping[Key, StoredObject]) -> Resource | None:
    """None when the object would enforce nothing, or is not ours."""
    if not isinstance(data, dict):
        return None
    version = str(data.get("apiVersion", ""))
    kind = (meant(version, str(data.get("kind", ""))) or ("", ""))[1]
    spec: dict[str, Any] = data["spec"] if isinstance(data.get("spec"), dict) else {}
    # Without a group ("v1alpha1") it can only be ours; kinds of these names exist in others' groups too.
    if group_of(version) not in (PLAIT, CORE) or spec.get("mode") == "DryRun":
        return None
    if kind == "Mesh":
        return _closed_mesh(spec)
    if kind == "Plugin":
        return _closed_plugin(data.get("metadata"), spec, kept)
    return _closed_policy(data.get("metadata"), spec, kept) if kind == "AuthorizationPolicy" else None


def _closed_policy(metadata: Any, spec: dict[str, Any], kept: Mapping[Key, StoredObject]) -> AuthorizationPolicy:
    reach: dict[str, Any] = {name: spec[name] for name in ("targetRefs", "selector") if name in spec}
    for covered in (reach, {}):  # what it covers cannot be read or found: its whole namespace
        try:
            spec = {**covered, **DENY}
            policy = AuthorizationPolicy.model_validate({**HEAD, "metadata": _name(metadata), "spec": spec})
        except ValidationError:
            continue
        if all(_there(policy, ref, kept) for ref in policy.spec.target_refs):
            return policy
    return EVERYWHERE


def _closed_plugin(metadata: Any, spec: dict[str, Any], kept: Mapping[Key, StoredObject]) -> RefusedPlugin | None:
    """None where a plugin may be left out, or stands on what does not exist: then it never guarded anything."""
    name = _name(metadata)
    if spec.get("onLoadFailure") == "Open" or not name:
        return None
    direction = spec["direction"] if spec.get("direction") in ("Inbound", "Outbound") else "Inbound"
    namespace = name.get("namespace", "default")
    whole = [{"kind": "Namespace", "name": namespace}]
    for targets in (spec.get("targetRefs"), whole):  # what it covers cannot be read: its whole namespace
        closed = {"package": "refused", "direction": direction, "targetRefs": targets}
        try:
            plugin = RefusedPlugin.model_validate({**HEAD, "kind": "Plugin", "metadata": name, "spec": closed})
        except ValidationError:
            continue
        there = [
            ref for ref in plugin.spec.target_refs if ref.kind in {"Mesh", "Namespace"} or _exists(ref, name, kept)
        ]
        return plugin if there else None
    return None


def _exists(ref: ObjectName, name: dict[str, Any], kept: Mapping[Key, StoredObject]) -> bool:
    return (ref.kind, str(name.get("namespace", "default")), ref.name) in kept


def _name(metadata: Any) -> dict[str, Any]:
    """Name and namespace; nothing when a field that is unknown could be either of them misspelt."""
    known = {str(field.alias) for field in Metadata.model_fields.values()}
    if not isinstance(metadata, dict) or metadata.keys() - known:
        return {}
    return {name: metadata[name] for name in ("name", "namespace") if name in metadata}


def _there(policy: AuthorizationPolicy, ref: ObjectName, kept: Mapping[Key, StoredObject]) -> bool:
    """Whether a target stands for anything that the policy may guard."""
    namespace = policy.metadata.namespace
    if ref.kind == "Service":
        return (ref.group, ref.namespace or namespace) == ("", namespace) and ("Service", namespace, ref.name) in kept
    return ref.kind in TARGETS and (ref.kind != "Mesh" or namespace == ROOT_NAMESPACE)


def _widened(stored: StoredObject, before: StoredObject | None, kept: Mapping[Key, StoredObject]) -> StoredObject:
    """Covers what the stand-in before it covered, too."""
    policy, earlier = stored.resource, before.resource if before else None
    if not isinstance(policy, AuthorizationPolicy) or not isinstance(earlier, AuthorizationPolicy):
        return stored
    if (policy.spec.target_refs, policy.spec.selector) == (earlier.spec.target_refs, earlier.spec.selector):
        return stored
    refs: list[ObjectName] = []
    if policy.spec.target_refs and earlier.spec.target_refs:
        still = [ref for ref in earlier.spec.target_refs if _there(policy, ref, kept)]
        refs = [*still, *(ref for ref in policy.spec.target_refs if ref not in still)]
    # A selector and something else have no common form but the whole namespace.
    spec = policy.spec.model_copy(update={"target_refs": refs, "selector": {}})
    return StoredObject(policy.model_copy(update={"spec": spec}), stored.file, stored.document)


def _closed_mesh(spec: dict[str, Any]) -> Mesh:
    """Strict, nobody may call, nothing leaves; of what the user wrote only the trust domain, when that can be read."""
    head = {"apiVersion": PLAIT, "kind": "Mesh", "metadata": {"name": "default"}}
    closed = {"defaultPolicy": "DenyAll", "egress": "Deny"}
    try:
        return Mesh.model_validate({**head, "spec": {**closed, "trustDomain": spec.get("trustDomain")}})
    except ValidationError:
        return Mesh.model_validate({**head, "spec": closed})
