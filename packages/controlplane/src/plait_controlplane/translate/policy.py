"""AuthorizationPolicy -> the Policy message, and which workloads and ports it covers."""

from collections.abc import Iterator, Sequence

from plait_sdk.contracts import policy_pb2

from plait_controlplane.resources.authorizationpolicy import AuthorizationPolicy, Operation, Source
from plait_controlplane.resources.problem import Path, Problem, Severity
from plait_controlplane.resources.reader import StoredObject
from plait_controlplane.resources.workload import Workload
from plait_controlplane.resources.world import ROOT_NAMESPACE, World, selects
from plait_controlplane.translate.names import object_ref, target_port
from plait_controlplane.translate.traffic import check_target

ACTION = {"Allow": policy_pb2.POLICY_ACTION_ALLOW, "Deny": policy_pb2.POLICY_ACTION_DENY}
EXAMPLES = {
    "identities": "identities: [spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT]",
    "namespaces": "namespaces: [NAMESPACE]",
    "service_accounts": "serviceAccounts: [NAME]",
    "cidrs": "cidrs: [10.0.0.0/8]",
    "ports": "ports: [8080]",
    "methods": "methods: [GET]",
    "paths": "paths: [/a/*]",
    "hosts": "hosts: [NAME]",
    "headers": "headers: [{name: NAME}]",
}
TARGETS = {"Service", "Namespace", "Mesh"}


def translate_policy(policy: AuthorizationPolicy) -> policy_pb2.Policy:
    """The rules, literals only."""
    message = policy_pb2.Policy(
        object=object_ref(policy),
        action=ACTION[policy.spec.action],
        dry_run=policy.spec.mode == "DryRun",
    )
    for rule in policy.spec.rules:
        entry = message.rules.add()
        sources = getattr(entry, "from")
        sources.extend(_source(source, policy.metadata.namespace) for source in rule.from_)
        entry.to.extend(_operation(operation) for operation in rule.to)
    return message


def _source(source: Source, namespace: str) -> policy_pb2.PolicySource:
    accounts = [name if "/" in name else f"{namespace}/{name}" for name in source.service_accounts]
    return policy_pb2.PolicySource(
        identities=source.identities, namespaces=source.namespaces, service_accounts=accounts, cidrs=source.cidrs
    )


def _operation(operation: Operation) -> policy_pb2.PolicyOperation:
    message = policy_pb2.PolicyOperation(
        ports=operation.ports,
        methods=operation.methods,
        paths=operation.paths,
        hosts=[host.lower() for host in operation.hosts],
    )
    for header in operation.headers:
        message.headers.add(name=header.name.lower(), values=header.values)
    return message


def covered_ports(world: World, policy: AuthorizationPolicy, workload: Workload) -> list[int] | None:
    """The workload's ports that the policy covers; [] = all, None = it does not cover the workload."""
    namespace = policy.metadata.namespace
    same = namespace == workload.metadata.namespace
    selector = policy.spec.selector.items()
    if not policy.spec.target_refs:
        return [] if same and selector <= workload.metadata.labels.items() else None
    ports: set[int] = set()
    for ref in policy.spec.target_refs:
        if (ref.kind == "Mesh" and namespace == ROOT_NAMESPACE) or (ref.kind == "Namespace" and same):
            return []
        service = world.service(namespace, ref.name) if ref.kind == "Service" and same else None
        if service and selects(service, workload):
            ports |= {port for entry in service.spec.carried if (port := target_port(entry, workload)) is not None}
    return sorted(ports) if ports else None


def check_policy(world: World, stored: StoredObject, policy: AuthorizationPolicy) -> Iterator[Problem]:
    """Targets that are none, and fields that nothing enforces."""
    for index, ref in enumerate(policy.spec.target_refs):
        path = ("spec", "targetRefs", index)
        yield from check_target(world, stored, path, ref, TARGETS)
        service = world.service(policy.metadata.namespace, ref.name) if ref.kind == "Service" else None
        if service and not service.spec.selector:
            message = f"Service {ref.name} has no selector: it stands for no workload that a policy could guard"
            yield stored.problem((*path, "name"), message)
    if policy.spec.target_refs and policy.spec.selector:
        yield stored.problem(("spec", "selector"), "write targetRefs or selector, not both")
    for i, rule in enumerate(policy.spec.rules):
        for j, source in enumerate(rule.from_):
            if source.claims is not None:
                claims = ("spec", "rules", i, "from", j, "claims")
                yield stored.problem(claims, "UnsupportedValue: claims are not supported yet; remove the field")
    yield from _check_empty(stored, policy)
    if policy.spec.action == "Allow" and not policy.spec.rules:
        yield stored.problem(("spec", "action"), "an Allow without rules denies everything that it covers", "note")


def _check_empty(stored: StoredObject, policy: AuthorizationPolicy) -> Iterator[Problem]:
    """Lists that are empty restrict nothing. Who writes one may mean nobody, and would get anybody."""
    for name, alias in (("target_refs", "targetRefs"), ("selector", "selector")):
        if name in policy.spec.model_fields_set and not getattr(policy.spec, name):
            message = f"an empty {alias} means the whole namespace; remove it to say so, or name what is meant"
            yield stored.problem(("spec", alias), message, "note")
    for i, rule in enumerate(policy.spec.rules):
        whom: list[tuple[str, str, Sequence[Source | Operation]]] = [
            ("from_", "anybody", rule.from_), ("to", "any call", rule.to)
        ]  # fmt: skip
        for name, all_of_it, items in whom:
            path = ("spec", "rules", i, name.rstrip("_"))
            if name in rule.model_fields_set and not items:
                message = f"an empty {path[-1]} means {all_of_it}; remove it to say so, or name what is meant"
                yield stored.problem(path, message, "note")
            for j, item in enumerate(items):
                yield from _check_item(stored, policy, (*path, j), item, all_of_it)


def _check_item(
    stored: StoredObject, policy: AuthorizationPolicy, path: Path, item: Source | Operation, all_of_it: str
) -> Iterator[Problem]:
    if not item.model_fields_set:
        yield stored.problem(path, f"an item without fields means {all_of_it}", "note")
    for name, field in type(item).model_fields.items():
        if name in item.model_fields_set and getattr(item, name) == []:
            # In a Deny it errs to the safe side.
            severity: Severity = "error" if policy.spec.action == "Allow" else "note"
            message = f"an empty list restricts nothing, as if it were absent; write {EXAMPLES[name]}, or remove it"
            yield stored.problem((*path, str(field.alias)), message, severity)
