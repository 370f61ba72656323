"""Execution: gather a snapshot, let the engine decide, carry the decision out.

The order of the effects makes a crash between any two of them safe: the status that records an attempt is written
first and carries the resourceVersion that was read, the pod is created second. What the status says runs and nobody
has a pod for was lost, and its name is never used again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import kopf

from controllers.announce import announce
from controllers.cache import Key, ObjectCache, key_of
from controllers.creation import PodCreator
from controllers.loop import Loop
from controllers.outages import OutageLog
from controllers.revisions import Revisions
from controllers.settings import Settings
from ossa.api.artifact import ArtifactRef
from ossa.api.contract import GROUP, LABEL_EXECUTION_UID, LABEL_MANAGED_BY, MAIN_CONTAINER, MANAGED_BY, VERSION
from ossa.api.execution import Execution
from ossa.engine.clock import from_text
from ossa.engine.decide import Decision, decide
from ossa.engine.decision import ending
from ossa.engine.snapshot import Snapshot, WorkflowView
from ossa.engine.states import EXECUTION_TERMINAL
from ossa.kube import paths
from ossa.kube.client import ApiClient, ApiError, NotFound
from ossa.kube.podstore import PodStore
from ossa.kube.status import write_status
from ossa.store.signing import Signer

log = logging.getLogger(__name__)

JSONObject = dict[str, Any]
LOG_LINES = "20"
LOG_BYTES = "4096"
SYNC_PAUSE = 0.1
# How old an end may be for it to be announced again after a restart.
TOLD_AGAIN = timedelta(minutes=10)
# Successors of a task that has ended go before the roots of executions that have not started.
PRIORITY_POD, PRIORITY_OBJECT = 0, 1


class ExecutionController:
    """Takes executions through their state machine. Keys are UIDs: names come again, UIDs do not."""

    def __init__(  # noqa: PLR0913 - each by name
        self,
        api: ApiClient,
        settings: Settings,
        *,
        epoch: int,
        cache: ObjectCache,
        workflows: ObjectCache,
        revisions: Revisions,
    ) -> None:
        self._api = api
        self._settings = settings
        self._cache = cache
        self._workflows = workflows
        self._revisions = revisions
        self._keys: dict[str, Key] = {}
        self._told: set[str] = set()  # whose end was announced
        self._signer = Signer(settings.artifacts_key)
        self.loop: Loop[str] = Loop("Execution", self.reconcile)
        self.pods = PodStore(self.pods_changed)
        self.outages = OutageLog(self.all_changed)
        self._creator = PodCreator(api, settings, self.pods, epoch=epoch)

    def register(self, registry: kopf.OperatorRegistry) -> None:
        """The kopf handler: keep the object, queue its key."""

        @kopf.on.event(GROUP, VERSION, "executions", registry=registry)
        async def execution_seen(event: kopf.RawEvent, **_: Any) -> None:
            self.seen(event["type"], dict(event["object"]))

    def seen(self, kind: str | None, item: JSONObject) -> None:
        """An event of the watch; `kind` is None for what was there already."""
        uid = item["metadata"]["uid"]
        if kind == "DELETED":
            self._cache.drop(item)
            self._forget(uid)
        elif self._cache.put(item):
            self._keys[uid] = key_of(item)
            self.loop.queue.add(uid, priority=PRIORITY_OBJECT)

    def pods_changed(self, uid: str) -> None:
        """A pod of this Execution has changed."""
        if uid in self._keys:
            self.loop.queue.add(uid, priority=PRIORITY_POD)

    def workflow_changed(self, workflow: Key) -> None:
        """Queues the executions that wait for the workflow."""
        for item in self._cache.in_namespace(workflow.namespace):
            phase = (item.get("status") or {}).get("phase", "Pending")
            if phase == "Pending" and item["spec"].get("workflow") == workflow.name:
                self.loop.queue.add(item["metadata"]["uid"], priority=PRIORITY_OBJECT)

    def all_changed(self) -> None:
        """Something that concerns every execution has changed."""
        for uid in self._keys:
            self.loop.queue.add(uid, priority=PRIORITY_OBJECT)

    async def reconcile(self, uid: str) -> None:
        """One turn of one execution."""
        key = self._keys.get(uid)
        item = self._cache.get(key) if key is not None else None
        if item is None or item["metadata"]["uid"] != uid or item["metadata"].get("deletionTimestamp"):
            return
        if not self.pods.synced:
            self.loop.queue.add_after(uid, SYNC_PAUSE)
            return
        execution = Execution.model_validate(item)
        if execution.status.phase in EXECUTION_TERMINAL:
            await self._tell_ending(item, execution)
            await self._clean(execution)
            return
        snapshot = await self._gather(execution)
        now = datetime.now(UTC)
        decision = decide(snapshot, now)
        if decision.need_logs:
            snapshot = await self._with_logs(snapshot, decision.need_logs)
            decision = decide(snapshot, now)
        await self._carry_out(item, snapshot, decision, now)

    async def _gather(self, execution: Execution) -> Snapshot:
        metadata, status = execution.metadata, execution.status
        view, name = None, status.revision
        if status.phase == "Pending" and name is None:
            view = await self._workflow(Key(metadata.namespace, execution.spec.workflow))
            name = view.revision if view is not None else None
        return Snapshot(
            execution=execution,
            workflow=view,
            revision=await self._revisions.load(metadata.namespace, name) if name is not None else None,
            pods=self.pods.of(metadata.uid),
            in_flight=self.pods.in_flight(metadata.uid),
            held=self._creator.held(metadata.uid),
            refused=self._creator.refused(metadata.uid),
            outages=self.outages.outages,
            issued=self._issued(metadata.namespace, metadata.uid),
        )

    async def _workflow(self, key: Key) -> WorkflowView | None:
        item = self._workflows.get(key)
        if item is None:
            # The watches of the kinds start at different moments: ask before saying that it is not there.
            try:
                item = await self._api.get(paths.ossa("workflows", key.namespace, key.name))
            except NotFound:
                return None
        status = item.get("status") or {}
        return WorkflowView(
            phase=status.get("phase", "Draft"),
            revision=status.get("revision"),
            message=status.get("message"),
            current=status.get("observedGeneration") == item["metadata"]["generation"],
        )

    def _issued(self, namespace: str, uid: str) -> Callable[[ArtifactRef, str], bool]:
        def issued(reference: ArtifactRef, pod_uid: str) -> bool:
            return self._signer.verify(reference, namespace=namespace, execution_uid=uid, pod_uid=pod_uid)

        return issued

    async def _with_logs(self, snapshot: Snapshot, names: tuple[str, ...]) -> Snapshot:
        tails = await asyncio.gather(*(self._log_tail(snapshot.execution.metadata.namespace, name) for name in names))
        return replace(snapshot, log_tails={**snapshot.log_tails, **dict(zip(names, tails, strict=True))})

    async def _log_tail(self, namespace: str, pod: str) -> str:
        params = {"container": MAIN_CONTAINER, "tailLines": LOG_LINES}
        try:
            text = await self._api.text(paths.core("pods", namespace, pod, "log"), params)
        except ApiError as error:
            # A container that never started and a node that is gone have none: neither may hold up the verdict.
            log.info("no log", extra={"pod": pod, "error": str(error)})
            return ""
        return text[-int(LOG_BYTES) :]

    async def _carry_out(self, item: JSONObject, snapshot: Snapshot, decision: Decision, now: datetime) -> None:
        execution = snapshot.execution
        uid = execution.metadata.uid
        if execution.status.revision is None and decision.status.revision is not None:
            try:
                await self._revisions.hold(decision.status.revision, item)
            except NotFound:
                # Pruned or collected since it was read; the workflow names another one soon.
                self.loop.queue.add_after(uid, 1.0)
                return
        path = paths.ossa("executions", execution.metadata.namespace, execution.metadata.name)
        try:
            written = await write_status(self._api, path, item, decision.status.to_json(), maps=("tasks",))
        except NotFound:
            self._forget(uid)
            return
        if written is not None:
            self._cache.put(written)
        self._creator.want(uid, decision.create)
        unsure: ApiError | None = None
        if snapshot.revision is not None:
            try:
                await self._creator.create(uid, snapshot.revision)
            except ApiError as error:
                unsure = error  # asked for again; what has been decided is told all the same
        for name in decision.delete:
            await self._delete_pod(execution.metadata.namespace, name)
        for event in decision.events:
            await announce(self._api, written or item, kind=event.type, reason=event.reason, message=event.message)
        if decision.status.phase in EXECUTION_TERMINAL:
            self._told.add(uid)
        if unsure is not None:
            raise unsure
        if decision.status.phase not in EXECUTION_TERMINAL:
            self._look_at_creations(uid, snapshot)
        if decision.wake_at is not None:
            self.loop.queue.add_after(uid, (decision.wake_at - now).total_seconds())

    def _look_at_creations(self, uid: str, snapshot: Snapshot) -> None:
        """What the API server said to new pods is told at once; those that are held up are tried again later."""
        held = self._creator.held(uid)
        if self._creator.refused(uid) != snapshot.refused or held.keys() != snapshot.held.keys():
            self.loop.queue.add(uid)
        elif held:
            self.loop.queue.add_after(uid, self._creator.pause(uid))

    async def _delete_pod(self, namespace: str, name: str) -> None:
        try:
            await self._api.delete(paths.core("pods", namespace, name))
        except NotFound:
            return

    async def _tell_ending(self, item: JSONObject, execution: Execution) -> None:
        """Says how it ended where a reconciler died between writing that and saying it."""
        uid, ended = execution.metadata.uid, execution.status.completed_at
        if uid in self._told or ended is None:
            return
        if datetime.now(UTC) - from_text(ended) < TOLD_AGAIN:
            event = ending(execution.status)
            await announce(self._api, item, kind=event.type, reason=event.reason, message=event.message)
        self._told.add(uid)

    async def _clean(self, execution: Execution) -> None:
        """Removes the pods of an execution that has ended, in two batches: the good ones soon, the failed ones late.

        What still runs (the write of the end was the last thing that a dying reconciler did) goes at once.
        """
        uid, ended = execution.metadata.uid, execution.status.completed_at
        self._creator.forget(uid)
        if ended is None or not self.pods.of(uid):
            return
        for name in decide(Snapshot(execution, pods=self.pods.of(uid)), datetime.now(UTC)).delete:
            await self._delete_pod(execution.metadata.namespace, name)
        age = datetime.now(UTC) - from_text(ended)
        for phase, keep in (
            ("Succeeded", self._settings.keep_completed_pods),
            ("Failed", self._settings.keep_failed_pods),
        ):
            if not any(pod.phase == phase for pod in self.pods.of(uid).values()):
                continue
            left = timedelta(seconds=keep) - age
            if left > timedelta(0):
                self.loop.queue.add_after(uid, left.total_seconds() + 1)
                continue
            await self._api.delete(
                paths.core("pods", execution.metadata.namespace),
                {
                    "labelSelector": f"{LABEL_MANAGED_BY}={MANAGED_BY},{LABEL_EXECUTION_UID}={uid}",
                    "fieldSelector": f"status.phase={phase}",
                },
            )

    def _forget(self, uid: str) -> None:
        self._told.discard(uid)
        self._keys.pop(uid, None)
        self._creator.forget(uid)
        self.pods.forget(uid)
        self.loop.queue.forget(uid)
