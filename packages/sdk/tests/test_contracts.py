"""The contract as Python sees it."""

from pathlib import Path

import pytest
from plait_sdk import check_pattern, contracts

PROTO = Path(__file__).parents[1] / "proto" / "plait" / "v1"


def test_every_proto_file_is_reached_through_contracts() -> None:
    expected = {f"{path.stem}_pb2" for path in PROTO.glob("*.proto")}
    assert expected <= set(contracts.__all__)


def test_a_change_set_survives_the_wire() -> None:
    resource = contracts.resource_pb2.Resource(
        kind=contracts.resource_pb2.RESOURCE_KIND_MESH, name="default", body=b"x"
    )
    sent = contracts.discovery_pb2.ChangeSet(nonce=1, generation=2, upserts=[resource], unknown=["www.example.com"])
    assert contracts.discovery_pb2.ChangeSet.FromString(sent.SerializeToString()) == sent


@pytest.mark.parametrize("source", ["/v[12]", "a|b", "", "(?i)yes"])
def test_a_pattern_that_the_proxy_compiles_is_accepted(source: str) -> None:
    check_pattern(source)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("(", "not a regular expression"),
        ("a)(b", "not a regular expression"),
        ("(a{1000}){1000}", "too large"),
        ("a" * 2000, "at most 1024"),
        ("(?=look)", "look-around"),
    ],
)
def test_a_pattern_that_it_refuses_is_refused_with_the_reason(source: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_pattern(source)
