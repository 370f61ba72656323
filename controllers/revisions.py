"""Revisions as ControllerRevisions: made once, read often, never changed."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from pydantic import ValidationError

from ossa.api.base import JSONObject
from ossa.api.contract import LABEL_MANAGED_BY, LABEL_WORKFLOW, MANAGED_BY
from ossa.engine.expressions import CompileError
from ossa.engine.revision import CompiledRevision, Revision, compile_revision, revision_name
from ossa.kube import paths
from ossa.kube.client import ApiClient, ApiError, Conflict, NotFound
from ossa.kube.labels import label_value

CACHED = 500


class Revisions:
    """Reads, writes and caches them."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._held: dict[str, tuple[str, str]] = {}  # by UID of an Execution, what it is about to run
        self._changing = asyncio.Lock()  # nothing is taken away while it is published
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
        """Makes sure that the ControllerRevision exists; returns its name.

        Nobody owns it: a thousand Executions of one workflow would be a thousand owners, each written into it and taken
        out again. `controllers.collector` takes away what nobody needs.
        """
        metadata = workflow["metadata"]
        return await self._publish(metadata["namespace"], revision, metadata["generation"])

    async def publish_inline(self, uid: str, namespace: str, revision: Revision) -> str:
        """The same for the workflow that the Execution with this UID holds itself; it stays until `release`."""
        name = revision_name(revision)
        self._held[uid] = (namespace, name)
        async with self._changing:
            # The name is a hash of the content, and others may have asked for the same.
            if (namespace, name) not in self._compiled:
                await self._publish(namespace, revision, 1)
        return name

    def release(self, uid: str) -> None:
        """The Execution has ended or is gone: what it ran stays while a status names it."""
        self._held.pop(uid, None)

    async def delete(self, item: JSONObject) -> None:
        """Deletes a ControllerRevision as it was read, unless an Execution is about to run it."""
        metadata = item["metadata"]
        key = (metadata["namespace"], metadata["name"])
        async with self._changing:
            if key in self._held.values():
                return
            self.forget(*key)
            try:
                await self._api.delete(
                    paths.apps("controllerrevisions", *key),
                    body={"preconditions": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}},
                )
            except (NotFound, Conflict):
                return

    async def _publish(self, namespace: str, revision: Revision, number: int) -> str:
        name = revision_name(revision)
        body = {
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": {LABEL_MANAGED_BY: MANAGED_BY, LABEL_WORKFLOW: label_value(revision.workflow)},
            },
            "data": revision.to_json(),
            "revision": number,
        }
        try:
            await self._api.post(paths.apps("controllerrevisions", namespace), body, canonical=True)
        except Conflict:
            # The name is a hash of the content: it is there from before, or something else has its name.
            found = await self._api.get(paths.apps("controllerrevisions", namespace, name))
            if found["metadata"].get("deletionTimestamp"):
                raise ApiError(0, "BeingDeleted", f"revision {name} is being deleted; it is made anew") from None
            if not _is_what_it_says(found):
                raise ApiError(0, "NameTaken", f"something else has the name of revision {name}; delete it") from None
        return name

    def forget(self, namespace: str, name: str) -> None:
        """It is gone."""
        self._compiled.pop((namespace, name), None)


def _is_what_it_says(item: JSONObject) -> bool:
    """Whether the name is the hash of the content, so that nobody can put another one in its place."""
    try:
        return revision_name(Revision.model_validate(item.get("data"))) == str(item["metadata"]["name"])
    except ValidationError:
        return False
