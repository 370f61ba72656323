"""What is left to do for an execution that has ended: to say so, to take its pods away, and in the end itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from controllers.announce import announce
from controllers.closing import Closing
from controllers.settings import Settings
from controllers.working import Working
from ossa.api.base import JSONObject
from ossa.api.contract import (
    ANNOTATION_REQUEST_ID,
    LABEL_BATCH,
    LABEL_EXECUTION_UID,
    LABEL_MANAGED_BY,
    LABEL_TASK,
    MANAGED_BY,
)
from ossa.api.execution import TaskStatus
from ossa.engine.batches import spare_batches
from ossa.engine.clock import from_text
from ossa.engine.decision import ending
from ossa.kube import paths
from ossa.kube.client import ApiClient, Conflict, NotFound
from ossa.kube.labels import label_value
from ossa.kube.podstore import PodStore

# How old an end may be for it to be announced again after a restart.
TOLD_AGAIN = timedelta(minutes=10)


class Cleaner:
    """Looks after ended executions."""

    def __init__(self, api: ApiClient, settings: Settings, pods: PodStore, closing: Closing) -> None:
        self._api = api
        self._settings = settings
        self._pods = pods
        self._closing = closing

    async def clean(self, held: Working, item: JSONObject) -> float | None:
        """Does what is due, and says in how many seconds there is more to do."""
        await self._tell_ending(held, item)
        ended = held.status.completed_at
        if ended is None:
            return None
        age = datetime.now(UTC) - from_text(ended)
        ttl = held.execution.spec.ttl_seconds_after_finished
        waits: list[float] = []
        if ttl is not None and age < timedelta(seconds=ttl):
            waits.append(ttl - age.total_seconds() + 1)
        elif ttl is not None and self._closing.may_go(
            held.uid, held.execution.metadata.annotations.get(ANNOTATION_REQUEST_ID)
        ):
            await self._delete_execution(held)
            return None
        waits += await self._delete_pods(held, age)
        return min(waits, default=None)

    async def thin_out(self, held: Working, written: Mapping[str, TaskStatus]) -> None:
        """Removes finished pods of a large forEach that is still running, batch by batch, once that is `written`."""
        for task, batch in spare_batches(written, self._pods.of(held.uid)):
            labels = f"{LABEL_TASK}={label_value(task)},{LABEL_BATCH}={batch}"
            await self._delete_all(held, "Succeeded", labels)

    async def delete_pod(self, namespace: str, name: str) -> None:
        """Deletes one pod, that may be gone already."""
        try:
            await self._api.delete(paths.core("pods", namespace, name))
        except NotFound:
            return

    async def _tell_ending(self, held: Working, item: JSONObject) -> None:
        """Says how it ended where a reconciler died between writing that and saying it."""
        ended = held.status.completed_at
        if held.told or ended is None:
            return
        if datetime.now(UTC) - from_text(ended) < TOLD_AGAIN:
            event = ending(held.status)
            await announce(self._api, item, kind=event.type, reason=event.reason, message=event.message)
        held.told = True

    async def _delete_execution(self, held: Working) -> None:
        path = paths.ossa("executions", held.namespace, held.execution.metadata.name)
        # Not a namesake that was made meanwhile, and not where its ttl was changed a moment ago.
        same = {"preconditions": {"uid": held.uid, "resourceVersion": held.version}}
        try:
            await self._api.delete(path, body=same)
        except (NotFound, Conflict):
            return

    async def _delete_pods(self, held: Working, age: timedelta) -> list[float]:
        """Removes its pods in two batches: the good ones soon, the failed ones late."""
        pods = self._pods.of(held.uid)
        waits: list[float] = []
        for phase, keep in (
            ("Succeeded", self._settings.keep_completed_pods),
            ("Failed", self._settings.keep_failed_pods),
        ):
            if not any(pod.phase == phase for pod in pods.values()):
                continue
            left = keep - age.total_seconds()
            if left > 0:
                waits.append(left + 1)
                continue
            await self._delete_all(held, phase)
        return waits

    async def _delete_all(self, held: Working, phase: str, *labels: str) -> None:
        selector = ",".join((f"{LABEL_MANAGED_BY}={MANAGED_BY}", f"{LABEL_EXECUTION_UID}={held.uid}", *labels))
        which = {"labelSelector": selector, "fieldSelector": f"status.phase={phase}"}
        await self._api.delete(paths.core("pods", held.namespace), which)
