"""Execution: what happens to it, and when it is looked at; then it is decided on, and that carried out."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import kopf

from controllers.approvals import Approvals
from controllers.archive import Archive
from controllers.cache import Key, ObjectCache, key_of
from controllers.children import Children
from controllers.cleaning import Cleaner
from controllers.closing import Closing
from controllers.creation import PodCreator
from controllers.deciding import Decider
from controllers.effects import Effects
from controllers.gather import Gatherer
from controllers.governance.judges import NoJudges
from controllers.inline import InlineWorkflows
from controllers.limits import Limits
from controllers.loop import Loop
from controllers.namespaces import Namespaces
from controllers.outages import OutageLog
from controllers.revisions import Revisions
from controllers.settings import Settings
from controllers.statuses import Statuses
from controllers.transfers import Transfers
from controllers.values import PAUSE, Values
from controllers.workflows import names_agent
from controllers.working import Working
from ossa.api.base import JSONObject
from ossa.api.contract import GROUP, VERSION
from ossa.api.execution import ExecutionStatus
from ossa.engine.batches import KEPT_PODS
from ossa.engine.decide import Decision
from ossa.engine.snapshot import Snapshot
from ossa.kube.client import ApiClient
from ossa.kube.podstore import PodStore
from ossa.logs import log_about
from ossa.store.client import ArtifactClient
from ossa.store.records.pool import Records
from ossa.store.signing import Signer

SYNC_PAUSE, THINNING_PAUSE = 0.1, 1.0
# Successors of a task that has ended go before the roots of executions that have not started.
PRIORITY_POD, PRIORITY_OBJECT = 0.0, 1.0


class ExecutionController:
    """Takes executions through their state machine. Keys are UIDs: names come again, UIDs do not."""

    def __init__(  # noqa: PLR0913 - collaborators, all by name
        self,
        api: ApiClient,
        settings: Settings,
        *,
        cache: ObjectCache,
        workflows: ObjectCache,
        revisions: Revisions,
        inline: InlineWorkflows,
        namespaces: Namespaces,
        gone: Callable[[JSONObject], None],
        artifacts: ArtifactClient,
        epoch: int,
        judges: NoJudges | None = None,
        records: Records | None = None,
    ) -> None:
        self._cache = cache
        self._gone = gone
        self._judges = judges or NoJudges()
        self._inline = inline
        self._keys: dict[str, Key] = {}
        self._working: dict[str, Working] = {}
        self._resumers: dict[Key, set[str]] = defaultdict(set)  # who waits for the end of an execution to resume it
        self._seeded = False
        self.loop: Loop[str] = Loop("Execution", self.reconcile)
        # Apart, since the removal of a hundred pods takes a while and nothing waits for it.
        self.thinning: Loop[str] = Loop("Pods", self._thin_out)
        self.pods = PodStore(self.pods_changed)
        self.outages = OutageLog(self.all_changed)
        self.decider = Decider()
        self.limits = Limits(
            most=settings.max_pods,
            namespace_most=namespaces.parallelism,
            wake=lambda uid: self._queue(uid, PRIORITY_OBJECT),
        )
        signer, transfers = Signer(settings.artifacts_key), Transfers(artifacts, self.pods_changed)
        self._transfers = transfers
        self._children = Children(api, cache, transfers, signer, made=lambda item: self.seen(None, item))
        self.approvals = Approvals(api, self.pods_changed)
        self._creator = PodCreator(api, settings, self.pods, transfers, epoch=epoch)
        self.closing = Closing(records, lambda uid: self._queue(uid, PRIORITY_OBJECT))
        self._cleaner = Cleaner(api, settings, self.pods, self.closing)
        self._archive = Archive(artifacts, transfers, self.pods_changed)
        self._values = Values(artifacts, signer, self.pods_changed)
        self._statuses = Statuses(api, cache, self._archive, wrote=partial(self._tell_others, None), gone=self._forget)
        self._gatherer = Gatherer(
            api=api,
            executions=cache,
            workflows=workflows,
            revisions=revisions,
            pods=self.pods,
            creator=self._creator,
            children=self._children,
            approvals=self.approvals,
            limits=self.limits,
            outages=self.outages,
            signer=signer,
            archive=self._archive,
            values=self._values,
            inline=inline,
            epoch=epoch,
            judge_of=self._judges.of,
        )
        self._effects = Effects(
            api=api,
            pods=self.pods,
            creator=self._creator,
            children=self._children,
            approvals=self.approvals,
            cleaner=self._cleaner,
            statuses=self._statuses,
            limits=self.limits,
            decider=self.decider,
        )

    # --- what happens ---------------------------------------------------------------------------------------

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
            self._gone(item)
        elif self._cache.put(item) or uid not in self._keys:
            # A child whose creation this process asked for is in the cache already, and has not been looked at.
            self._keys[uid] = key_of(item)
            self._queue(uid, PRIORITY_OBJECT)
        else:
            return
        self._tell_others(kind, item)

    def pods_changed(self, uid: str) -> None:
        """A pod of this Execution has changed."""
        if uid in self._keys:
            self._queue(uid, PRIORITY_POD)

    def workflow_changed(self, workflow: Key) -> None:
        """Queues the executions that wait for the workflow."""
        for item in self._cache.in_namespace(workflow.namespace):
            phase = (item.get("status") or {}).get("phase", "Pending")
            if phase == "Pending" and item["spec"].get("workflow") == workflow.name:
                self._queue(item["metadata"]["uid"], PRIORITY_OBJECT)

    def agent_changed(self, agent: Key) -> None:
        """Queues the executions that wait for an agent of the workflow that they hold themselves."""
        for item in self._cache.in_namespace(agent.namespace):
            phase, inline = (item.get("status") or {}).get("phase", "Pending"), item["spec"].get("workflowSpec")
            if phase == "Pending" and inline is not None and names_agent(inline, agent.name):
                self._queue(item["metadata"]["uid"], PRIORITY_OBJECT)

    def all_changed(self) -> None:
        """Something that concerns every execution has changed."""
        for uid in self._keys:
            self._queue(uid, PRIORITY_OBJECT)

    def statuses(self) -> list[ExecutionStatus]:
        """What has been decided of all executions that were looked at."""
        # A copy first: /metrics asks from a thread of its own.
        return [held.status for held in list(self._working.values())]

    def pending(self) -> list[str]:
        """Why pods do not run yet, one word for each of them."""
        return [*self.pods.pending(), *self._creator.pending()]

    def _queue(self, uid: str, kind: float) -> None:
        held = self._working.get(uid)
        self.loop.queue.add(uid, priority=(kind, *(held.rank if held is not None else ())))

    # --- one turn -------------------------------------------------------------------------------------------

    async def reconcile(self, uid: str) -> None:
        """One turn of one execution."""
        log_about(None)  # the last turn of this task was about another one
        key = self._keys.get(uid)
        item = self._cache.get(key) if key is not None else None
        if item is None or item["metadata"]["uid"] != uid or item["metadata"].get("deletionTimestamp"):
            return
        if not (self.pods.synced and self.approvals.synced and self._judges.know(item["metadata"]["namespace"])):
            self.loop.queue.add_after(uid, SYNC_PAUSE)
            return
        if not self._seeded:
            self._effects.seed(self._cache.all())
            self._seeded = True
        held = self._working.get(uid)
        if held is None:
            held = self._working[uid] = Working.of(item)
        held.refresh(item)
        log_about(held.about)
        if held.ended:
            self._creator.forget(uid)
            self._values.forget(uid)
            self._archive.forget(uid)
            self._inline.forget(uid)
            pause = await self._effects.clean(held, item)
            if held.written is not None:
                self._working[uid] = held.at_rest(item)
            if pause is not None:
                self.loop.queue.add_after(uid, pause)
            return
        await self._statuses.read(held)
        source = held.execution.spec.retry_of
        if source is not None and held.status.phase == "Pending":
            # Before the source is looked at: what becomes of it from then on is told.
            self._resumers[Key(held.namespace, source)].add(uid)
        snapshot = await self._gatherer.snapshot(held)
        now = datetime.now(UTC)
        decision = self.decider.decide(snapshot, now)
        while decision.need_logs or decision.need_values:
            snapshot = await self._gatherer.with_more(snapshot, decision)
            decision = self.decider.decide(snapshot, now)
        await self._effects.carry_out(held, snapshot, decision)
        self._look_again(held, snapshot, decision, now)

    def _tell_others(self, kind: str | None, item: JSONObject) -> None:
        """Queues the parent of an execution that has changed, and those that wait to resume it."""
        parent = self._children.seen(kind, item)
        if parent is not None and parent in self._keys:
            self._queue(parent, PRIORITY_POD)
        for uid in self._resumers.pop(key_of(item), ()):
            if uid in self._keys:
                self._queue(uid, PRIORITY_OBJECT)

    def _look_again(self, held: Working, snapshot: Snapshot, decision: Decision, now: datetime) -> None:
        """What the API server said to new pods is told at once; those that are held up are tried again later."""
        uid = held.uid
        if held.ended:
            self._queue(uid, PRIORITY_OBJECT)
            return
        if held.due is not None:
            self.loop.queue.add_after(uid, max(0.0, held.due - time.monotonic()))
        if len(self.pods.of(uid)) > KEPT_PODS:
            self.thinning.queue.add_after(uid, THINNING_PAUSE)
        held_up = {**self._creator.held(uid), **self._children.held(uid)}
        refused = {**self._creator.refused(uid), **self._children.refused(uid)}
        if refused != snapshot.refused or held_up.keys() != snapshot.held.keys():
            self._queue(uid, PRIORITY_POD)
        elif held_up:
            self.loop.queue.add_after(uid, self._creator.pause(uid))
        if any(value.waits is not None for value in snapshot.values.values()):
            self.loop.queue.add_after(uid, PAUSE)
        if decision.wake_at is not None:
            self.loop.queue.add_after(uid, (decision.wake_at - now).total_seconds())

    def close(self) -> None:
        """Ends what goes on beside the turns."""
        for held in (self._transfers, self._archive, self._values):
            held.close()

    # --- afterwards -----------------------------------------------------------------------------------------

    async def _thin_out(self, uid: str) -> None:
        held = self._working.get(uid)
        log_about(held.about if held is not None else None)
        if held is not None and held.written is not None:
            await self._cleaner.thin_out(held, held.written.tasks)

    def _forget(self, uid: str) -> None:
        self._keys.pop(uid, None)
        self._working.pop(uid, None)
        self._creator.forget(uid)
        self._values.forget(uid)
        self._archive.forget(uid)
        self._children.forget(uid)
        self._inline.forget(uid)
        self.approvals.forget(uid)
        self.limits.forget(uid)
        self._statuses.forget(uid)
        self.pods.forget(uid)
        self.closing.forget(uid)
        self.loop.queue.forget(uid)
