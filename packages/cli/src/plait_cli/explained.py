"""Owns the picture of one decision: the engine's JSON in, lines that name the user's own objects and their files out.

Called by `explain`. Pure but for printing.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from plait_cli.output import console

Places = Mapping[tuple[str, str, str], tuple[str, int]]

LABEL_WIDTH = 12
PLACE_COLUMN = 76


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
    yield row("to", destination(decision["destination"], url))
    yield from route(decision, places)
    for text in decision["filters"]:
        yield row("filter", text)
    for backend in decision["backends"]:
        invalid = " ✗ does not exist: its share gets 500" if backend["invalid"] else ""
        yield row(
            "backend",
            f"{backend['service']} port {backend['port']}, weight {backend['weight']} of {backend['total']}{invalid}",
        )
    for endpoint in decision["endpoints"]:
        ejected = "  ejected: it failed lately" if endpoint["ejected"] else ""
        yield row("endpoint", f"{endpoint['address']} ({endpoint['workload']}){ejected}")
    yield from limits(decision["limits"], places)
    yield from policy(decision["policy"], places)
    answer = decision["answer"] or {}
    if told := " ".join(str(part) for part in (answer.get("status"), answer.get("reason")) if part):
        yield row("answer", told)


def row(label: str, text: str, place: str = "") -> str:
    """One line; the place, a file and line or the generation, stands at the right where it fits."""
    left = f"{label:{LABEL_WIDTH}}{text}"
    return f"{left:{PLACE_COLUMN}}  {place}".rstrip() if place else left


def destination(found: Mapping[str, Any] | None, url: str) -> str:
    """Where the request goes."""
    if not found:
        return f"{url}: nowhere that the mesh knows"
    if found.get("egress"):
        return f"{url}: not in the mesh; Mesh default, spec.egress: {found['egress']}"
    return f"Service {found['service']} port {found['port']}, protocol {found['protocol']}"


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
    """A rule by name where it has one, else by number."""
    return f'rule "{chosen["rule_name"]}"' if chosen.get("rule_name") else f"rule {chosen['rule']}"


def route(decision: Mapping[str, Any], places: Places) -> Iterator[str]:
    """The rule that matched, why, and why the others did not."""
    chosen = decision["route"]
    if not chosen:
        if decision["destination"] and not decision["destination"].get("egress"):
            yield row("route", "no rule matches")
    elif chosen["implicit"]:
        yield row("route", "none attached: straight to the Service's endpoints")
    else:
        yield row("route", f"{named(chosen['object'])}, {rule_text(chosen)}", place_of(chosen["object"], places))
        for text in chosen["matched"]:
            yield row("", f"  ✓ {text}")
    for other in decision["not_chosen"]:
        apart = "" if chosen and other["object"] == chosen.get("object") else f" of {named(other['object'])}"
        yield row("", f"not {rule_text(other)}{apart}: {other['why']}")


def limits(found: Mapping[str, Any] | None, places: Places) -> Iterator[str]:
    """Timeouts and retries, and which objects set them."""
    if not found:
        return
    times = [
        f"{name} {'none' if found.get(f'{name}_ms') is None else str(found[f'{name}_ms']) + ' ms'}"
        for name in ("request", "attempt", "connect", "idle")
    ]
    yield row("limits", ", ".join(times))
    retries = found.get("retries")
    text = (
        ", ".join(f"{name} {value}" for name, value in retries.items() if value not in (None, []))
        if retries
        else "none"
    )
    yield row("retries", text)
    for origin in found.get("origins", []):
        entity = origin.get("object", origin) if isinstance(origin, Mapping) else None
        if entity and "kind" in entity:
            field = f"{origin['field']}: " if origin.get("field") else ""
            yield row("", f"  {field}{named(entity)}", place_of(entity, places))
        else:
            yield row("", f"  {origin}")


def policy(found: Mapping[str, Any] | None, places: Places) -> Iterator[str]:
    """What the destination's sidecar would say, and which policy says it."""
    if not found:
        return
    verdict = {"allow": "Allow", "deny": "Deny"}.get(str(found["verdict"]).lower(), str(found["verdict"]))
    by = f" by {named(found['object'])}" if found.get("object") else ""
    rule = f", rule {found['rule']}" if found.get("rule") is not None else ""
    yield row("policy", f"{verdict}{by}{rule}", place_of(found.get("object"), places))
    if found.get("reason"):
        yield row("", f"  {found['reason']}")
    for dry in found.get("dry_run", []):
        told = (
            f"{named(dry['object'])} would {dry.get('verdict', 'deny')}"
            if isinstance(dry, Mapping) and "object" in dry
            else str(dry)
        )
        yield row("", f"  dry run: {told}")
