"""The shapes of the API's answers and what answers them. Field names are a promise to `plait` and to scripts."""

from typing import Protocol

from pydantic import BaseModel, Field


class Health(BaseModel):
    """GET /healthz."""

    status: str = "ok"


class Root(BaseModel):
    """The root of trust."""

    not_after_unix: float


class MeshAnswer(BaseModel):
    """GET /v1/mesh."""

    name: str
    generation: int
    started_unix: float
    changed_unix: float
    change: str
    trust_domain: str
    discovery: str
    identity: str
    root: Root


class ProblemAnswer(BaseModel):
    """One mistake, in the user's terms."""

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str
    severity: str


class ObjectAnswer(BaseModel):
    """One entry of GET /v1/objects. `status`: Accepted, Refused (nothing of it counts), Stale (its last good does)."""

    kind: str
    namespace: str
    name: str
    file: str
    line: int
    status: str
    problems: list[ProblemAnswer]


class RejectionAnswer(BaseModel):
    """A resource that a proxy would not take; without a kind a whole change set."""

    kind: str
    name: str
    path: str
    reason: str
    generation: int


class PluginAnswer(BaseModel):
    """A Plugin beside one proxy. `state`: Loading, Live, Failed; `reason` is what its code said last."""

    name: str
    state: str
    reason: str
    earlier_serves: bool


class ProxyAnswer(BaseModel):
    """One entry of GET /v1/proxies. `current`: it serves the last generation that concerns it."""

    proxy: str
    workloads: list[str]
    generation: int
    current: bool
    connected_unix: float
    version: str
    rejections: list[RejectionAnswer]
    plugins: list[PluginAnswer] = Field(default_factory=list)


class HookAnswer(BaseModel):
    """A plugin of the control plane: one entry of GET /v1/hooks. `state`: Live, Failed (not loaded), Away."""

    name: str
    version: str
    hooks: list[str]
    state: str
    reason: str
    calls: int
    failures: int


class PortAnswer(BaseModel):
    """A port of a process."""

    name: str
    port: int


class BindAnswer(BaseModel):
    """A local port for one destination."""

    listen: str
    to: str


class WorkloadAnswer(BaseModel):
    """One entry of GET /v1/workloads, free ports filled in."""

    namespace: str
    name: str
    service_account: str
    address: str
    ports: list[PortAnswer]
    inbound: str
    outbound: str
    binds: list[BindAnswer]


class JoinTokenQuestion(BaseModel):
    """POST /v1/join-tokens."""

    workload: str = Field(max_length=320, examples=["bookshop/web-1"])
    ttl_seconds: int = Field(default=3600, ge=1, le=86400)


class JoinTokenAnswer(BaseModel):
    """A token and where discovery is; whoever holds it can be that workload until it expires."""

    token: str
    discovery: str


class Unknown(Exception):
    """What was asked about is not in the mesh."""


class Unavailable(Exception):
    """A part that is needed for the answer is away; the question may be asked again."""


class View(Protocol):
    """Who answers; `app` does."""

    def mesh(self) -> MeshAnswer:
        """The mesh as a whole."""

    def objects(self) -> list[ObjectAnswer]:
        """Every object, in force or refused."""

    def proxies(self) -> list[ProxyAnswer]:
        """Every connected proxy."""

    def workloads(self) -> list[WorkloadAnswer]:
        """Every Workload in force."""

    async def hooks(self) -> list[HookAnswer]:
        """Every plugin of the control plane."""

    def resources(self, workload: str) -> bytes:
        """A serialised ChangeSet; raises Unknown."""

    async def metrics(self, workload: str) -> str:
        """What the proxy of a pod counts, as Prometheus text; raises Unknown or Unavailable."""

    async def join_token(self, workload: str, ttl_seconds: int) -> JoinTokenAnswer:
        """A token; raises Unknown or Unavailable."""
