"""Owns the golden numbers: what the counters of all sidecars say about services, routes and edges over a window.

Called by `stat` and `edges`. Pure, over differences of samples; the outbound side is read (it saw what the caller got,
its own rejects included), the inbound side for who was at the other end. Must not sleep or ask: the verbs do.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from plait_cli.prometheus import Histogram, Series, select

# A caller's own mistake (4xx) is an answer of the service and worked; anything else that is no answer of it failed.
SUCCESSFUL = frozenset({"1xx", "2xx", "3xx", "4xx"})
# Those that no reject has.
ANSWERED = frozenset({"1xx", "2xx", "3xx"})
# Answers of this class that the mesh made itself; its other rejects are 5xx.
MESH_4XX = frozenset(
    {
        "bad_request",
        "head_too_large",
        "slow_caller",
        "policy_denied",
        "unauthenticated",
        "egress_denied",
        "route_not_found",
    }
)


class By(StrEnum):
    """What a row of `stat` stands for."""

    service = "service"
    route = "route"
    edge = "edge"


@dataclass
class Row:
    """Sums of one service, route or edge over the window."""

    name: str
    requests: float = 0.0
    successes: float = 0.0
    connections: float = 0.0
    bytes: float = 0.0
    latency: Histogram = field(default_factory=Histogram)
    callers: set[str] = field(default_factory=set)
    routes: set[str] = field(default_factory=set)
    rejects: Counter[str] = field(default_factory=Counter)

    def reject(self, reason: str, times: int) -> None:
        """Counts answers that the mesh made itself; called after all requests are counted."""
        self.rejects[reason] += times
        if reason in MESH_4XX:
            self.successes = max(0.0, self.successes - times)


def short(name: str, namespace: str | None = None) -> str:
    """ "namespace/name" without its namespace, when that is `namespace` or the only one asked about."""
    head, _, tail = name.partition("/")
    return tail if tail and namespace in (None, head) else name


def key(labels: Mapping[str, str], by: By) -> str:
    """Which row a sample belongs to; empty = none."""
    if by is By.service:
        return labels.get("destination", "")
    if by is By.route:
        return labels.get("route", "")
    return f"{labels.get('source', '')} → {labels.get('destination', '')}"


def rows(grown: Mapping[Series, float], by: By) -> list[Row]:
    """One row for each service, route or edge with traffic, by name."""
    found: dict[str, Row] = {}

    def row(labels: Mapping[str, str]) -> Row | None:
        if labels.get("direction") != "outbound" or not (name := key(labels, by)):
            return None
        return found.setdefault(name, Row(name))

    for labels, value in select(grown, "plait_requests_total"):
        if value and (target := row(labels)):
            target.requests += value
            target.successes += value if labels.get("code_class") in SUCCESSFUL else 0.0
            target.callers.add(labels.get("source", ""))
            target.routes.update({labels.get("route", "").partition("#")[0]} - {""})
    for labels, value in select(grown, "plait_rejects_total"):
        if value and (target := row(labels)):
            target.reject(labels.get("reason", ""), int(value))
    for labels, value in select(grown, "plait_request_duration_seconds_bucket"):
        if target := row(labels):
            target.latency.add(float(labels["le"]), value)
    for labels, value in select(grown, "plait_connections_total"):
        if value and labels.get("protocol") == "tcp" and (target := row(labels)):
            target.connections += value
            target.callers.add(labels.get("source", ""))
    for labels, value in select(grown, "plait_connection_bytes_total"):
        if value and (target := row(labels)):
            target.bytes += value
    return [found[name] for name in sorted(found) if alive(found[name])]


def alive(row: Row) -> bool:
    """Whether anything happened in the window."""
    return bool(row.requests or row.connections or row.bytes or row.rejects)


@dataclass
class Edge:
    """Who called whom: as the destination's sidecar saw it."""

    source: str
    destination: str
    identity: str
    tls: bool
    requests: float = 0.0
    successes: float = 0.0
    connections: float = 0.0
    rejects: Counter[str] = field(default_factory=Counter)
    """Since the sidecars began, by reason."""
    denials: Counter[str] = field(default_factory=Counter)
    """Of these, what a policy denied, by policy."""
    recent: Counter[str] = field(default_factory=Counter)
    """The rejects of the window."""
    worked: bool = False
    """Whether a request was ever answered well."""


def edges(total: Mapping[Series, float], grown: Mapping[Series, float], trust_domain: str) -> list[Edge]:
    """Every edge since the sidecars began (`total`), with the rates of the window (`grown`)."""
    found: dict[tuple[str, str], Edge] = {}
    for labels, value in select(total, "plait_connections_total"):
        if value and labels.get("direction") == "inbound":
            edge = edge_of(found, labels, trust_domain)
            edge.tls = edge.tls and encrypted(labels)
    for labels, value in select(total, "plait_rejects_total"):
        if value and labels.get("direction") == "inbound":
            edge_of(found, labels, trust_domain).rejects[labels.get("reason", "")] += int(value)
    for labels, value in select(total, "plait_requests_total"):
        if value and labels.get("direction") == "inbound" and labels.get("code_class") in ANSWERED:
            edge_of(found, labels, trust_domain).worked = True
    for labels, value in select(total, "plait_policy_denials_total"):
        if value:
            edge_of(found, labels, trust_domain).denials[labels.get("object", "")] += int(value)
    for name in ("plait_requests_total", "plait_connections_total", "plait_rejects_total"):
        for labels, value in select(grown, name):
            if labels.get("direction") != "inbound" or not value:
                continue
            edge = edge_of(found, labels, trust_domain)
            if name == "plait_connections_total":
                edge.connections += value
            elif name == "plait_rejects_total":
                edge.recent[labels.get("reason", "")] += int(value)
                edge.successes = max(0.0, edge.successes - value * (labels.get("reason") in MESH_4XX))
            else:
                edge.requests += value
                edge.successes += value if labels.get("code_class") in SUCCESSFUL else 0.0
    return [found[name] for name in sorted(found) if all(name)]


def edge_of(found: dict[tuple[str, str], Edge], labels: Mapping[str, str], trust_domain: str) -> Edge:
    """The edge that an inbound sample belongs to, made when new; its source is "namespace/service account"."""
    source, destination = labels.get("source", ""), labels.get("destination", "")
    namespace, _, account = source.partition("/")
    identity = f"spiffe://{trust_domain}/ns/{namespace}/sa/{account}" if account else ""
    return found.setdefault((source, destination), Edge(source, destination, identity, bool(identity)))


def encrypted(labels: Mapping[str, str]) -> bool:
    """Whether the connections of a sample were TLS."""
    return labels.get("tls", "").lower() not in ("", "none", "false", "no", "plaintext")
