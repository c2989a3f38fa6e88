"""Which kinds a cluster has. Called by `kubernetes`: a kind that is not installed is told, and looked for again.

The mesh lives without the routes or policies that a cluster cannot have; never without Services, pods and endpoints.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from plait_controlplane.apiserver import ApiError, ApiServer
from plait_controlplane.resources.fields import Resource
from plait_controlplane.resources.kinds import CLUSTER_SCOPED, CORE, GATEWAY, KINDS, PLAIT, plural

OLDER = {"TCPRoute": ("v1alpha2",), "TLSRoute": ("v1alpha3", "v1alpha2")}
"""Versions in which a cluster may have a route before the standard channel had it; our fields are the same in all."""


@dataclass(frozen=True)
class Kind:
    """A kind that is watched. With a `model` it is the user's own; the others are the cluster's."""

    name: str
    group: str
    versions: tuple[str, ...]
    plural: str
    model: type[Resource] | None = None
    metadata_only: bool = False
    """Whether names and labels are all that counts."""

    @property
    def is_required(self) -> bool:
        """Whether nothing can be published without it."""
        return self.group in ("", "discovery.k8s.io")

    @property
    def title(self) -> str:
        """As people name it: "httproutes.gateway.networking.k8s.io"."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, version: str) -> str:
        """Of the whole collection."""
        return f"{_folder(self.group, version)}/{self.plural}"

    def object_path(self, version: str, namespace: str, name: str) -> str:
        """Of one object."""
        where = "" if self.name in CLUSTER_SCOPED else f"/namespaces/{namespace}"
        return f"{_folder(self.group, version)}{where}/{self.plural}/{name}"


def watched() -> list[Kind]:
    """Every kind that shapes the mesh. Secrets are not among them: no object of today names one."""
    found = [
        Kind("Service", "", ("v1",), "services", KINDS[CORE, "Service"]),
        Kind("Pod", "", ("v1",), "pods"),
        Kind("Node", "", ("v1",), "nodes", metadata_only=True),
        Kind("Namespace", "", ("v1",), "namespaces", metadata_only=True),
        Kind("EndpointSlice", "discovery.k8s.io", ("v1",), "endpointslices"),
    ]
    for (api_version, name), model in KINDS.items():
        if api_version in (GATEWAY, PLAIT):
            group, version = api_version.split("/")
            found.append(Kind(name, group, (version, *OLDER.get(name, ())), plural(name), model))
    return found


async def find(api: ApiServer, kinds: Iterable[Kind]) -> dict[str, str]:
    """The version in which the cluster has each kind, by the kind's name; raises ApiError."""
    wanted = list(kinds)
    served: dict[tuple[str, str], set[str]] = {}
    for group, version in dict.fromkeys((kind.group, version) for kind in wanted for version in kind.versions):
        served[group, version] = await _served(api, group, version)
    found = {}
    for kind in wanted:
        versions = [version for version in kind.versions if kind.plural in served[kind.group, version]]
        if versions:
            found[kind.name] = versions[0]
    return found


async def _served(api: ApiServer, group: str, version: str) -> set[str]:
    try:
        said = await api.ask("GET", _folder(group, version))
    except ApiError as error:
        if error.status == 404:
            return set()
        raise
    return {str(one.get("name")) for one in said.get("resources", [])}


def _folder(group: str, version: str) -> str:
    return f"/apis/{group}/{version}" if group else f"/api/{version}"
