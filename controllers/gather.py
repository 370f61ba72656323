"""Gathers all that a decision about an execution is made from."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from controllers.approvals import Approvals
from controllers.archive import Archive, ArchiveLost
from controllers.cache import Key, ObjectCache
from controllers.children import Children, given_by
from controllers.creation import PodCreator
from controllers.inline import InlineWorkflows
from controllers.limits import Limits
from controllers.outages import OutageLog
from controllers.revisions import Revisions
from controllers.values import Values
from controllers.working import Working
from ossa.api.artifact import ArtifactRef
from ossa.api.contract import MAIN_CONTAINER
from ossa.api.execution import Execution
from ossa.engine.authors import authors_of
from ossa.engine.decision import Decision
from ossa.engine.rulings import Judge
from ossa.engine.snapshot import Snapshot, Source, WorkflowView
from ossa.engine.states import EXECUTION_TERMINAL
from ossa.kube import paths
from ossa.kube.client import ApiClient, ApiError, NotFound
from ossa.kube.podstore import PodStore
from ossa.store.signing import Signer

log = logging.getLogger(__name__)

LOG_LINES = "20"
LOG_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Gatherer:
    """What it looks at. `epoch` is the life of this reconciler."""

    api: ApiClient
    executions: ObjectCache
    workflows: ObjectCache
    revisions: Revisions
    pods: PodStore
    creator: PodCreator
    children: Children
    approvals: Approvals
    limits: Limits
    outages: OutageLog
    signer: Signer
    archive: Archive
    values: Values
    inline: InlineWorkflows
    epoch: int
    judge_of: Callable[[Execution], Judge]

    async def snapshot(self, held: Working) -> Snapshot:
        """Everything that is known of an execution and of the world around it."""
        metadata, status, uid = held.execution.metadata, held.status, held.uid
        view, source, name = None, None, status.revision
        if status.phase == "Pending":
            source = await self._source(held)
            if source is None and held.execution.spec.workflow_spec is not None:
                view = await self.inline.view(held.execution)
            elif source is None:
                view = await self._workflow(Key(metadata.namespace, held.execution.spec.workflow_name))
            chosen = view.revision if view is not None else None
            name = source.revision if source is not None else chosen
        return Snapshot(
            execution=held.execution,
            workflow=view,
            revision=await self.revisions.load(metadata.namespace, name) if name is not None else None,
            pods=self.pods.of(uid),
            in_flight=self.pods.in_flight(uid) | self.children.in_flight(uid),
            held={**self.creator.held(uid), **self.children.held(uid)},
            refused={**self.creator.refused(uid), **self.children.refused(uid)},
            values=self.values.of(uid),
            outages=self.outages.outages,
            issued=self._issued(metadata.namespace, uid),
            epoch=self.epoch,
            slots=self.limits.slots(uid, metadata.namespace),
            held_locks=self.limits.held_locks(uid, metadata.namespace),
            children=self.children.of(uid),
            approvals=self.approvals.of(uid),
            source=source,
            given_by=given_by(held.execution, self.signer) if status.phase == "Pending" else (),
            depth=held.depth,
            unreadable=held.unreadable,
            judge=self.judge_of(held.execution),
        )

    async def with_more(self, snapshot: Snapshot, decision: Decision) -> Snapshot:
        """The same with what a decision asks for: last lines of logs, and lists in the artifact service."""
        metadata, names = snapshot.execution.metadata, decision.need_logs
        tails = await asyncio.gather(*(self._log_tail(metadata.namespace, name) for name in names))
        # What has been taken over in this very turn is not written yet.
        uids = (metadata.uid, *(decision.status.lineage or ()))
        values = await self.values.read(metadata.namespace, uids, decision.need_values)
        return replace(
            snapshot,
            log_tails={**snapshot.log_tails, **dict(zip(names, tails, strict=True))},
            values={**snapshot.values, **values},
            # Others went on meanwhile.
            slots=self.limits.slots(metadata.uid, metadata.namespace),
            held_locks=self.limits.held_locks(metadata.uid, metadata.namespace),
        )

    async def _workflow(self, key: Key) -> WorkflowView | None:
        item = self.workflows.get(key)
        if item is None:
            # The watches of the kinds start at different moments: ask before saying that it is not there.
            try:
                item = await self.api.get(paths.ossa("workflows", key.namespace, key.name))
            except NotFound:
                return None
        status = item.get("status") or {}
        return WorkflowView(
            phase=status.get("phase", "Draft"),
            revision=status.get("revision"),
            message=status.get("message"),
            current=status.get("observedGeneration") == item["metadata"]["generation"],
        )

    async def _source(self, held: Working) -> Source | None:
        """What spec.retryOf names."""
        name, namespace = held.execution.spec.retry_of, held.namespace
        if name is None:
            return None
        item = self.executions.get(Key(namespace, name))
        if item is None or (item.get("status") or {}).get("phase") in EXECUTION_TERMINAL:
            try:
                item = await self.api.get(paths.ossa("executions", namespace, name))  # the cache keeps only a part
            except NotFound:
                return Source(f"there is no Execution {name!r} in this namespace")
        found = Execution.model_validate(item)
        if found.status.phase not in EXECUTION_TERMINAL or not found.status.revision:
            why = "what has failed after it started can be resumed"
            return Source(f"Execution {name!r} is {found.status.phase}; {why}")
        try:
            status, _ = await self.archive.unpack(namespace, found.metadata.uid, found.status)
        except ArchiveLost as error:
            return Source(f"of Execution {name!r}, {error}")
        return Source(
            uid=found.metadata.uid,
            lineage=tuple(status.lineage or ()),
            workflow=found.spec.workflow_name,
            inline=found.spec.workflow_spec,
            revision=status.revision,
            inputs=status.inputs or {},
            tasks=status.tasks,
            policies=status.policies or {},
            authors=authors_of(found.metadata.annotations, status.authors),
        )

    def _issued(self, namespace: str, uid: str) -> Callable[[ArtifactRef, str], bool]:
        def issued(reference: ArtifactRef, pod_uid: str) -> bool:
            return self.signer.verify(reference, namespace=namespace, execution_uid=uid, pod_uid=pod_uid)

        return issued

    async def _log_tail(self, namespace: str, pod: str) -> str:
        params = {"container": MAIN_CONTAINER, "tailLines": LOG_LINES}
        try:
            text = await self.api.text(paths.core("pods", namespace, pod, "log"), params)
        except ApiError as error:
            # A container that never started and a node that is gone have none: neither may hold up the verdict.
            log.info("no log", extra={"pod": pod, "error": str(error)})
            return ""
        return text[-LOG_BYTES:]
