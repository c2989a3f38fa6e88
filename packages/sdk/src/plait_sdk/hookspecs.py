"""Owns every hook there is: when it runs, how often, what it changes, its arguments, an example.

Read by the manager, which holds plugins against it, by the worker, which calls by it, and by `docs/reference/hooks.md`,
which is generated from it. A hook may be `def` or `async def` and take any subset of the arguments by name. It reads
what its plugin declares in `Reads`. All hooks of a phase share the time of `limits.deadline`, 50 ms by default; those
without a phase are off the path of requests; in the control plane each has `deadline` of its plugin's entry, 2 s by
default.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

import pluggy

from plait_sdk.calls import Phase
from plait_sdk.control import Check, Command, IdentityRequest, Lifetime, Panel, Problem, Resource, Watch
from plait_sdk.headers import Headers
from plait_sdk.markers import PROJECT
from plait_sdk.types import (
    Attempt,
    Body,
    Candidates,
    Connection,
    Destination,
    LogRecord,
    Outcome,
    Peer,
    Request,
    Response,
)
from plait_sdk.verdict import Verdict

Function = TypeVar("Function", bound=Callable[..., Any])


class Combine(Enum):
    """What becomes of the answers of several plugins."""

    VERDICT = "the first verdict that is not Continue ends the chain"
    FIRST = "the first answer that is not None is taken"
    MERGE = "the answers are merged; of two with one name the later wins"
    COLLECT = "the answers are put one after the other"
    PIPE = "each plugin gets what the one before it answered"
    EACH = "every plugin is called; there is no answer"


@dataclass(frozen=True, slots=True)
class Spec:
    """What the worker knows of a hook beside its signature. `needs` is a field of `Reads` without which it never
    runs.
    """

    phase: Phase | None
    """When it crosses; None for hooks that are not on the path of requests."""
    combine: Combine
    needs: str = ""


_mark = pluggy.HookspecMarker(PROJECT)


def hook(phase: Phase | None, combine: Combine, needs: str = "") -> Callable[[Function], Function]:
    """Marks a function as the specification of a hook."""

    def mark(function: Function) -> Function:
        function.hook_facts = Spec(phase, combine, needs)  # type: ignore[attr-defined]
        return _mark(function)

    return mark


class Requests:
    """Hooks on the way of a request and its response."""

    @hook(Phase.REQUEST, Combine.VERDICT)
    def on_request(self, request: Request) -> Verdict | None:
        """Looks at a request before it goes to the backend: lets it pass, changes it, answers or refuses it.

        When: the head of a request was read and its route is chosen.
        How often: once per request.
        Changes: method, path, query, authority and headers of the request, headers of the response.

        Example:
            reads = plait.Reads(path=True)

            @plait.hookimpl
            def on_request(self, request: plait.Request) -> plait.Verdict:
                return plait.Deny("no admin from here") if request.path.startswith("/admin") else plait.Continue()
        """

    @hook(Phase.REQUEST_BODY, Combine.VERDICT, needs="body")
    def on_request_body(self, request: Request, body: Body) -> Verdict | None:
        """Looks at a body on its way to the backend.

        When: a piece of the body arrived, as `Reads(body=…)` asks for it.
        How often: once (peek, buffer) or per chunk (stream).
        Changes: the piece.

        Example:
            reads = plait.Reads(body=plait.buffer(65536))

            @plait.hookimpl
            def on_request_body(self, body: plait.Body) -> plait.Verdict:
                return plait.Deny("no XML", 415) if body.data.startswith(b"<") else plait.Continue()
        """

    @hook(Phase.RESPONSE, Combine.VERDICT)
    def on_response(self, request: Request, response: Response) -> Verdict | None:
        """Looks at a response before the caller gets it.

        When: the head of a response was read.
        How often: once per response.
        Changes: headers of the response.

        Example:
            writes = plait.Writes(response_headers={"x-frame-options"})

            @plait.hookimpl
            def on_response(self, response: plait.Response) -> None:
                response.headers["x-frame-options"] = "DENY"
        """

    @hook(Phase.RESPONSE_BODY, Combine.VERDICT, needs="response_body")
    def on_response_body(self, request: Request, body: Body) -> Verdict | None:
        """Looks at a response's body on its way to the caller.

        When: a piece of the response's body arrived, as `Reads(response_body=…)`.
        How often: once (peek, buffer) or per chunk (stream).
        Changes: the piece.

        Example:
            reads = plait.Reads(response_body=plait.stream())
            writes = plait.Writes(response_body=True)

            @plait.hookimpl
            def on_response_body(self, body: plait.Body) -> None:
                body.replace(body.data.replace(b"http://", b"https://"))
        """

    @hook(Phase.TRAILERS, Combine.EACH, needs="trailers")
    def on_trailers(self, request: Request, trailers: Headers) -> None:
        """Looks at what follows a body, such as the status of gRPC.

        When: the trailers of a response arrived.
        How often: at most once per response.
        Changes: the trailers.

        Example:
            reads = plait.Reads(trailers=True)

            @plait.hookimpl
            def on_trailers(self, trailers: plait.Headers) -> None:
                trailers["x-seen"] = "yes"
        """

    @hook(Phase.COMPLETE, Combine.EACH)
    def on_complete(self, request: Request, outcome: Outcome) -> None:
        """Is told how a request ended. The caller does not wait for it.

        When: the request is over, however it ended.
        How often: once per request.
        Changes: nothing.

        Example:
            @plait.hookimpl
            def on_complete(self, outcome: plait.Outcome) -> None:
                print(outcome.status, outcome.duration_seconds)
        """


class Auth:
    """Hooks that say who may pass."""

    @hook(Phase.REQUEST, Combine.FIRST)
    def authenticate(self, request: Request) -> Mapping[str, Any] | Verdict | None:
        """Says who the caller is: claims that later hooks read as `request.claims`. A verdict refuses or answers
        instead.

        When: first of all hooks on a request.
        How often: once per request.
        Changes: the claims of the request, by what it answers.

        Example:
            reads = plait.Reads(headers={"x-api-key"})

            @plait.hookimpl
            def authenticate(self, request: plait.Request) -> dict[str, str] | plait.Verdict:
                key = request.headers.get("x-api-key")
                return {"sub": key} if key else plait.Deny("no API key", 401)
        """

    @hook(Phase.REQUEST, Combine.VERDICT)
    def authorize(self, request: Request, peer: Peer) -> Verdict | None:
        """Says whether the caller may do this, after the policies of the mesh allowed it.

        When: after authenticate.
        How often: once per request.
        Changes: as on_request.

        Example:
            reads = plait.Reads(method=True, peer=True)

            @plait.hookimpl
            def authorize(self, request: plait.Request, peer: plait.Peer) -> plait.Verdict | None:
                return plait.Deny("read only") if peer.namespace == "guests" and request.method != "GET" else None
        """

    @hook(Phase.REQUEST, Combine.FIRST)
    def rate_limit_key(self, request: Request) -> str | None:
        """Says whose request this is, for limits of rate.

        When: after on_request.
        How often: once per request.
        Changes: the key under which the mesh counts the request.

        Example:
            reads = plait.Reads(headers={"x-tenant"})

            @plait.hookimpl
            def rate_limit_key(self, request: plait.Request) -> str | None:
                return request.headers.get("x-tenant")
        """


class Routing:
    """Hooks that say where a request goes."""

    @hook(Phase.REQUEST, Combine.FIRST)
    def choose_backend(self, request: Request, candidates: Candidates) -> str | None:
        """Picks one of the backends of the rule that matched; None leaves it to their weights.

        When: after rate_limit_key, for an Outbound Plugin, where a rule has backends that can serve.
        How often: once per request.
        Changes: the backend of the request, whatever its weight; filters of the backend are applied after that.

        Example:
            reads = plait.Reads(headers={"x-beta"})

            @plait.hookimpl
            def choose_backend(self, request: plait.Request, candidates: plait.Candidates) -> str | None:
                return candidates.named("web-beta") if "x-beta" in request.headers else None
        """

    @hook(Phase.ENDPOINTS, Combine.FIRST)
    def rank_endpoints(self, request: Request, endpoints: Sequence[str]) -> Sequence[str] | None:
        """Orders the endpoints that may be asked, "namespace/workload", best first; those left out are tried last. 500
        are shown at most.

        When: an endpoint of the backend is wanted, for an Outbound Plugin, and there are several.
        How often: once per attempt.
        Changes: the order in which endpoints are tried, over sessions, zones and the algorithm of the backend.

        Example:
            @plait.hookimpl
            def rank_endpoints(self, endpoints: list[str]) -> list[str]:
                return sorted(endpoints)
        """

    @hook(Phase.RETRY, Combine.FIRST)
    def retry_decision(self, request: Request, attempt: Attempt) -> bool | None:
        """Says whether to try once more, inside the budget; None leaves it to the route. An attempt failed when it had
        no answer, or 5xx, 429 or a code of the route's. What may have been done is asked about only where the method is
        idempotent; there are no more attempts than the route has, or 3 retries.

        When: an attempt failed and might be made again, for an Outbound Plugin.
        How often: once per failed attempt.
        Changes: whether it is.

        Example:
            @plait.hookimpl
            def retry_decision(self, attempt: plait.Attempt) -> bool | None:
                return False if attempt.number > 2 else None
        """


class Telemetry:
    """Hooks that say what is seen."""

    @hook(Phase.REQUEST, Combine.MERGE)
    def labels(self, request: Request) -> Mapping[str, str] | None:
        """Gives labels to what the access log and the metric `plait_labelled_requests_total` tell of a request. The
        first 100 values of a label have series of their own in each proxy, all others share "other".

        When: last of the hooks on a request.
        How often: once per request.
        Changes: labels of the request, as declared in `Writes(labels=…)`.

        Example:
            reads = plait.Reads(headers={"x-tenant"})
            writes = plait.Writes(labels={"tenant"})

            @plait.hookimpl
            def labels(self, request: plait.Request) -> dict[str, str]:
                return {"tenant": request.headers.get("x-tenant", "none")}
        """

    @hook(Phase.LOG, Combine.EACH)
    def on_log(self, records: Sequence[LogRecord]) -> None:
        """Is told of the requests that ended, in batches; loses some when it cannot follow, which is counted.

        When: requests ended.
        How often: per batch of up to 64.
        Changes: nothing.

        Example:
            @plait.hookimpl
            def on_log(self, records: list[plait.LogRecord]) -> None:
                print(len(records), "requests ended")
        """

    @hook(Phase.COMPLETE, Combine.MERGE)
    def span_attributes(self, request: Request, outcome: Outcome) -> Mapping[str, str] | None:
        """Gives attributes to the span of a request.

        When: the request is over.
        How often: once per traced request.
        Changes: attributes of the request's span.

        Example:
            reads = plait.Reads(path=True)

            @plait.hookimpl
            def span_attributes(self, request: plait.Request) -> dict[str, str]:
                return {"shop.area": request.path.split("/")[1]}
        """

    @hook(Phase.TICK, Combine.MERGE)
    def metrics_tick(self) -> Mapping[str, float] | None:
        """Gives figures of the plugin's own.

        When: the proxy's metrics are gathered.
        How often: every 10 s and worker.
        Changes: gauges, as named.

        Example:
            @plait.hookimpl
            def metrics_tick(self) -> dict[str, float]:
                return {"cache_entries": 17}
        """


class Connections:
    """Hooks on connections, whatever they carry."""

    @hook(Phase.CONNECT, Combine.VERDICT)
    def on_connect(self, peer: Peer, destination: Destination) -> Verdict | None:
        """Lets a connection in or closes it.

        When: a connection was accepted and its caller is proven.
        How often: once per connection.
        Changes: nothing.

        Example:
            @plait.hookimpl
            def on_connect(self, peer: plait.Peer) -> plait.Verdict | None:
                return None if peer.identity else plait.Deny("prove who you are")
        """

    @hook(Phase.DATA, Combine.VERDICT, needs="body")
    def on_data(self, connection: Connection, body: Body) -> Verdict | None:
        """Looks at bytes of a connection that is no HTTP.

        When: bytes of an opaque connection arrived.
        How often: per chunk, each way.
        Changes: the bytes.

        Example:
            reads = plait.Reads(body=plait.stream())

            @plait.hookimpl
            def on_data(self, body: plait.Body) -> plait.Verdict | None:
                return plait.Deny("no DROP") if b"DROP TABLE" in body.data else None
        """

    @hook(Phase.DISCONNECT, Combine.EACH)
    def on_disconnect(self, connection: Connection, outcome: Outcome) -> None:
        """Is told how a connection ended.

        When: a connection ended.
        How often: once per connection.
        Changes: nothing.

        Example:
            @plait.hookimpl
            def on_disconnect(self, connection: plait.Connection, outcome: plait.Outcome) -> None:
                print(connection.peer.identity, outcome.bytes_in)
        """


class ControlPlane:
    """Hooks of the control plane."""

    @hook(None, Combine.COLLECT)
    def validate(self, resource: Resource) -> Iterable[Problem] | None:
        """Says what is wrong with an object, by rules of your house.

        When: a user's object was read.
        How often: once per version of it.
        Changes: whether it is accepted.

        Example:
            @plait.hookimpl
            def validate(self, resource: plait.Resource) -> list[plait.Problem]:
                owned = "owner" in resource.body["metadata"].get("labels", {})
                return [] if owned else [plait.Problem("metadata.labels", "every object has an owner")]
        """

    @hook(None, Combine.PIPE)
    def mutate(self, resource: Resource) -> Resource | None:
        """Fills in what users leave out; None leaves the object alone.

        When: before validate.
        How often: once per version of an object.
        Changes: the object.

        Example:
            @plait.hookimpl
            def mutate(self, resource: plait.Resource) -> plait.Resource:
                return dataclasses.replace(resource, body={**resource.body, "spec": {}})
        """

    @hook(None, Combine.EACH)
    async def discover(self, watch: Watch) -> None:
        """Watches a source of endpoints and reports each change; runs until it is cancelled.

        When: the control plane starts.
        How often: once.
        Changes: endpoints of Services.

        Example:
            @plait.hookimpl
            async def discover(self, watch: plait.Watch) -> None:
                watch.update("shop/web", [plait.Endpoint("10.0.0.7:8080")])
        """

    @hook(None, Combine.VERDICT)
    def issue_identity(self, request: IdentityRequest) -> Verdict | Lifetime | None:
        """Refuses a certificate that the mesh would give, or grants it for a shorter time. It cannot grant more.

        When: a workload asks for a certificate.
        How often: once per request for one.
        Changes: whether it gets one, and a shorter life.

        Example:
            @plait.hookimpl
            def issue_identity(self, request: plait.IdentityRequest) -> plait.Verdict | None:
                return plait.Deny("closed") if request.namespace == "archive" else None
        """

    @hook(None, Combine.COLLECT)
    def checks(self) -> Iterable[Check] | None:
        """Says whether what the plugin needs is there.

        When: `plait check --hooks` runs.
        How often: once.
        Changes: nothing.

        Example:
            @plait.hookimpl
            def checks(self) -> list[plait.Check]:
                return [plait.Check("Redis answers", ok=True)]
        """

    @hook(None, Combine.COLLECT)
    def commands(self) -> Iterable[Command] | None:
        """Gives verbs to the command `plait`.

        When: `plait` is asked for a verb that is not its own, or for its help, and PLAIT_HOOKS names the plugin.
        How often: once.
        Changes: the verbs of `plait`.

        Example:
            @plait.hookimpl
            def commands(self) -> list[plait.Command]:
                return [plait.Command("hello", "Says hello.", lambda words: print(*words) or 0)]
        """

    @hook(None, Combine.COLLECT)
    def panels(self) -> Iterable[Panel] | None:
        """Gives figures to the dashboard.

        When: the dashboard is drawn.
        How often: once per start.
        Changes: the dashboard.

        Example:
            @plait.hookimpl
            def panels(self) -> list[plait.Panel]:
                return [plait.Panel("Requests by tenant", "sum by (value) (rate(plait_labelled_requests_total[1m]))")]
        """


class Life:
    """Hooks of the plugin's own life."""

    @hook(None, Combine.EACH)
    def self_test(self) -> None:
        """Raises when the plugin cannot do its work; the version before it then goes on serving. No network, no
        threads.

        When: a new version was configured, before it takes requests.
        How often: once per version.
        Changes: nothing.

        Example:
            @plait.hookimpl
            def self_test(self) -> None:
                assert self.config, "never empty"
        """

    @hook(None, Combine.EACH)
    def worker_started(self) -> None:
        """Opens what cannot be shared between processes: connections, files, random generators.

        When: a worker starts, inside its sandbox.
        How often: once per worker.
        Changes: nothing.

        Example:
            @plait.hookimpl
            async def worker_started(self) -> None:
                self.cache: dict[str, str] = {}
        """


