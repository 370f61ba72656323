"""A fake node that plays worker pods by their input, as a kubelet would, and may go away and come back."""

from __future__ import annotations

import asyncio
import sys
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import orjson

from ossa.api.contract import ANNOTATION_EPOCH, ANNOTATION_INPUT, MAIN_CONTAINER
from ossa.kube import paths
from ossa.kube.client import ApiClient, ApiError, Conflict, NotFound
from ossa.kube.pods import identity_of
from ossa.kube.watch import list_and_watch
from tests.bench.node import LEASES, node_object
from tests.bench.workloads import IMAGE
from tests.chaos.model import Behaviour, behaviour
from tests.chaos.records import Run
from tests.chaos.workloads import NODE_LABEL

JSONObject = dict[str, Any]

RENEW_SECONDS = 2.0
KILLED = 137
GRACE_SECONDS = 3.0


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def status_of(phase: str, state: JSONObject, now: str) -> JSONObject:
    """The patch of a pod's status by which a kubelet tells of `main`."""
    main = {
        "name": MAIN_CONTAINER,
        "image": IMAGE,
        "imageID": "",
        "ready": phase == "Running",
        "restartCount": 0,
        "state": state,
    }
    return {"status": {"phase": phase, "startTime": now, "containerStatuses": [main]}}


def ended_state(code: int, message: str, began: str, now: str) -> JSONObject:
    """`main` has exited."""
    reason = "Completed" if code == 0 else "Error"
    ended = {"exitCode": code, "reason": reason, "message": message, "startedAt": began, "finishedAt": now}
    return {"terminated": ended}


class FakeNode:
    """A `Listener` of the pods that are bound to it. `runs` is its record."""

    def __init__(self, api: ApiClient, namespace: str, name: str, runs: list[Run]) -> None:
        self.name = name
        self._api = api
        self._namespace = namespace
        self._runs = runs
        self._reached = asyncio.Event()  # whether it and the API server reach each other
        self._reached.set()
        self._ready = True
        self._pods: dict[str, _Pod] = {}
        self._exposed: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    # --- what happens to it ---------------------------------------------------------------------------------

    def vanish(self) -> None:
        """It is cut off: its pods run on, and it neither hears nor says anything."""
        self._reached.clear()

    async def come_back(self) -> None:
        """It says how its pods are, and hears what it missed."""
        self._reached.set()
        await self.say_ready(ready=True)

    async def say_ready(self, *, ready: bool) -> None:
        """Its own word about itself, as a kubelet has it whose container runtime does not answer."""
        self._ready = ready
        await self._until_done(self._register)

    def trouble_begins(self) -> None:
        """From now on `exposed` counts."""
        self._exposed = set(self._pods)

    def exposed(self) -> set[str]:
        """UIDs of the pods that were on it when its trouble began, and that came since.

        Those that had ended too: the eviction that follows a taint deletes them as well, whether or not a reconciler
        has read how they ended.
        """
        return self._exposed

    # --- its own work ---------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Runs until cancelled."""
        await self._until_done(self._register)
        selector = {"fieldSelector": f"spec.nodeName={self.name}"}
        async with asyncio.TaskGroup() as group:
            group.create_task(self._beat())
            group.create_task(list_and_watch(self._api, paths.core("pods", self._namespace), selector, self))

    async def _register(self) -> None:
        node = node_object(self.name, {NODE_LABEL: "fake"})
        with suppress(Conflict):
            await self._api.post(paths.core("nodes"), node)
        (ready,) = node["status"]["conditions"]
        condition = {**ready, "status": "True" if self._ready else "False"}
        path = paths.core("nodes", name=self.name, sub="status")
        await self._api.patch(path, {"status": {"conditions": [condition]}})

    async def _beat(self) -> None:
        while True:
            await self._until_done(self._renew)
            await asyncio.sleep(RENEW_SECONDS)

    async def _renew(self) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": self.name, "leaseDurationSeconds": 40, "renewTime": now}
        try:
            await self._api.patch(f"{LEASES}/{self.name}", {"spec": spec})
        except NotFound:
            lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": self.name}}
            await self._api.post(LEASES, {**lease, "spec": spec})

    def replaced(self, items: list[JSONObject], version: int) -> None:  # noqa: ARG002 - of the interface
        there = {item["metadata"]["uid"] for item in items}
        for uid in set(self._pods) - there:
            self._pods.pop(uid).gone()
        for item in items:
            self.changed("ADDED", item)

    def changed(self, kind: str, item: JSONObject) -> None:
        uid = item["metadata"]["uid"]
        if kind == "DELETED":
            if uid in self._pods:
                self._pods.pop(uid).gone()
            return
        if uid not in self._pods:
            ended = (item.get("status") or {}).get("phase") in ("Succeeded", "Failed")
            self._exposed.add(uid)
            pod = self._pods[uid] = _Pod(item, self._say, self._until_done, self._start, idle=ended)
            self._spawn(pod.play())
        if item["metadata"].get("deletionTimestamp"):
            self._spawn(self._pods[uid].leave())

    def advanced(self, version: int) -> None:
        """Nothing to do."""

    def _start(self, run: Run) -> None:
        run.node = self.name
        self._runs.append(run)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _say(self, name: str, status: JSONObject | None) -> None:
        """Writes a status, or with None removes the pod."""
        path = paths.core("pods", self._namespace, name)

        async def call() -> None:
            if status is None:
                await self._api.delete(path, {"gracePeriodSeconds": "0"})
            else:
                await self._api.patch(f"{path}/status", status)

        await self._until_done(call)

    async def _until_done(self, call: Callable[[], Awaitable[None]]) -> None:
        """Until it succeeded, or what it is about is gone, as a kubelet does."""
        pause = 0.05
        while True:
            await self._reached.wait()
            try:
                return await call()
            except NotFound:
                return None
            except ApiError as error:
                if not error.transient and not isinstance(error, Conflict):
                    print(f"{self.name}: {error}", file=sys.stderr)
            await asyncio.sleep(pause)
            pause = min(1.0, pause * 2)


