"""Takes away revisions that nobody needs.

Needed are a workflow's current and recent ones, and those that an Execution runs or has run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from controllers.cache import Key, ObjectCache
from controllers.loop import Loop
from controllers.revisions import Revisions
from ossa.api.base import JSONObject
from ossa.api.contract import LABEL_MANAGED_BY, LABEL_WORKFLOW, MANAGED_BY
from ossa.kube import paths
from ossa.kube.client import ApiClient
from ossa.kube.labels import label_value

# Revisions of a workflow that are kept besides those that an Execution names.
KEPT = 10
# Seconds between a change and the look at what it has left behind: many changes share one look.
PAUSE = 2.0


def unneeded(items: list[JSONObject], *, used: Collection[str], workflows: Collection[str]) -> list[JSONObject]:
    """Pure: those that are to go, oldest first.

    items: the ControllerRevisions of a namespace. used: names that a Workflow publishes or an Execution has run.
    workflows: the label values of the Workflows that there are.
    """
    spare: dict[str, list[JSONObject]] = defaultdict(list)
    for item in items:
        if item["metadata"]["name"] not in used:
            spare[item["metadata"]["labels"].get(LABEL_WORKFLOW, "")].append(item)
    going: list[JSONObject] = []
    for workflow, held in spare.items():
        held.sort(key=lambda item: (item["revision"], item["metadata"]["creationTimestamp"]))
        going += held[: max(0, len(held) - KEPT)] if workflow in workflows else held
    return going


class RevisionCollector:
    """One queue of namespaces that may hold revisions which nobody needs."""

    def __init__(
        self, api: ApiClient, *, workflows: ObjectCache, executions: ObjectCache, revisions: Revisions
    ) -> None:
        self._api = api
        self._workflows = workflows
        self._executions = executions
        self._revisions = revisions
        self.loop: Loop[str] = Loop("Revision", self.collect)

    def look_at(self, namespace: str) -> None:
        """Something there may have become unneeded."""
        self.loop.queue.add_after(namespace, PAUSE)

    def execution_gone(self, item: JSONObject) -> None:
        """An Execution was deleted: what it ran may be unneeded, unless its workflow publishes just that."""
        metadata, name = item["metadata"], (item.get("status") or {}).get("revision")
        if item["spec"].get("workflowSpec") is not None:
            self.look_at(metadata["namespace"])  # it may have gone before its status named what was made for it
            return
        flow = self._workflows.get(Key(metadata["namespace"], item["spec"].get("workflow", "")))
        if name is not None and (flow is None or (flow.get("status") or {}).get("revision") != name):
            self.look_at(metadata["namespace"])

    async def collect(self, namespace: str) -> None:
        """Deletes what nobody needs in a namespace."""
        path = paths.apps("controllerrevisions", namespace)
        listed = await self._api.get(path, {"labelSelector": f"{LABEL_MANAGED_BY}={MANAGED_BY}"})
        flows, runs = list(self._workflows.in_namespace(namespace)), self._executions.in_namespace(namespace)
        used = {(item.get("status") or {}).get("revision") for item in (*flows, *runs)}
        known = {label_value(item["metadata"]["name"]) for item in flows}
        for item in unneeded(listed["items"], used=[name for name in used if name], workflows=known):
            await self._revisions.delete(item)
