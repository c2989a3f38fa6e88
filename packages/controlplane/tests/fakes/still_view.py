"""A View of the API that stands still."""

from typing import Any

from plait_controlplane.api.answers import JoinTokenAnswer, MeshAnswer, Root, Unavailable, Unknown

MESH = MeshAnswer(
    name="shop", generation=3, started_unix=1.0, changed_unix=1.0, change="first", trust_domain="shop.example",
    discovery="127.0.0.1:1", identity="127.0.0.1:2", root=Root(not_after_unix=2.0),
)  # fmt: skip


class Still:
    """A View."""

    def mesh(self) -> MeshAnswer:
        return MESH

    def objects(self) -> list[Any]:
        return []

    def proxies(self) -> list[Any]:
        return []

    def workloads(self) -> list[Any]:
        return []

    async def hooks(self) -> list[Any]:
        return []

    def resources(self, workload: str) -> bytes:
        if workload != "shop/web-1":
            raise Unknown(f"the mesh has no Workload {workload}")
        return b"bytes"

    async def metrics(self, workload: str) -> str:
        return f"plait_generation{{}} 3 # {workload}\n"

    async def join_token(self, workload: str, ttl_seconds: int) -> JoinTokenAnswer:
        if workload == "shop/away":
            raise Unavailable("the signer does not answer")
        return JoinTokenAnswer(token=f"{workload} {ttl_seconds}", discovery="127.0.0.1:1")
