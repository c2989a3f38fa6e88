"""What is asked of a real name server on loopback, over UDP and TCP, and how its answers are told apart."""

from collections.abc import Iterator

import dns.rcode
import plait_sdk as plait
import pytest
from name_server import NameServer
from plait_dns_discovery.config import Config, server
from plait_dns_discovery.lookup import Gone, Unanswered, look_up
from plait_dns_discovery.plugin import resolver_of

NAME = "_http._tcp.web.example.com"


@pytest.fixture
def names() -> Iterator[NameServer]:
    with NameServer() as found:
        yield found


async def ask(names: NameServer, port: str = "", seconds: float = 30.0) -> tuple[list[tuple[str, int]], float]:
    config = Config.model_validate({"services": [{"service": "shop/web", "name": NAME}], "servers": [names.address]})
    found = await look_up(resolver_of(config), NAME, port, seconds)
    assert all(one.port == port for one in found.endpoints)
    return sorted((one.address, one.weight) for one in found.endpoints), found.ttl_seconds


async def test_the_targets_become_endpoints_and_the_shortest_ttl_counts(names: NameServer) -> None:
    names.put(NAME, "SRV", "0 3 8080 a.example.com.", "0 1 8081 b.example.com.", ttl=60)
    names.put("a.example.com", "A", "10.0.0.1", ttl=90)
    names.put("b.example.com", "A", "10.0.0.2", ttl=20)
    assert await ask(names, "http") == ([("10.0.0.1:8080", 3), ("10.0.0.2:8081", 1)], 20.0)


async def test_an_answer_that_fits_no_datagram_is_asked_for_over_tcp(names: NameServer) -> None:
    names.put(NAME, "SRV", *(f"0 1 8080 target-with-a-long-name-{n}.example.com." for n in range(40)))
    for number in range(40):
        names.put(f"target-with-a-long-name-{number}.example.com", "A", f"10.0.1.{number}")
    found, _ = await ask(names)
    assert len(found) == 40
    assert names.truncated == 1


@pytest.mark.parametrize(
    ("records", "wanted"),
    [
        ("1 5 80 a., 2 5 80 b.", "10.0.0.1:80 5"),
        ("1 5 80 none., 2 5 80 b.", "10.0.0.2:80 5"),
        ("0 0 80 a., 0 7 80 b.", "10.0.0.1:80 1, 10.0.0.2:80 7"),
        # Both addresses of a target share its weight.
        ("0 1 80 two., 0 1 80 a.", "10.0.0.1:80 2, 10.0.0.3:80 1, 10.0.0.4:80 1"),
        ("0 65535 80 two., 0 3 80 a.", "10.0.0.1:80 6, 10.0.0.3:80 65535, 10.0.0.4:80 65535"),
        ("0 65535 80 a., 0 1 80 two.", "10.0.0.1:80 65535, 10.0.0.3:80 1, 10.0.0.4:80 1"),
        ("0 1 443 six.", "[fd00::7]:443 1"),
    ],
)  # fmt: skip
async def test_priority_weight_and_families(names: NameServer, records: str, wanted: str) -> None:
    names.put(NAME, "SRV", *(record.replace(".", ".example.com.") for record in records.split(", ")))
    names.put("a.example.com", "A", "10.0.0.1")
    names.put("b.example.com", "A", "10.0.0.2")
    names.put("two.example.com", "A", "10.0.0.3", "10.0.0.4")
    names.put("six.example.com", "AAAA", "fd00::7")
    found, _ = await ask(names)
    assert ", ".join(f"{address} {weight}" for address, weight in found) == wanted


async def test_what_does_not_exist_is_gone_for_as_long_as_its_soa_says(names: NameServer) -> None:
    with pytest.raises(Gone, match="does not exist") as gone:
        await ask(names)
    assert gone.value.ttl_seconds == 7


async def test_a_name_without_srv_and_a_target_that_is_a_dot_are_gone_too(names: NameServer) -> None:
    names.put(NAME, "TXT", '"hello"')
    with pytest.raises(Gone, match="has no SRV"):
        await ask(names)
    names.put(NAME, "SRV", "0 0 0 .", ttl=11)
    with pytest.raises(Gone, match="has no target") as gone:
        await ask(names)
    assert gone.value.ttl_seconds == 11


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.NOTIMP])
async def test_a_server_that_fails_says_nothing(names: NameServer, rcode: dns.rcode.Rcode) -> None:
    names.rcode = rcode
    with pytest.raises(Unanswered, match="SRV"):
        await ask(names)


async def test_a_server_that_is_mute_says_nothing(names: NameServer) -> None:
    names.mute = True
    with pytest.raises(Unanswered):
        await ask(names, seconds=0.2)


async def test_a_target_that_cannot_be_asked_about_spoils_the_whole(
    names: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names.put(NAME, "SRV", "0 1 80 a.example.com.")
    answer = names.answer

    def failing(wire: bytes, is_datagram: bool) -> bytes | None:
        said = answer(wire, is_datagram)
        names.rcode = dns.rcode.SERVFAIL  # from the second question on
        return said

    monkeypatch.setattr(names, "answer", failing)
    with pytest.raises(Unanswered, match=r"a[.]example[.]com"):
        await ask(names)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("10.0.0.1", ("10.0.0.1", 53)),
        ("10.0.0.1:5353", ("10.0.0.1", 5353)),
        ("fd00::1", ("fd00::1", 53)),
        ("[fd00::1]:54", ("fd00::1", 54)),
    ],
)
def test_a_server_is_an_address_with_or_without_port(text: str, wanted: tuple[str, int]) -> None:
    assert server(text) == wanted


@pytest.mark.parametrize("text", ["dns.example.com", "10.0.0.1:0", "10.0.0.1:x", ""])
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"server|port"):
        server(text)


def test_a_configuration_says_what_is_wrong() -> None:
    for entry, told in (
        ({"service": "web", "name": NAME}, "namespace/name"),
        ({"service": "a/b", "name": "a..b"}, "DNS"),
    ):
        with pytest.raises(ValueError, match=told):
            Config.model_validate({"services": [entry]})
    assert issubclass(Config, plait.PluginConfig)
