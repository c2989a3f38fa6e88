"""Owns the picture of one decision: the engine's JSON in, lines that name the user's own objects and their files out.

Called by `explain`. Pure but for printing.
"""

from collections.abc import Iterable, Iterator, Mapping
from textwrap import wrap
from typing import Any

from plait_cli.output import console

Places = Mapping[tuple[str, str, str], tuple[str, int]]

LABEL_WIDTH = 12
PLACE_COLUMN = 76
LINE_WIDTH = 110
# What stands offline for a port that the mesh chooses when it starts.
LEFT_OPEN = "1"


def render(decision: Mapping[str, Any], places: Places, url: str) -> None:
    """Prints a decision."""
    out = console()
    for text in lines(decision, places, url):
        out.print(text, markup=False)


def lines(decision: Mapping[str, Any], places: Places, url: str) -> Iterator[str]:
    """The picture, line by line; `url` as the user wrote it."""
    yield row(
        "from",
        f"{decision['from']['workload']}, {decision['from']['identity']}",
        f"generation {decision['generation']}",
    )
    yield row("to", destination(decision, url))
    yield from route(decision, places)
    opaque = is_opaque(decision)
    for share in decision["backends"]:
        lost = "is closed" if opaque else "gets 500"
        invalid = f" ✗ {share['invalid']}: its share {lost}" if share["invalid"] else ""
        yield row("backend", f"{share['backend']}, weight {share['weight']} of {share['total']}{invalid}")
    yield from balancing(decision.get("balancing"))
    for endpoint in decision["endpoints"]:
        yield row("endpoint", where(endpoint))
        for standing in endpoint.get("standing", ()):
            yield from beneath("!", standing)
    yield from limits(decision["limits"], places)
    yield from plugins(decision.get("plugins", ()), places)
    yield from policy(decision["policy"], places)
    answer = decision["answer"] or {}
    if told := " ".join(str(part) for part in (answer.get("status"), answer.get("reason")) if part):
        yield row("answer", f"{told}; whoever speaks no HTTP is closed" if opaque else told)


def where(endpoint: Mapping[str, Any]) -> str:
    """An endpoint's address and name; without a mesh nobody has chosen the port that the user left open."""
    host, _, port = endpoint["address"].rpartition(":")
    zone = f", zone {endpoint['zone']}" if endpoint.get("zone") else ""
    if port == LEFT_OPEN:
        return f"{host}, a free port ({endpoint['workload']}{zone})"
    return f"{endpoint['address']} ({endpoint['workload']}{zone})"


def is_opaque(decision: Mapping[str, Any]) -> bool:
    """Whether there is nobody who could read an answer: what travels is bytes."""
    return (decision["destination"] or {}).get("protocol") in {"tcp", "tls"}


def balancing(found: Mapping[str, Any] | None) -> Iterator[str]:
    """How one of the endpoints is chosen, and whose this request is where it is hashed."""
    if not found:
        return
    text = str(found["algorithm"])
    if found["hash_on"]:
        owner = found["owner"]
        text += f" by {found['hash_on']}: " + (f"{owner}, while it is fit" if owner else "the request has none, any")
    yield row("balancing", text)
    if found.get("sessions"):
        owner = found["session_of"]
        yield row("", f"  session by {found['sessions']}: " + (f"{owner}, while it is fit" if owner else "none yet"))
    if found.get("zone"):
        yield row("", f"  zone: {found['zone']}")
    if found["ejected"]:
        yield from beneath("ejected:", found["ejected"])
    if found.get("health_check"):
        yield from beneath("checked:", found["health_check"])
    if found.get("panics"):
        yield from beneath("!", "so few endpoints are healthy that all are used")
    if found.get("slow_start_ms"):
        grows = f"the share of a new endpoint grows for {duration(found['slow_start_ms'])}"
        yield from beneath("slow start:", grows)


def plugins(passed: Iterable[Mapping[str, Any]], places: Places) -> Iterator[str]:
    """The Plugins that it passes, in running order."""
    label = "plugins"
    for one in passed:
        beside = "the caller" if one["direction"] == "outbound" else "the destination"
        broken = f" ✗ {one['broken']}: every call is refused" if one["broken"] else ""
        yield row(label, f"{named(one['object'])}, beside {beside}{broken}", place_of(one["object"], places))
        label = ""