class _Pod:
    """One pod on the node."""

    def __init__(
        self,
        item: JSONObject,
        say: Callable[[str, JSONObject | None], Awaitable[None]],
        until_done: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]],
        start: Callable[[Run], None],
        *,
        idle: bool,
    ) -> None:
        self.run: Run | None = None
        self._item = item
        self._say = say
        self._until_done = until_done
        self._start = start
        self._stop = asyncio.Event()  # it is to end
        self._over = asyncio.Event()  # it has ended, and that is said
        self._leaving = False
        self._idle = idle
        if idle:
            self._over.set()

    async def play(self) -> None:
        """From its start to its end; both are said."""
        if self._idle:
            return
        await self._until_done(_nothing)  # a node that is cut off does not hear of new pods
        run, plan = _read(self._item)
        if self._stop.is_set() or run is None:
            self._over.set()
            return
        self.run = run
        self._start(run)
        began = _now()
        await self._say(run.pod, status_of("Running", {"running": {"startedAt": began}}, began))
        try:
            async with asyncio.timeout(max(0.0, run.started + plan.seconds - time.monotonic())):
                await self._stop.wait()
            code = KILLED
        except TimeoutError:
            code = plan.code
        if run.ended is None:
            run.end("killed" if code == KILLED else "failed" if code else "succeeded")
            message = orjson.dumps(plan.output).decode() if code == 0 else f"exit {code}"
            phase = "Failed" if code else "Succeeded"
            await self._say(run.pod, status_of(phase, ended_state(code, message, began, _now()), began))
        self._over.set()

    async def leave(self) -> None:
        """It is being deleted: it ends within its grace, says so (most times), and is removed."""
        if self._leaving:
            return
        self._leaving = True
        await self._until_done(_nothing)
        name = self._item["metadata"]["name"]
        drawn = zlib.crc32(self._item["metadata"]["uid"].encode()) % 3
        if drawn != 1 and self.run is not None:
            # It does not care for the signal, and ends well if that takes it no longer than its grace.
            with suppress(TimeoutError):
                async with asyncio.timeout(GRACE_SECONDS if drawn == 0 else GRACE_SECONDS / 3):
                    await self._over.wait()
        if drawn == 1 and self.run is not None:
            self.run.end("killed")
        self._stop.set()
        if drawn != 1:
            await self._over.wait()
        await self._say(name, None)

    def gone(self) -> None:
        """Its object is gone: whatever it did, it is over."""
        if self.run is not None:
            self.run.end("killed")
        self._leaving = True
        self._stop.set()


async def _nothing() -> None:
    """To wait for the API server to be in reach."""


def _read(item: Mapping[str, Any]) -> tuple[Run | None, Behaviour]:
    """What the pod is, and what it does."""
    identity, metadata = identity_of(item), item["metadata"]
    if identity is None:
        return None, Behaviour(0.0, 0, {})
    value = orjson.loads(metadata["annotations"][ANNOTATION_INPUT])
    run = Run(
        pod=metadata["name"],
        uid=metadata["uid"],
        execution=identity.execution,
        execution_uid=identity.uid,
        task=identity.task,
        index=identity.index,
        round=identity.round,
        attempt=identity.attempt,
        lost=identity.lost,
        epoch=int(metadata["annotations"][ANNOTATION_EPOCH]),
        locks=identity.locks,
        node="",
        started=time.monotonic(),
    )
    return run, behaviour(value, attempt=identity.attempt - identity.lost, round_=identity.round)