FAMILIES = (Requests, Auth, Routing, Telemetry, Connections, ControlPlane, Life)

HOOKS: dict[str, Callable[..., Any]] = {
    name: function for family in FAMILIES for name, function in vars(family).items() if hasattr(function, "hook_facts")
}
"""Every hook by name, in the order of this file."""

CONTROL_PLANE = frozenset(name for name in vars(ControlPlane) if name in HOOKS)
"""Hooks of plugins that the control plane's own file names; a proxy never calls them."""

LIFE = frozenset(name for name in vars(Life) if name in HOOKS)
"""Hooks of the plugin's own life, called wherever it runs."""

SPECS: dict[str, Spec] = {name: function.hook_facts for name, function in HOOKS.items()}  # type: ignore[attr-defined]

NOT_CALLED = {
    "rate_limit_key": True,
    "on_data": True,
    "span_attributes": False,
    "metrics_tick": False,
    "panels": False,
}
"""Hooks that a mesh does not call yet, and whether a plugin that has one is refused: one that decides must not be
left out unseen, one that only tells may be, with a warning. The harness calls them all."""

ORDER_IN_REQUEST = ("authenticate", "authorize", "on_request", "rate_limit_key", "choose_backend", "labels")
"""How the hooks of one crossing follow one another."""


def arguments(hook_name: str) -> tuple[str, ...]:
    """The names of a hook's arguments, in order."""
    code = HOOKS[hook_name].__code__
    return code.co_varnames[1 : code.co_argcount]
