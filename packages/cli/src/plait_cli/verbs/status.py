"""`plait status`: is it me or the mesh?

Generation, proxies, certificates, and every object that is not in force as written.
"""

import time
from textwrap import wrap
from typing import Annotated, Any

import typer

from plait_cli.asked import Asked, ClusterOption, ContextOption, KubeconfigOption, OnCluster, reached
from plait_cli.client import Unreachable, name_of
from plait_cli.errors import DONE, NOT_SO, UNREACHABLE, Failure
from plait_cli.meshes import MeshOption, StateOption
from plait_cli.output import PIPE_WIDTH, Format, OutputOption, console, count, print_json, span

LABEL_WIDTH = 16


def status(
    wait: Annotated[bool, typer.Option("--wait", help="Block until every sidecar is current.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait at most, with --wait.")] = 30.0,
    mesh: MeshOption = None,
    state: StateOption = None,
    cluster: ClusterOption = False,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Tells how the mesh is. Exit code 1: an object is refused or a sidecar is behind; 3: the control plane is away."""
    with reached(mesh, state, cluster, kubeconfig, context) as target:
        facts = gather(target)
        deadline = time.monotonic() + timeout
        while wait and behind(facts) and time.monotonic() < deadline:
            time.sleep(target.pause_seconds)
            facts = gather(target)
    if output is Format.json:
        print_json(facts)
    else:
        print_status(facts)
    if facts["mesh"] is None:
        raise typer.Exit(UNREACHABLE)
    if wait and behind(facts):
        raise Failure(f"not current after {timeout:g} s: {', '.join(behind(facts))}", "plait status shows why")
    raise typer.Exit(NOT_SO if behind(facts) or refused(facts) else DONE)


def gather(target: Asked) -> dict[str, Any]:
    """All facts. Without the control plane sidecars of this machine are found by their sockets and asked one by one."""
    api = target.api
    facts: dict[str, Any] = {"name": target.name, "mesh": None, "objects": [], "proxies": [], "workloads": []}
    facts["hooks"] = []
    try:
        facts.update(mesh=api.mesh(), objects=api.objects(), proxies=api.proxies(), workloads=api.workloads())
        facts.update(hooks=api.hooks())
    except Unreachable:
        facts["workloads"] = []
    facts["sidecars"] = target.configs([name_of(entry) for entry in facts["workloads"]])
    if isinstance(target, OnCluster):
        facts["replicas"] = [{"name": name, "silent": target.api.silent.get(name)} for name in target.api.replicas()]
    return facts


def behind(facts: dict[str, Any]) -> list[str]:
    """Workloads whose sidecar is away or does not serve the generation that concerns it."""
    if facts["mesh"] is None:
        return [entry["workload"] for entry in facts["sidecars"]]
    current = {name for proxy in facts["proxies"] if proxy["current"] for name in proxy["workloads"]}
    return [name for name in map(name_of, facts["workloads"]) if name not in current]


def refused(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Objects that are not in force as written."""
    return [entry for entry in facts["objects"] if entry["status"] != "Accepted"]


def print_status(facts: dict[str, Any]) -> None:
    """The picture for people."""
    out = console()
    now = time.time()
    about = facts["mesh"]

    def line(label: str, text: str) -> None:
        for part in wrap(text, PIPE_WIDTH - LABEL_WIDTH):
            out.print(f"{label:{LABEL_WIDTH}}{part}", markup=False)
            label = ""

    if about is None:
        line(f"MESH {facts['name']} ", "✗ the control plane is away; sidecars go on with what they have")
    else:
        since = span(now - about["changed_unix"])
        line(f"MESH {about['name']} ", f"generation {about['generation']}, {since} ago: {about['change']}")
    line("proxies", proxies_text(facts))
    if "replicas" in facts:
        line("control plane", replicas_text(facts["replicas"]))
    line("certificates", certificates_text(facts, now))
    if about is not None:
        bad = len(refused(facts))
        line("objects", f"{len(facts['objects']) - bad} accepted" + (f", {bad} not in force as written" if bad else ""))
    if plugins := plugins_text(facts):
        line("plugins", plugins)
    if hooks := hooks_text(facts):
        line("hooks", hooks)
    # In a pod the port of the application is behind the redirection.
    beside = [] if "replicas" in facts else facts["workloads"]
    ports = sorted(f"{entry['address']}:{port['port']}" for entry in beside for port in entry["ports"])
    if ports:
        between = ports[0] if len(ports) == 1 else f"{ports[0]} to {ports[-1]}"
        line("open beside", f"{count(len(ports), 'port')} of processes take calls without the mesh: {between}")
    for entry in facts["objects"]:
        print_problems(entry)


def proxies_text(facts: dict[str, Any]) -> str:
    """How many sidecars serve what they should, and which do not."""
    sidecars = facts["sidecars"]
    if facts["mesh"] is None and "replicas" in facts:
        return "not seen: the control plane alone knows of them"
    if facts["mesh"] is None:
        alive = [entry for entry in sidecars if entry["config"]]
        return f"{len(alive)} of {len(sidecars)} answer, " + ", ".join(
            sorted({entry["config"]["source"] for entry in alive})
        )
    late = behind(facts)
    total = len(facts["workloads"])
    text = f"{total - len(late)} of {total} serve generation {facts['mesh']['generation']}"
    text += f"; behind: {', '.join(late)}" if late else ""
    return text + f"; control plane up {span(time.time() - facts['mesh']['started_unix'])}"


def replicas_text(replicas: list[dict[str, Any]]) -> str:
    """How many of the ready replicas answer. Each knows its own proxies: those of a silent one seem behind."""
    silent = [f"{one['name']}: {one['silent']}" for one in replicas if one["silent"]]
    text = f"{len(replicas) - len(silent)} of {count(len(replicas), 'ready replica')} answer"
    return f"{text}; proxies of the others are not seen; {'; '.join(silent)}" if silent else text


def plugins_text(facts: dict[str, Any]) -> str:
    """Each Plugin with what became of it beside sidecars; empty without Plugins."""
    found: dict[str, list[str]] = {}
    told_by_proxies = [{"config": entry} for entry in facts["proxies"]] if "replicas" in facts else []
    for entry in [*facts["sidecars"], *told_by_proxies]:
        for one in (entry["config"] or {}).get("plugins", ()):
            told = str(one["state"]) + (", the version before serves" if one["earlier_serves"] else "")
            # A sidecar alone knows of its breaker; metrics tell of it on a cluster.
            told += ", left out for failing too often" if one.get("breaker_open") else ""
            found.setdefault(one["name"], []).append(told)
    states = {name: sorted({f"{told} beside {many.count(told)}" for told in many}) for name, many in found.items()}
    return "; ".join(f"{name} {' and '.join(told)}" for name, told in sorted(states.items()))


def hooks_text(facts: dict[str, Any]) -> str:
    """Each plugin of the control plane, and why one is not live or failed; empty without any."""
    told = []
    for one in facts["hooks"]:
        state = "" if one["state"] == "Live" else f" ({one['reason']})"
        if one["state"] == "Live" and one["failures"]:
            state = f", {count(one['failures'], 'failure')} in {count(one['calls'], 'call')} (last: {one['reason']})"
        told.append(f"{one['name']} {one['state'].lower()}{state}")
    return "; ".join(told)


def certificates_text(facts: dict[str, Any], now: float) -> str:
    """How many certificates are valid, when the next renewal comes, when the root ends."""
    held = [
        workload["certificate"]
        for entry in facts["sidecars"]
        if entry["config"]
        for workload in entry["config"]["workloads"]
        if workload.get("certificate")
    ]
    valid = [certificate for certificate in held if certificate["not_after_unix"] > now]
    if "replicas" in facts:
        if facts["mesh"] is None:
            return "not seen"
        return f"root expires in {span(facts['mesh']['root']['not_after_unix'] - now)}"
    text = f"{len(valid)} valid"
    if len(held) > len(valid):
        text += f", {len(held) - len(valid)} expired"
    if valid:
        text += f", next renewal in {span(min(certificate['renew_at_unix'] for certificate in valid) - now)}"
    if facts["mesh"] is not None:
        text += f"; root expires in {span(facts['mesh']['root']['not_after_unix'] - now)}"
    return text


def print_problems(entry: dict[str, Any]) -> None:
    """What is wrong with one object, by file and line, and what to write instead."""
    if entry["status"] == "Accepted" and not entry["problems"]:
        return
    out = console()
    mark = "✗" if entry["status"] != "Accepted" else "!"
    name = "/".join(part for part in (entry["namespace"], entry["name"]) if part)
    where = f"{entry['file']}:{entry['line']}" if entry.get("line") else ""
    out.print(f"\n{mark} {entry['kind']} {name} ({entry['status']})  {where}", markup=False)
    for problem in entry["problems"]:
        out.print(f"    {place(problem)}{problem['path']}: {problem['message']}", markup=False)
        if problem.get("hint"):
            out.print(f"    {problem['hint']}", markup=False)
    if entry["status"] == "Stale":
        out.print(f"    {count(len(entry['problems']), 'problem')}; its last good version stays in force", markup=False)


def place(problem: dict[str, Any]) -> str:
    """ "file:line: " of a problem, empty when it has none."""
    return f"{problem['file']}:{problem['line']}: " if problem.get("line") else ""
