"""Revisions as ControllerRevisions: made once, read often, never changed."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from pydantic import ValidationError

from ossa.api.contract import API_VERSION, LABEL_MANAGED_BY, LABEL_WORKFLOW, MANAGED_BY
from ossa.engine.expressions import CompileError
from ossa.engine.revision import CompiledRevision, Revision, compile_revision, revision_name
from ossa.kube import paths
from ossa.kube.client import ApiClient, ApiError, Conflict, NotFound
from ossa.kube.labels import label_value
from ossa.kube.pods import owner_reference

JSONObject = dict[str, Any]
CACHED = 500
# Revisions of a workflow that are kept besides those that an Execution owns.
KEPT = 10


class Revisions:
    """Reads, writes and caches them."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._compiled: OrderedDict[tuple[str, str], CompiledRevision] = OrderedDict()

    async def load(self, namespace: str, name: str) -> CompiledRevision | None:
        """The compiled revision; None where it is gone or is not what its name says."""
        held = self._compiled.get((namespace, name))
        if held is not None:
            self._compiled.move_to_end((namespace, name))
            return held
        try:
            item = await self._api.get(paths.apps("controllerrevisions", namespace, name))
            if not _is_what_it_says(item):
                return None
            compiled = compile_revision(Revision.model_validate(item["data"]))
        except (NotFound, CompileError):
            return None
        self._compiled[namespace, name] = compiled
        if len(self._compiled) > CACHED:
            self._compiled.popitem(last=False)
        return compiled

    async def publish(self, workflow: JSONObject, revision: Revision) -> str:
        """Makes sure that the ControllerRevision exists and is owned by this Workflow; returns its name."""
        metadata = workflow["metadata"]
        name = revision_name(revision)
        owner = {
            "apiVersion": API_VERSION,
            "kind": "Workflow",
            "name": metadata["name"],
            "uid": metadata["uid"],
            "controller": True,
            "blockOwnerDeletion": False,
        }
        body = {
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": {
                "name": name,
                "namespace": metadata["namespace"],
                "labels": {LABEL_MANAGED_BY: MANAGED_BY, LABEL_WORKFLOW: label_value(metadata["name"])},
                "ownerReferences": [owner],
            },
            "data": revision.to_json(),
            "revision": metadata["generation"],
        }
        try:
            await self._api.post(paths.apps("controllerrevisions", metadata["namespace"]), body, canonical=True)
        except Conflict:
            # The name is a hash of the content. A namesake Workflow that was deleted may have left it behind.
            await self._own_again(metadata["namespace"], name, owner)
        return name

    async def _own_again(self, namespace: str, name: str, owner: JSONObject) -> None:
        path = paths.apps("controllerrevisions", namespace, name)
        found = await self._api.get(path)
        if found["metadata"].get("deletionTimestamp"):
            raise ApiError(0, "BeingDeleted", f"revision {name} is being deleted; it is made again afterwards")
        if not _is_what_it_says(found):
            raise ApiError(0, "NameTaken", f"something else has the name of revision {name}; delete that object")
        owners = found["metadata"].get("ownerReferences") or []
        if any(known["uid"] == owner["uid"] for known in owners):
            return
        others = [known for known in owners if known["kind"] != "Workflow"]
        await self._replace_owners(path, found, [*others, owner])

    async def hold(self, name: str, execution: JSONObject) -> None:
        """Makes the Execution an owner, so that the revision lives as long as it does.

        Raises:
            NotFound: the revision is gone.
            Conflict: it has changed since it was read; try again.
        """
        metadata = execution["metadata"]
        path = paths.apps("controllerrevisions", metadata["namespace"], name)
        found = await self._api.get(path)
        owners = found["metadata"].get("ownerReferences") or []
        if any(known["uid"] == metadata["uid"] for known in owners):
            return
        owner = owner_reference(metadata["name"], metadata["uid"], controller=False)
        await self._replace_owners(path, found, [*owners, owner])

    async def _replace_owners(self, path: str, found: JSONObject, owners: list[JSONObject]) -> None:
        # A PUT: a patch would have the API server write `data` anew, and refuse it where one byte differs.
        body = {**found, "metadata": {**found["metadata"], "ownerReferences": owners}}
        await self._api.put(path, body, canonical=True)

    async def prune(self, workflow: JSONObject, current: str) -> None:
        """Deletes the oldest revisions that no Execution owns, but for the last `KEPT`."""
        metadata = workflow["metadata"]
        selector = f"{LABEL_MANAGED_BY}={MANAGED_BY},{LABEL_WORKFLOW}={label_value(metadata['name'])}"
        listed = await self._api.get(
            paths.apps("controllerrevisions", metadata["namespace"]), {"labelSelector": selector}
        )
        for item in stale_revisions(listed["items"], metadata["uid"], current):
            await self._delete(item)

    async def _delete(self, item: JSONObject) -> None:
        metadata = item["metadata"]
        # An Execution that takes hold of it between our look and our deletion changes its version: 409.
        unchanged = {"preconditions": {"resourceVersion": metadata["resourceVersion"]}}
        try:
            await self._api.delete(
                paths.apps("controllerrevisions", metadata["namespace"], metadata["name"]), body=unchanged
            )
        except (NotFound, Conflict):
            return


def _is_what_it_says(item: JSONObject) -> bool:
    """Whether the name is the hash of the content, so that nobody can put another one in its place."""
    try:
        return revision_name(Revision.model_validate(item.get("data"))) == str(item["metadata"]["name"])
    except ValidationError:
        return False


def stale_revisions(items: list[JSONObject], workflow_uid: str, current: str) -> list[JSONObject]:
    """Those that the Workflow alone owns, oldest first, without the current one and the last `KEPT`."""
    mine = [
        item
        for item in items
        if [owner["uid"] for owner in item["metadata"].get("ownerReferences") or []] == [workflow_uid]
        and item["metadata"]["name"] != current
    ]
    mine.sort(key=lambda item: (item["revision"], item["metadata"]["creationTimestamp"]))
    return mine[: max(0, len(mine) - KEPT)]
