"""What watches of our own tell of the namespace, and the one who approves."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from ossa.api.contract import ANNOTATION_EPOCH
from ossa.engine.states import EXECUTION_TERMINAL
from ossa.kube import paths
from ossa.kube.client import ApiClient, ApiError
from ossa.kube.config import KubeConfig
from ossa.kube.pods import identity_of
from ossa.kube.watch import list_and_watch
from tests.chaos.records import ExecutionSeen, PodSeen
from tests.chaos.workloads import APPROVER

JSONObject = dict[str, Any]


class Pods:
    """A `Listener` of worker pods: all that there ever were."""

    def __init__(self) -> None:
        self.seen: dict[str, PodSeen] = {}
        self.there: dict[str, JSONObject] = {}

    def replaced(self, items: list[JSONObject], version: int) -> None:  # noqa: ARG002 - of the interface
        self.there = {item["metadata"]["uid"]: item for item in items}
        for item in items:
            self._note(item, None)

    def changed(self, kind: str, item: JSONObject) -> None:
        uid = item["metadata"]["uid"]
        if kind == "DELETED":
            self.there.pop(uid, None)
            return
        self.there[uid] = item
        self._note(item, int(item["metadata"]["resourceVersion"]) if kind == "ADDED" else None)

    def advanced(self, version: int) -> None:
        """Nothing to do."""

    def _note(self, item: JSONObject, created: int | None) -> None:
        identity, metadata = identity_of(item), item["metadata"]
        if identity is not None and metadata["uid"] not in self.seen:
            epoch = int(metadata["annotations"][ANNOTATION_EPOCH])
            self.seen[metadata["uid"]] = PodSeen(metadata["name"], metadata["uid"], identity.uid, epoch, created)

    def of_phase(self, *phases: str) -> list[str]:
        """UIDs of those that are there, in an order that does not depend on chance."""
        held = [(i["metadata"]["name"], uid) for uid, i in self.there.items() if _phase(i) in phases and _stays(i)]
        return [uid for _, uid in sorted(held)]


def _phase(item: JSONObject) -> str:
    return str((item.get("status") or {}).get("phase", "Pending"))


def _stays(item: JSONObject) -> bool:
    return item["metadata"].get("deletionTimestamp") is None


class Executions:
    """A `Listener` of Executions: all that there ever were."""

    def __init__(self) -> None:
        self.seen: dict[str, ExecutionSeen] = {}
        self.progress = time.monotonic()  # when something new was seen last

    def replaced(self, items: list[JSONObject], version: int) -> None:  # noqa: ARG002 - of the interface
        for uid in self.seen.keys() - {item["metadata"]["uid"] for item in items}:
            self.seen[uid].gone = True
        for item in items:
            self._note(item, None)

    def changed(self, kind: str, item: JSONObject) -> None:
        self._note(item, int(item["metadata"]["resourceVersion"]) if kind == "ADDED" else None)
        if kind == "DELETED":
            self.seen[item["metadata"]["uid"]].gone = True

    def advanced(self, version: int) -> None:
        """Nothing to do."""

    def _note(self, item: JSONObject, created: int | None) -> None:
        metadata = item["metadata"]
        now, phase = time.monotonic(), (item.get("status") or {}).get("phase", "Pending")
        held = self.seen.get(metadata["uid"])
        if held is None:
            held = self.seen[metadata["uid"]] = ExecutionSeen(item, now, created)
        before, held.item = held.status, item
        if not held.phases or held.phases[-1][0] != phase:
            held.phases.append((phase, now, int(metadata["resourceVersion"])))
        if before != held.status:
            self.progress = now

    def named(self, name: str) -> ExecutionSeen | None:
        """The newest of this name."""
        found = [held for held in self.seen.values() if held.name == name]
        return found[-1] if found else None

    def unfinished(self) -> list[ExecutionSeen]:
        """Those that are there and have not ended."""
        return [held for held in self.seen.values() if not held.gone and not held.finished]

    def ended(self) -> int:
        """How many have ended."""
        return sum(held.status.get("phase") in EXECUTION_TERMINAL for held in self.seen.values())


class Person(ApiClient):
    """A client that acts as another user, who may do everything that admission lets them."""

    def __init__(self, config: KubeConfig, name: str) -> None:
        super().__init__(config)
        self._name = name

    def _headers(self) -> dict[str, str]:
        return {**super()._headers(), "Impersonate-User": self._name, "Impersonate-Group": "system:masters"}


class Approver:
    """A `Listener` of Approvals that approves each of them a moment later."""

    def __init__(self, api: Person) -> None:
        self._api = api
        self._asked: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def replaced(self, items: list[JSONObject], version: int) -> None:  # noqa: ARG002 - of the interface
        for item in items:
            self.changed("ADDED", item)

    def changed(self, kind: str, item: JSONObject) -> None:
        uid = item["metadata"]["uid"]
        if kind == "DELETED" or uid in self._asked:
            return
        self._asked.add(uid)
        task = asyncio.create_task(self._approve(item["metadata"]["namespace"], item["metadata"]["name"]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def advanced(self, version: int) -> None:
        """Nothing to do."""

    async def _approve(self, namespace: str, name: str) -> None:
        entry = {"decisions": {APPROVER: {"verdict": "Approved"}}}
        for _ in range(60):
            await asyncio.sleep(1.0)
            try:
                await self._api.patch(paths.ossa("approvals", namespace, name), entry)
            except ApiError as error:
                if not error.transient:
                    return  # it was decided, or is gone
            else:
                return


async def watch(api: ApiClient, person: Person, namespace: str, pods: Pods, executions: Executions) -> None:
    """Runs until cancelled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(list_and_watch(api, paths.core("pods", namespace), {}, pods))
        group.create_task(list_and_watch(api, paths.ossa("executions", namespace), {}, executions))
        group.create_task(list_and_watch(person, paths.ossa("approvals", namespace), {}, Approver(person)))
