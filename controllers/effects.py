"""Carries decisions about executions out: what is created, written, deleted and said.

Pods are created as soon as they are decided; the status that tells of them is written a moment later, together with
what else happens until then. A crash in between loses nothing: each pod carries which attempt it is, and whoever finds
it takes it over. What starts the execution is written before its pods are made, and why a pod is deleted before it is.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from controllers.announce import announce
from controllers.approvals import Approvals
from controllers.children import Children
from controllers.cleaning import Cleaner
from controllers.creation import PodCreator
from controllers.deciding import Decider
from controllers.governance.judges import tell
from controllers.limits import Limits
from controllers.statuses import Statuses
from controllers.working import Working
from ossa.api.base import JSONObject
from ossa.engine.decide import Decision, decide
from ossa.engine.snapshot import Snapshot, lock_holders
from ossa.engine.states import EXECUTION_TERMINAL
from ossa.kube.client import ApiClient, ApiError
from ossa.kube.podstore import PodStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """Thin, and idempotent: any of it may have been done before, and is done again."""

    api: ApiClient
    pods: PodStore
    creator: PodCreator
    children: Children
    approvals: Approvals
    cleaner: Cleaner
    statuses: Statuses
    limits: Limits
    decider: Decider

    def seed(self, items: Iterable[JSONObject]) -> None:
        """Before anything is started, all that runs and all locks that are held are known."""
        for item in items:
            held = Working.of(item)
            uid, holders = held.uid, self._holders(held)
            if held.status.phase in EXECUTION_TERMINAL:
                self.limits.ended(uid, held.namespace, holders)
                continue
            pods, children = self.pods.of(uid).values(), self.children.of(uid)
            self.limits.seed(
                uid, held.namespace, tasks=held.status.tasks, pods=pods, children=children, holders=holders
            )

    async def carry_out(self, held: Working, snapshot: Snapshot, decision: Decision) -> None:
        """Does what was decided.

        Raises ApiError where not all of it could be done; what could is kept, and the rest is decided again.
        """
        before = held.status
        # At once, without giving way: nobody else may take the same room or the same lock.
        asked = (request.name for request in decision.children)
        children = {*snapshot.children, *self.children.in_flight(held.uid), *asked}
        self._take(held, decision, children)
        if decision.first:
            try:
                await self.statuses.write(held, decision.status)
            except ApiError:
                self.limits.update(held.uid, held.namespace, before.tasks, children, self._holders(held))
                raise
        elif decision.status is not before:
            self.statuses.postpone(held, decision.status)
        self.decider.keeps(decision)
        tell(held.execution, decision, self.decider.ruled)
        # Kept until they are said: where the write below meets a conflict they are not decided again.
        held.events += decision.events
        unsure = await self._create(held, snapshot, decision)
        told = (before.phase, before.error) != (decision.status.phase, decision.status.error)
        # Whoever waits for an Execution to start is told at once what is missing.
        urgent = told or decision.delete or held.events or before.phase == "Pending"
        if held.due is not None and (urgent or time.monotonic() >= held.due):
            await self.statuses.write(held, held.status)
        await self._finish(held, decision)
        if unsure is not None:
            raise unsure

    async def clean(self, held: Working, item: JSONObject) -> float | None:
        """Does what is due of an execution that has ended, and says in how many seconds there is more to do."""
        self.limits.ended(held.uid, held.namespace, self._holders(held))
        # The write of the end may have been the last thing that a dying reconciler did.
        seen = Snapshot(held.execution, pods=self.pods.of(held.uid), children=self.children.of(held.uid))
        await self._stop(held, decide(seen, datetime.now(UTC)))
        return await self.cleaner.clean(held, item)

    def _take(self, held: Working, decision: Decision, children: Collection[str]) -> None:
        uid, namespace, holders = held.uid, held.namespace, self._holders(held)
        if decision.status.phase in EXECUTION_TERMINAL:
            self.limits.ended(uid, namespace, holders)
            return
        if holders or self.limits.holds(uid) or decision.status.tasks is not held.status.tasks:
            self.limits.update(uid, namespace, decision.status.tasks, children, holders)
        self.limits.waits(uid, namespace, starved=decision.starved, rank=held.rank, locks=decision.wants)

    def _holders(self, held: Working) -> list[tuple[str, tuple[str, ...]]]:
        return list(lock_holders(self.pods.of(held.uid).values(), self.children.of(held.uid).values()))

    async def _create(self, held: Working, snapshot: Snapshot, decision: Decision) -> ApiError | None:
        """Asks for pods and children. The error where one may or may not exist now: it is asked for again."""
        self.creator.want(held.uid, decision.create)
        self.children.want(held.uid, decision.children)
        if snapshot.revision is None:
            return None
        try:
            await self.creator.create(held.uid, snapshot.revision)
            await self.children.create(held.uid, depth=held.depth + 1, parent=held.execution)
            for request in decision.approvals:
                await self.approvals.ask(request)
        except ApiError as error:
            return error  # what has been decided is written and told all the same
        return None

    async def _stop(self, held: Working, decision: Decision) -> None:
        """Pods are deleted, and children told."""
        for name in decision.delete:
            await self.cleaner.delete_pod(held.namespace, name)
        for change in decision.change:
            await self.children.change(held.namespace, change)

    async def _finish(self, held: Working, decision: Decision) -> None:
        await self._stop(held, decision)
        for verdict in decision.verdicts:
            await self.approvals.decide(held.namespace, verdict, datetime.now(UTC))
        item = self.statuses.current(held)
        if item is None:
            return
        while held.events:
            event = held.events[0]
            await announce(self.api, item, kind=event.type, reason=event.reason, message=event.message)
            held.events.remove(event)
        if held.ended:
            held.told = True
