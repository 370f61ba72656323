"""Reads what policies are about: from files, or from the cluster with the rights of who asks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ossa.api.base import JSONObject
from ossa.api.contract import API_VERSION, GROUP
from ossa.api.trail import STATUS_KEY, TRAIL_STATUS, TrailStatus
from ossa.cli.manifests import DEFAULT_NAMESPACE, Found, read_manifests, with_namespace
from ossa.cli.session import Session
from ossa.governance.evidence import TrailGap
from ossa.governance.world import SUBJECTS, World, metadata_of
from ossa.governance.written import written
from ossa.kube.errors import ApiError
from ossa.kube.paths import core, ossa

PAGE = "500"
NAMESPACED = {
    "Agent": "agents",
    "Workflow": "workflows",
    "Execution": "executions",
    "Approval": "approvals",
    "AgentPolicyException": "agentpolicyexceptions",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What could be read, and where it is from.

    notes: what could not be read, and why, for a person. absent: kinds that are not installed. hidden: kinds of which
    not all may be seen. trail: what the monitor tells of the audit trail, or why that is not known.
    """

    world: World
    origin: str
    notes: tuple[str, ...] = ()
    absent: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()
    trail: TrailStatus | TrailGap = "absent"


def world_of(found: Found, namespace: str = DEFAULT_NAMESPACE) -> World:
    """What lies in files, as it would lie in a cluster."""
    return World.of(written(with_namespace(held.item, namespace)) for held in found.manifests)


def seen_in_files(paths: Sequence[str], namespace: str = DEFAULT_NAMESPACE) -> Seen:
    """Of files and folders. Raises Stop where there are none."""
    found = read_manifests(paths)
    notes = tuple(f"{held.file}:{held.number}: {held.problem}" for held in found.unreadable)
    hidden = frozenset(SUBJECTS) if notes else frozenset()
    return Seen(world_of(found, namespace), "from files, as a cluster with these would be", notes, hidden=hidden)


async def read_cluster(session: Session, *, one_namespace: bool, system_namespace: str | None = None) -> Seen:
    """All objects that policies are about: of one namespace, or of all that may be listed.

    system_namespace: where OSSA runs, to look at what it tells of the audit trail, too.

    Raises ApiError where the cluster is away; what is refused or not there is said in the notes.
    """
    reader = _Reader(session, one_namespace=one_namespace)
    items = await reader.policies()
    for kind, plural in NAMESPACED.items():
        items += await reader.namespaced(kind, plural)
    items += await reader.namespaces()
    items += await reader.params([item for item in items if item["kind"] == "AgentPolicy"])
    trail = await reader.trail(system_namespace) if system_namespace is not None else "absent"
    origin = f"from namespace {session.namespace} of the cluster" if one_namespace else "from the cluster"
    absent, hidden = frozenset(reader.absent), frozenset(reader.hidden)
    return Seen(World.of(items), origin, tuple(reader.notes), absent, hidden, trail)


class _Reader:
    def __init__(self, session: Session, *, one_namespace: bool) -> None:
        self._session = session
        self._one_namespace = one_namespace
        self.notes: list[str] = []
        self.absent: set[str] = set()
        self.hidden: set[str] = set()

    async def policies(self) -> list[JSONObject]:
        try:
            return await self._list(ossa("agentpolicies"), "AgentPolicy")
        except ApiError as error:
            return self._missed("AgentPolicy", "agentpolicies", error)

    async def namespaced(self, kind: str, plural: str) -> list[JSONObject]:
        """Of all namespaces; where that is refused, of the session's own."""
        if not self._one_namespace:
            try:
                return await self._list(ossa(plural), kind)
            except ApiError as error:
                if error.status != 403:
                    return self._missed(kind, plural, error)
                self.hidden.add(kind)
        try:
            found = await self._list(ossa(plural, self._session.namespace), kind)
        except ApiError as error:
            return self._missed(kind, plural, error)
        if kind in self.hidden:
            self.notes.append(f"{plural}: only those of namespace {self._session.namespace} may be listed")
        return found

    async def namespaces(self) -> list[JSONObject]:
        """With their labels, which policies may select by."""
        try:
            if self._one_namespace:
                found = await self._session.api.get(core("namespaces", None, self._session.namespace))
                return [{**found, "apiVersion": "v1", "kind": "Namespace"}]
            return await self._list(core("namespaces"), "Namespace", api_version="v1")
        except ApiError as error:
            return self._missed("Namespace", "namespaces", error)

    async def params(self, policies: Iterable[JSONObject]) -> list[JSONObject]:
        """The ConfigMaps that policies name."""
        found = []
        wanted = {
            (held["namespace"], held["name"])
            for item in policies
            if (held := (item.get("spec") or {}).get("params")) is not None
        }
        for namespace, name in sorted(wanted):
            try:
                item = await self._session.api.get(core("configmaps", namespace, name))
                found.append({**item, "apiVersion": "v1", "kind": "ConfigMap"})
            except ApiError as error:
                self._missed("ConfigMap", f"ConfigMap {namespace}/{name}", error)
        return found

    async def trail(self, namespace: str) -> TrailStatus | TrailGap:
        """What the monitor tells of the audit trail."""
        what = f"the audit trail (ConfigMap {namespace}/{TRAIL_STATUS})"
        try:
            item = await self._session.api.get(core("configmaps", namespace, TRAIL_STATUS))
            return TrailStatus.model_validate_json((item.get("data") or {}).get(STATUS_KEY, ""))
        except ApiError as error:
            if error.status == 404:
                return "absent"
            self._missed("ConfigMap", what, error)
            return "hidden"
        except ValidationError:
            self.notes.append(f"{what}: it holds something else than the monitor would write")
            return "unreadable"

    async def _list(self, path: str, kind: str, *, api_version: str = API_VERSION) -> list[JSONObject]:
        items: list[JSONObject] = []
        query = {"limit": PAGE}
        while True:
            answer: dict[str, Any] = await self._session.api.get(path, query)
            # The items of a list do not say what they are.
            items += [{**item, "apiVersion": api_version, "kind": kind} for item in answer["items"]]
            going_on = metadata_of(answer).get("continue")
            if not going_on:
                return items
            query = {"limit": PAGE, "continue": str(going_on)}

    def _missed(self, kind: str, what: str, error: ApiError) -> list[JSONObject]:
        """Raises the error where the cluster is away, or does not know who asks."""
        if error.status not in (403, 404):
            raise error
        if error.status == 404:
            self.absent.add(kind)
            self.notes.append(f"{what}: there are none in this cluster ({GROUP} knows no such kind, or it is gone)")
        else:
            self.hidden.add(kind)
            self.notes.append(f"{what}: not looked at: {error.message}")
        return []
