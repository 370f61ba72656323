"""Every worker pod that a namespace has ever had, from a watch: what a list would no longer show."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from ossa.api.contract import LABEL_MANAGED_BY, MANAGED_BY
from ossa.engine.snapshot import PodView
from ossa.kube import paths
from ossa.kube.client import ApiClient
from ossa.kube.pods import identity_of, pod_view
from ossa.kube.watch import list_and_watch
from tests.e2e.harness.waiting import PATIENCE, NotYet


class PodRecorder:
    """Pods by their UIDs: a name that is used twice shows as two."""

    def __init__(self) -> None:
        self.pods: dict[str, PodView] = {}  # as they were when they were last seen
        self.executions: dict[str, str] = {}  # their names, by the pods' UIDs
        self.ran: set[str] = set()  # those whose `main` was seen to run, or to have ended
        self.listed = asyncio.Event()
        self._changed = asyncio.Event()

    def replaced(self, items: list[dict[str, Any]], version: int) -> None:  # noqa: ARG002 - of the interface
        for item in items:
            self.changed("ADDED", item)
        self.listed.set()

    def changed(self, kind: str, item: dict[str, Any]) -> None:  # noqa: ARG002 - the last state of a deleted pod counts
        identity = identity_of(item)
        if identity is None:
            return
        view = pod_view(item, identity)
        self.pods[view.uid] = view
        self.executions[view.uid] = identity.execution
        if view.phase == "Running" or view.exit_code is not None:
            self.ran.add(view.uid)
        self._changed.set()

    def advanced(self, version: int) -> None:
        """Nothing to do."""

    def of_task(self, task: str) -> list[PodView]:
        """The pods that a task has ever had, oldest first."""
        return sorted((pod for pod in self.pods.values() if pod.task == task), key=lambda pod: pod.attempt)

    def by_task(self, execution: str) -> dict[str, list[PodView]]:
        """The pods that all tasks of an execution have ever had."""
        found: dict[str, list[PodView]] = defaultdict(list)
        for pod in (pod for pod in self.pods.values() if self.executions[pod.uid] == execution):
            found[pod.task].append(pod)
        return found

    def running(self) -> list[PodView]:
        """Those that run, as far as is known."""
        return [pod for pod in self.pods.values() if pod.phase == "Running" and not pod.ended]

    async def until(self, reached: Callable[[PodRecorder], bool], what: str, *, patience: float = PATIENCE) -> None:
        """Waits for a moment, and returns within the same turn of the event loop."""
        try:
            async with asyncio.timeout(patience):
                while not reached(self):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError as error:
            raise NotYet(f"waited {patience:g} s in vain for {what}; pods: {list(self.pods.values())}") from error

    async def until_all_ended(self) -> None:
        """Waits for the end of all pods that there have been."""
        await self.until(lambda seen: all(pod.ended for pod in seen.pods.values()), "all pods to end")


@asynccontextmanager
async def recorded(api: ApiClient, namespace: str) -> AsyncIterator[PodRecorder]:
    """A recorder of the namespace's worker pods; it watches from before it is handed out."""
    recorder = PodRecorder()
    selector = {"labelSelector": f"{LABEL_MANAGED_BY}={MANAGED_BY}"}
    watching = asyncio.create_task(list_and_watch(api, paths.core("pods", namespace), selector, recorder))
    try:
        await asyncio.wait_for(recorder.listed.wait(), PATIENCE)
        yield recorder
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