def beneath(mark: str, text: str) -> Iterator[str]:
    """What belongs to the line before, in as many lines as it takes."""
    indent = " " * (LABEL_WIDTH + 2)
    yield from wrap(f"{mark} {text}", LINE_WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ")


def row(label: str, text: str, place: str = "") -> str:
    """One line; the place, a file and line or the generation, stands at the right where it fits."""
    left = f"{label:{LABEL_WIDTH}}{text}"
    return f"{left:{PLACE_COLUMN}}  {place}".rstrip() if place else left


def is_direct(decision: Mapping[str, Any]) -> bool:
    """Whether a workload was called at its own address: nothing chose, and nothing was missing."""
    refused = (decision["answer"] or {}).get("reason") == "route_not_found"
    return bool(decision["destination"]) and not decision["route"] and not refused


def destination(decision: Mapping[str, Any], url: str) -> str:
    """Where the request goes."""
    found = decision["destination"]
    if found and is_direct(decision):
        return f"Workload {found['service']} port {found['port']} at its own address, {spoken(found)}"
    if found:
        return f"Service {found['service']} port {found['port']}, {spoken(found)}"
    if (decision["answer"] or {}).get("reason") == "port_not_found":
        return f"{url}: the Service has no such port"
    if decision["egress"]:
        return f"{url}: not in the mesh; Mesh default, spec.egress: {decision['egress']}"
    return f"{url}: nowhere that the mesh knows"


def spoken(called: Mapping[str, Any]) -> str:
    """What is spoken there: as declared, else as it was heard last."""
    if called["protocol"] != "auto":
        return f"protocol {called['protocol']}"
    return f"no protocol declared, last heard {called['heard'] or 'nothing'}"


def named(entity: Mapping[str, Any]) -> str:
    """ "HTTPRoute bookshop/reviews"."""
    return f"{entity['kind']} {'/'.join(part for part in (entity.get('namespace'), entity['name']) if part)}"


def place_of(entity: Mapping[str, Any] | None, places: Places) -> str:
    """ "demo/routes.yaml:9", empty when unknown."""
    if not entity:
        return ""
    found = places.get((entity["kind"], entity.get("namespace") or "", entity["name"]))
    return f"{found[0]}:{found[1]}" if found else ""


def rule_text(chosen: Mapping[str, Any]) -> str:
    """A rule by its place, and by name where it has one."""
    field = f"spec.rules[{chosen['rule']}]"
    return f'rule "{chosen["rule_name"]}" ({field})' if chosen.get("rule_name") else field


def route(decision: Mapping[str, Any], places: Places) -> Iterator[str]:
    """The rule that matched, why, and why the others did not."""
    chosen = decision["route"]
    if is_direct(decision):
        yield row("route", "none: it shapes calls of a Service, not those of a workload's own address")
    elif not chosen:
        if decision["destination"]:
            yield row("route", "no rule matches")
    elif chosen["implicit"]:
        yield row("route", "none attached: straight to the Service's endpoints")
    else:
        yield row("route", f"{named(chosen['object'])}, {rule_text(chosen)}", place_of(chosen["object"], places))
        for condition in chosen["matched"]:
            yield row("", f"  ✓ {condition}")
    for other in decision["not_chosen"]:
        apart = "" if chosen and other["object"] == chosen.get("object") else f" of {named(other['object'])}"
        yield row("", f"not {rule_text(other)}{apart}: {other['why']}")


def limits(found: Mapping[str, Any] | None, places: Places) -> Iterator[str]:
    """Timeouts and retries, and which field of which object set them; what nobody set is the default."""
    if not found:
        return
    names = ("request", "attempt", "connect", "idle")
    times = ", ".join(f"{name} {duration(found[f'{name}_ms'])}" for name in names)
    codes = ", ".join(str(code) for code in found["retry_codes"])
    retries = f"{found['retry_attempts']} for {codes}" if found["retry_attempts"] else "none"
    yield row("limits", f"{times}, retries {retries}")
    yield from at_a_time(found)
    fields: dict[str, list[str]] = {}
    for origin in found["origins"]:
        fields.setdefault(row("", f"  {named(origin['object'])}:", place_of(origin["object"], places)), []).append(
            str(origin["path"])
        )
    indent = " " * (LABEL_WIDTH + 4)
    for told, paths in fields.items():
        yield told
        yield from wrap(", ".join(paths), PLACE_COLUMN, initial_indent=indent, subsequent_indent=indent)


def at_a_time(found: Mapping[str, Any]) -> Iterator[str]:
    """How much may go on at a time, where somebody says so."""
    most = [f"{found['max_requests']} requests"] if found.get("max_requests") else []
    if found.get("max_connections"):
        most.append(f"{found['max_connections']} connections, for which {found['max_pending']} requests may wait")
    if most:
        yield row("", f"  at most {' and '.join(most)} at a time")


def duration(milliseconds: int | None) -> str:
    """A limit as a user would write it: "250ms", "3s", "1h"."""
    if milliseconds is None:
        return "none"
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


def policy(found: Mapping[str, Any] | None, places: Places) -> Iterator[str]:
    """What the destination's sidecar would say, and which policy says it."""
    if not found:
        return
    by = named(found["object"]) if found["object"] else "the Mesh's defaultPolicy"
    if found["rule"] is not None:
        by += f", spec.rules[{found['rule']}]"
    yield row("policy", f"{'Allow' if found['allowed'] else 'Deny'} by {by}", place_of(found["object"], places))
    if found["why"]:
        yield row("", f"  {found['why']}")
    for entity in found["dry_run_denials"]:
        yield row("", f"  dry run: {named(entity)} would deny it", place_of(entity, places))
