"""One question to DNS, whole: the SRV records of a name and the addresses of their targets.

Called by `plugin`. Tells apart what DNS does not know (`Gone`) from what it could not say (`Unanswered`): the first is
an answer, the second is none.
"""

import asyncio
import math
from collections.abc import Iterable
from dataclasses import dataclass

import dns.asyncresolver
import dns.exception
import dns.message
import dns.rdatatype
import dns.resolver
import plait_sdk as plait
from dns.rdtypes.IN.SRV import SRV

# A name with more targets is no list of endpoints.
MOST_TARGETS = 1_000
MOST_WEIGHT = 65_535
AT_ONCE = 16


class Gone(Exception):
    """DNS says that there is nothing, and for how many seconds that holds."""

    def __init__(self, text: str, ttl_seconds: float) -> None:
        super().__init__(text)
        self.ttl_seconds = ttl_seconds


class Unanswered(Exception):
    """Nobody could say."""


@dataclass(frozen=True)
class Found:
    """The endpoints of one name, and how long they hold."""

    endpoints: list[plait.Endpoint]
    ttl_seconds: float


@dataclass(frozen=True)
class Target:
    """One SRV record with the addresses of its target."""

    record: SRV
    addresses: tuple[str, ...]


async def look_up(resolver: dns.asyncresolver.Resolver, name: str, port: str, seconds: float) -> Found:
    """Raises Gone or Unanswered."""
    answer = await _ask(resolver, name, dns.rdatatype.SRV, seconds)
    # A target "." says that the service is decidedly not there (RFC 2782).
    records = [record for record in answer.rrset or () if isinstance(record, SRV) and len(record.target) > 1]
    ttl = float(answer.chaining_result.minimum_ttl)
    if not records:
        raise Gone(f"{name} has no target", ttl)
    if len(records) > MOST_TARGETS:
        raise Unanswered(f"{name} has {len(records)} targets, at most {MOST_TARGETS} are read")
    limit = asyncio.Semaphore(AT_ONCE)

    async def addresses(target: str) -> tuple[tuple[str, ...], float]:
        async with limit:
            return await _addresses(resolver, target, seconds)

    names = list(dict.fromkeys(str(record.target) for record in records))
    found = dict(zip(names, await asyncio.gather(*map(addresses, names)), strict=True))
    ttl = min([ttl, *(each for _, each in found.values())])
    targets = [Target(record, found[str(record.target)][0]) for record in records]
    reachable = [target for target in targets if target.addresses]
    if not reachable:
        raise Gone(f"no target of {name} has an address", ttl)
    first = min(target.record.priority for target in reachable)
    return Found(endpoints([target for target in reachable if target.record.priority == first], port), ttl)


def endpoints(targets: list[Target], port: str) -> list[plait.Endpoint]:
    """Endpoints of one priority. The addresses of a target share its weight; 0 is the smallest there is."""
    scale = math.lcm(*(len(target.addresses) for target in targets))
    weights = [max(target.record.weight, 1) * scale // len(target.addresses) for target in targets]
    shrink = max(1.0, max(weights) / MOST_WEIGHT)
    return [
        plait.Endpoint(_join(address, target.record.port), weight=max(1, int(weight / shrink)), port=port)
        for target, weight in zip(targets, weights, strict=True)
        for address in target.addresses
    ]


async def _addresses(
    resolver: dns.asyncresolver.Resolver, target: str, seconds: float
) -> tuple[tuple[str, ...], float]:
    """IPv4 addresses, else IPv6; none where the target does not exist. Raises Unanswered."""
    ttls = []
    for kind in (dns.rdatatype.A, dns.rdatatype.AAAA):
        try:
            answer = await _ask(resolver, target, kind, seconds)
        except Gone as gone:
            ttls.append(gone.ttl_seconds)
            continue
        addresses = tuple(sorted(str(record) for record in answer.rrset or ()))
        return addresses, float(answer.chaining_result.minimum_ttl)
    return (), min(ttls)


async def _ask(
    resolver: dns.asyncresolver.Resolver, name: str, kind: dns.rdatatype.RdataType, seconds: float
) -> dns.resolver.Answer:
    absolute = name if name.endswith(".") else f"{name}."
    try:
        return await resolver.resolve(absolute, kind, lifetime=seconds, search=False)
    except dns.resolver.NXDOMAIN as error:
        responses = error.kwargs["responses"].values()
        raise Gone(f"{name} does not exist", _negative_ttl(responses)) from error
    except dns.resolver.NoAnswer as error:
        raise Gone(f"{name} has no {kind.name}", _negative_ttl([error.kwargs["response"]])) from error
    except dns.exception.DNSException as error:
        raise Unanswered(f"{name} {kind.name}: {error}") from error


def _negative_ttl(responses: Iterable[dns.message.Message]) -> float:
    """As the SOA of a negative answer says (RFC 2308); 0 where it has none."""
    found = [
        float(min(rrset.ttl, rrset[0].minimum))
        for response in responses
        for rrset in response.authority
        if rrset.rdtype == dns.rdatatype.SOA and len(rrset)
    ]
    return min(found, default=0.0)


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
