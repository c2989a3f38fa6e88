"""The claims of the demo: each acts on the running stage, measures live traffic, and says whether it is so."""

from plait_cli.demo.claims.changes import broken_yaml, route_changes
from plait_cli.demo.claims.encryption import every_edge_encrypted, no_plaintext
from plait_cli.demo.claims.faults import control_plane_killed, instance_killed
from plait_cli.demo.claims.policy import dry_run, unauthorised_caller
from plait_cli.demo.claims.result import Claim, Length
from plait_cli.demo.claims.routing import header, split

# In running order: those that only look first, those that break something last.
CLAIMS: tuple[Claim, ...] = (
    Claim("every edge encrypted", every_edge_encrypted),
    Claim("no plaintext on the wire", no_plaintext),
    Claim("reviews  90 / 10", split),
    Claim("header x-tester: yes", header),
    Claim("catalog asks for the ledger", unauthorised_caller),
    Claim("the same in DryRun", dry_run, edits=True),
    Claim("1 of 2 reviews-v1 killed", instance_killed),
    Claim("route changes under load", route_changes, edits=True),
    Claim("control plane killed", control_plane_killed),
    Claim("broken YAML", broken_yaml, edits=True),
)

__all__ = ["CLAIMS", "Claim", "Length"]
