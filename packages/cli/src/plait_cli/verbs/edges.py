"""`plait edges`: who calls whom, as which identity, encrypted or not."""

from collections import Counter
from typing import Any

from plait_cli.asked import ClusterOption, ContextOption, KubeconfigOption, reached
from plait_cli.meshes import MeshOption, StateOption
from plait_cli.numbers import Edge, short
from plait_cli.numbers import edges as edges_of
from plait_cli.output import Format, OutputOption, percent, print_json, print_table
from plait_cli.verbs.stat import WINDOW_SECONDS, WindowOption, sample

HEADERS = ("FROM", "TO", "IDENTITY", "ENCRYPTED", ">RPS", ">SUCCESS")


def edges(
    window: WindowOption = WINDOW_SECONDS,
    mesh: MeshOption = None,
    state: StateOption = None,
    cluster: ClusterOption = False,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Prints each pair of caller and service that met since the sidecars began, with the rates of this moment."""
    with reached(mesh, state, cluster, kubeconfig, context) as target:
        trust_domain = str(target.api.mesh()["trust_domain"])
        total, grown = sample(target, window)
    found = edges_of(total, grown, trust_domain)
    if output is Format.json:
        print_json({"window_seconds": window, "edges": [facts(edge, window) for edge in found]})
        return
    if not found:
        print("nobody has called anybody yet")
        return
    print_table(HEADERS, [cells(edge, window) for edge in found])


def facts(edge: Edge, window: float) -> dict[str, Any]:
    """An edge under stable names."""
    return {
        "from": edge.source,
        "to": edge.destination,
        "identity": edge.identity or None,
        "encrypted": edge.tls,
        "requests_per_second": edge.requests / window,
        "connections_per_second": edge.connections / window,
        "success_ratio": edge.successes / edge.requests if edge.requests else None,
        "rejects": dict(edge.rejects),
        "denied_by": dict(edge.denials),
    }


def cells(edge: Edge, window: float) -> list[str]:
    """An edge for people."""
    encrypted = "✓ TLS 1.3" if edge.tls else "✗ plaintext"
    rate = f"{edge.requests / window:.1f}" if edge.requests else "–"
    success = percent(edge.successes, edge.requests)
    # What the destination's sidecar answers; in a quiet moment what it always did since it began.
    refused = edge.recent or (Counter() if edge.worked else edge.rejects)
    if refused and not edge.successes:
        success = f"✗ {refused.most_common(1)[0][0]}"
        if edge.denials and success == "✗ policy_denied":
            success = f"✗ denied by {edge.denials.most_common(1)[0][0]}"
    return [short(edge.source), short(edge.destination), edge.identity or "none", encrypted, rate, success]
