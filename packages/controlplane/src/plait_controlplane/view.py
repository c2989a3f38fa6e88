"""What the API answers, from the running control plane. Called by `process`."""

import time
from dataclasses import asdict

from plait_sdk.contracts import resource_pb2

from plait_controlplane.api.answers import (
    BindAnswer,
    HookAnswer,
    JoinTokenAnswer,
    MeshAnswer,
    ObjectAnswer,
    PluginAnswer,
    PortAnswer,
    ProxyAnswer,
    RejectionAnswer,
    Root,
    Unavailable,
    Unknown,
    WorkloadAnswer,
)
from plait_controlplane.api.scrape import Scraper
from plait_controlplane.app import ControlPlane
from plait_controlplane.identity.internal import Away
from plait_controlplane.identity.proof import Refused
from plait_controlplane.interest.wanted import whole
from plait_controlplane.status.objects import objects
from plait_controlplane.status.plugins import judged
from plait_controlplane.translate.names import full_name


class LiveView:
    """A View of one control plane."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control
        self._started_unix = time.time()
        self._scraper = Scraper()

    def mesh(self) -> MeshAnswer:
        """The mesh as a whole."""
        control, generation = self._control, self._control.generation
        return MeshAnswer(
            name=control.settings.mesh_name,
            generation=generation.number,
            started_unix=self._started_unix,
            changed_unix=generation.changed_unix,
            change=generation.change,
            trust_domain=control.spec().trust_domain,
            discovery=control.settings.for_others(control.settings.discovery),
            identity=control.settings.for_others(control.settings.identity),
            root=Root(not_after_unix=control.roots[0].not_valid_after_utc.timestamp()),
        )

    def objects(self) -> list[ObjectAnswer]:
        """Every object, in force or refused."""
        control, plugin = self._control, resource_pb2.RESOURCE_KIND_PLUGIN
        versions = {name: one.version for (kind, name), one in control.publication.resources.items() if kind == plugin}
        verdicts = judged(control.settled.verdicts, control.proxies.all(), versions)
        return [ObjectAnswer.model_validate(entry) for entry in objects(verdicts)]

    def proxies(self) -> list[ProxyAnswer]:
        """Every connected proxy. Current: nothing is on its way to it, and it was told of the generation in force."""
        newest = self._control.publication.generation
        return [
            ProxyAnswer(
                proxy=state.proxy,
                workloads=list(state.workloads),
                generation=state.generation,
                current=state.settled and state.generation == newest,
                connected_unix=state.connected_unix,
                version=state.version,
                rejections=[RejectionAnswer(**vars(one)) for one in state.rejections.values()],
                plugins=[
                    PluginAnswer(name=one.name, state=one.state, reason=one.reason, earlier_serves=one.earlier_serves)
                    for one in state.plugins
                ],
            )
            for state in self._control.proxies.all()
        ]

    def workloads(self) -> list[WorkloadAnswer]:
        """Every Workload in force."""
        found = []
        for workload in self._control.settled.world.workloads:
            meta, spec = workload.metadata, workload.spec
            listeners = self._control.listeners[full_name(meta)]
            found.append(
                WorkloadAnswer(
                    namespace=meta.namespace,
                    name=meta.name,
                    service_account=spec.service_account,
                    address=spec.address,
                    ports=[PortAnswer(name=port.name, port=port.port) for port in spec.ports],
                    inbound=listeners.inbound,
                    outbound=listeners.outbound,
                    binds=[BindAnswer(listen=bind.listen, to=bind.to) for bind in spec.sidecar.binds],
                )
            )
        return found

    async def hooks(self) -> list[HookAnswer]:
        """Every plugin of the control plane."""
        return [HookAnswer(**{**asdict(one), "hooks": list(one.hooks)}) for one in await self._control.hooks.states()]

    def resources(self, workload: str) -> bytes:
        """A serialised ChangeSet; raises Unknown."""
        if workload not in self._control.publication.identities:
            raise Unknown(f"the mesh has no Workload {workload}; GET /v1/workloads lists them")
        return whole(self._control.publication, workload).SerializeToString()

    async def metrics(self, workload: str) -> str:
        """What the proxy of a pod counts; raises Unknown or Unavailable."""
        pod = self._control.settled.world.cluster.pods.get(workload)
        if pod is None:
            raise Unknown(f"{workload} is no pod with a proxy; GET /v1/workloads lists them")
        return await self._scraper.metrics(workload, pod.spec.address)

    async def join_token(self, workload: str, ttl_seconds: int) -> JoinTokenAnswer:
        """A token; raises Unknown or Unavailable."""
        try:
            token = await self._control.signer.join_token(workload, ttl_seconds)
        except Refused as refused:
            raise Unknown(refused.reason) from refused
        except Away as error:
            raise Unavailable(str(error)) from error
        settings = self._control.settings
        return JoinTokenAnswer(token=token, discovery=settings.for_others(settings.discovery))
