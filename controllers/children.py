"""Child Executions: what a task that runs a workflow is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from controllers.cache import Key, ObjectCache
from ossa.api.contract import (
    ANNOTATION_AUTHOR,
    ANNOTATION_DEPTH,
    ANNOTATION_IDENTITY,
    API_VERSION,
    LABEL_EXECUTION_UID,
    LABEL_TASK,
    LABEL_WORKFLOW,
)
from ossa.engine.clock import from_text
from ossa.engine.decision import ChildChange, ChildRequest
from ossa.engine.snapshot import ChildView
from ossa.engine.states import EXECUTION_TERMINAL
from ossa.kube import paths
from ossa.kube.client import ApiClient, Conflict, NotFound, Refused
from ossa.kube.labels import label_value
from ossa.kube.pods import identity_of, owner_reference

JSONObject = dict[str, Any]


def child_view(item: JSONObject) -> ChildView | None:
    """The part of a child that its parent decides by; None for an Execution that is no child."""
    identity = identity_of(item)
    if identity is None or all(owner["uid"] != identity.uid for owner in item["metadata"].get("ownerReferences") or []):
        return None
    metadata, spec, status = item["metadata"], item["spec"], item.get("status") or {}
    phase = status.get("phase", "Pending")
    return ChildView(
        name=metadata["name"],
        task=identity.task,
        index=identity.index,
        attempt=identity.attempt,
        lost=identity.lost,
        finished=phase in EXECUTION_TERMINAL,
        succeeded=phase == "Completed",
        deleting=metadata.get("deletionTimestamp") is not None,
        suspend=bool(spec.get("suspend")),
        cancel=bool(spec.get("cancel")),
        created_at=from_text(metadata["creationTimestamp"]),
        outputs=status.get("outputs") or {},
        uid=metadata["uid"],
        lineage=tuple(status.get("lineage") or ()),
        message=status.get("message"),
        locks=identity.locks,
    )


def build_child(request: ChildRequest, depth: int, author: str) -> JSONObject:
    """The Execution as the API server takes it. Whoever wrote the parent's spec is its author, not the operator."""
    identity = request.identity
    return {
        "apiVersion": API_VERSION,
        "kind": "Execution",
        "metadata": {
            "name": request.name,
            "namespace": identity.namespace,
            "labels": {
                LABEL_EXECUTION_UID: identity.uid,
                LABEL_WORKFLOW: label_value(request.workflow),
                LABEL_TASK: label_value(identity.task),
            },
            "annotations": {
                ANNOTATION_IDENTITY: identity.model_dump_json(),
                ANNOTATION_DEPTH: str(depth),
                **({ANNOTATION_AUTHOR: author} if author else {}),
            },
            "ownerReferences": [owner_reference(identity.execution, identity.uid)],
        },
        "spec": {
            "workflow": request.workflow,
            "inputs": request.inputs,
            "priority": request.priority,
            **({"pendingTimeout": request.pending_timeout} if request.pending_timeout is not None else {}),
        },
    }


class Children:
    """Creates children once each, and tells what is known of them."""

    def __init__(self, api: ApiClient, cache: ObjectCache, made: Callable[[JSONObject], None]) -> None:
        self._api = api
        self._cache = cache
        self._made = made  # is told of an Execution as of one that the watch shows
        self._known: dict[str, dict[str, Key]] = defaultdict(dict)
        self._wanted: dict[str, dict[str, ChildRequest]] = defaultdict(dict)
        self._refused: dict[str, dict[str, str]] = defaultdict(dict)

    def seen(self, kind: str | None, item: JSONObject) -> str | None:
        """Keeps track of an Execution; the UID of its parent where it has one."""
        view, identity = child_view(item), identity_of(item)
        if view is None or identity is None:
            return None
        names = self._known[identity.uid]
        if kind == "DELETED":
            names.pop(view.name, None)
        else:
            names[view.name] = Key(item["metadata"]["namespace"], view.name)
        return identity.uid

    def of(self, uid: str) -> Mapping[str, ChildView]:
        """The children of an execution, by name."""
        found = {}
        for name, key in self._known.get(uid, {}).items():
            item = self._cache.get(key)
            view = child_view(item) if item is not None else None
            if view is not None:
                found[name] = view
        return found

    def in_flight(self, uid: str) -> frozenset[str]:
        """Those that were asked for and are not known to be there."""
        return frozenset(self._wanted.get(uid, ()))

    def refused(self, uid: str) -> Mapping[str, str]:
        """Those that the API server refused, with its words."""
        return dict(self._refused.get(uid, {}))

    def want(self, uid: str, requests: Sequence[ChildRequest]) -> None:
        """From here on they are in flight."""
        for request in requests:
            self._wanted[uid][request.name] = request

    async def create(self, uid: str, *, depth: int, author: str) -> None:
        """Asks for all that are wanted. Raises ApiError where one may or may not exist now; it stays wanted."""
        for request in list(self._wanted.get(uid, {}).values()):
            await self._create(uid, request, build_child(request, depth, author))

    async def _create(self, uid: str, request: ChildRequest, child: JSONObject) -> None:
        namespace = request.identity.namespace
        try:
            made = await self._api.post(paths.ossa("executions", namespace), child)
        except Conflict:
            made = await self._api.get(paths.ossa("executions", namespace, request.name))
            if identity_of(made) != request.identity:
                self._refused[uid][request.name] = f"the name {request.name} is taken by another Execution"
                self._wanted[uid].pop(request.name, None)
                return
        except (Refused, NotFound) as error:
            self._refused[uid][request.name] = error.message
            self._wanted[uid].pop(request.name, None)
            return
        self._made(made)
        self._wanted[uid].pop(request.name, None)

    async def change(self, namespace: str, change: ChildChange) -> None:
        """Suspends, resumes or cancels a child."""
        wanted = {"suspend": change.suspend, "cancel": change.cancel}
        spec = {key: value for key, value in wanted.items() if value is not None}
        try:
            await self._api.patch(paths.ossa("executions", namespace, change.name), {"spec": spec})
        except NotFound:
            return

    def forget(self, uid: str) -> None:
        """The execution has ended or is gone."""
        for held in (self._known, self._wanted, self._refused):
            held.pop(uid, None)
