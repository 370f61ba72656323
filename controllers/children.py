"""Child Executions: what a task that runs a workflow is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from controllers.cache import Key, ObjectCache
from controllers.transfers import Transfers
from ossa.api.agent import CLASSIFICATIONS, Classification
from ossa.api.artifact import find_references
from ossa.api.base import JSONObject
from ossa.api.contract import (
    ANNOTATION_AUTHOR,
    ANNOTATION_BREAK_GLASS,
    ANNOTATION_DEPTH,
    ANNOTATION_IDENTITY,
    ANNOTATION_INPUTS_SEAL,
    ANNOTATION_TRACEPARENT,
    API_VERSION,
    LABEL_EXECUTION_UID,
    LABEL_TASK,
    LABEL_WORKFLOW,
    TaskIdentity,
)
from ossa.api.execution import Execution
from ossa.engine.authors import author_of, authors_of, given_authors
from ossa.engine.clock import from_text
from ossa.engine.decision import ChildChange, ChildRequest
from ossa.engine.snapshot import ChildView
from ossa.engine.states import EXECUTION_TERMINAL
from ossa.kube import paths
from ossa.kube.client import ApiClient, Conflict, NotFound, NotPermitted, Refused
from ossa.kube.labels import label_value
from ossa.kube.pods import identity_of, owner_reference
from ossa.store.errors import Problem
from ossa.store.signing import ChildInputs, Signer


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
        judged=identity.judged,
        classification=_classification(status.get("classification")),
        approved_by=tuple(status.get("approvedBy") or ()),
    )


def _classification(text: object) -> Classification | None:
    return next((known for known in CLASSIFICATIONS if known == text), None)


def build_child(request: ChildRequest, depth: int, parent: Execution, signer: Signer) -> JSONObject:
    """The Execution as the API server takes it. It is theirs whose the parent is, not the operator's."""
    identity, held = request.identity, parent.metadata.annotations
    marks = {ANNOTATION_IDENTITY: identity.model_dump_json(), ANNOTATION_DEPTH: str(depth)}
    if author := author_of("Execution", held):
        marks[ANNOTATION_AUTHOR] = author
    marks |= given_authors(authors_of(held, parent.status.authors))
    if ANNOTATION_BREAK_GLASS in held:
        marks[ANNOTATION_BREAK_GLASS] = held[ANNOTATION_BREAK_GLASS]
    if identity.traceparent:
        marks[ANNOTATION_TRACEPARENT] = identity.traceparent
    if next(find_references(request.inputs), None) is not None:
        sealed = ChildInputs(
            namespace=identity.namespace,
            name=request.name,
            identity=marks[ANNOTATION_IDENTITY],
            workflow=request.workflow,
            inputs=request.inputs,
        )
        marks[ANNOTATION_INPUTS_SEAL] = signer.seal(sealed)
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
            "annotations": marks,
            "ownerReferences": [owner_reference(identity.execution, identity.uid)],
        },
        "spec": {
            "workflow": request.workflow,
            "inputs": request.inputs,
            "priority": request.priority,
            **({"pendingTimeout": request.pending_timeout} if request.pending_timeout is not None else {}),
        },
    }


def given_by(execution: Execution, signer: Signer) -> tuple[str, ...]:
    """The UIDs of the Executions to whose artifacts the inputs of a child may refer: its parent's, and what that has.

    Empty where its seal does not prove that the operator gave it these inputs.
    """
    marks = execution.metadata.annotations
    text, seal = marks.get(ANNOTATION_IDENTITY, ""), marks.get(ANNOTATION_INPUTS_SEAL, "")
    made = ChildInputs(
        namespace=execution.metadata.namespace,
        name=execution.metadata.name,
        identity=text,
        workflow=execution.spec.workflow_name,
        inputs=execution.spec.inputs,
    )
    if not seal or not signer.is_seal(seal, made):
        return ()
    parent = TaskIdentity.model_validate_json(text)
    return (parent.uid, *parent.lineage)


class Children:
    """Creates children once each, and tells what is known of them.

    `made` is told of an Execution as of one that the watch shows.
    """

    def __init__(
        self,
        api: ApiClient,
        cache: ObjectCache,
        transfers: Transfers,
        signer: Signer,
        made: Callable[[JSONObject], None],
    ) -> None:
        self._api = api
        self._cache = cache
        self._transfers = transfers
        self._signer = signer
        self._made = made
        self._known: dict[str, dict[str, Key]] = defaultdict(dict)
        self._wanted: dict[str, dict[str, ChildRequest]] = defaultdict(dict)
        self._refused: dict[str, dict[str, str]] = defaultdict(dict)
        self._held: dict[str, dict[str, str]] = defaultdict(dict)

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

    def held(self, uid: str) -> Mapping[str, str]:
        """Those that cannot be created yet, and why; they stay wanted."""
        return dict(self._held.get(uid, {}))

    def want(self, uid: str, requests: Sequence[ChildRequest]) -> None:
        """From here on they are in flight."""
        for request in requests:
            self._wanted[uid][request.name] = request

    async def create(self, uid: str, *, depth: int, parent: Execution) -> None:
        """Asks for all that are wanted.

        Raises ApiError where one may or may not exist now; it stays wanted.
        """
        for request in list(self._wanted.get(uid, {}).values()):
            try:
                whole = await self._by_reference(request)
            except Problem as error:
                self._held[uid][request.name] = f"its inputs are large, and have to be stored first: {error}"
                continue
            self._held[uid].pop(request.name, None)
            await self._create(uid, request, build_child(whole, depth, parent, self._signer))

    async def _by_reference(self, request: ChildRequest) -> ChildRequest:
        """The same with references to what is too large, once it is stored. Raises Problem."""
        if not request.large:
            return request
        namespace, uid = request.identity.namespace, request.identity.uid
        moved = await self._transfers.references(namespace, uid, request.large)
        made = replace(request, inputs={**request.inputs, **moved}, large={})
        # Asked for again, it is the same.
        self._wanted[uid][request.name] = made
        return made

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
        except NotPermitted as error:
            self._held[uid][request.name] = error.message
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
        for held in (self._known, self._wanted, self._refused, self._held):
            held.pop(uid, None)
