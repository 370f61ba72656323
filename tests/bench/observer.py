"""The observer: a process that notes by its own watches and one clock what it sees in one namespace.

    .venv/bin/python -m tests.bench.observer NAMESPACE

One JSON array a line on stdout, times in seconds of CLOCK_MONOTONIC, which all processes of a machine share:

    ["ready"]                                    both watches have begun
    ["added" | "ended" | "gone", KEY, TIME]      a pod; KEY is EXECUTION/TASK/INDEX, or its name without an identity
    ["execution", NAME, PHASE, TIME, BYTES]      an Execution that has ended, and the size of its largest state as JSON
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import orjson

from ossa.api.contract import ANNOTATION_IDENTITY
from ossa.engine.states import EXECUTION_TERMINAL
from ossa.kube import paths
from ossa.kube.client import ApiClient
from ossa.kube.config import load_config
from ossa.kube.watch import list_and_watch

JSONObject = dict[str, Any]


class WatchLostError(Exception):
    """All was listed anew: what happened between has no times."""


def pod_key(item: JSONObject) -> str:
    """EXECUTION/TASK/INDEX of a worker pod, the name of any other."""
    text = (item["metadata"].get("annotations") or {}).get(ANNOTATION_IDENTITY)
    if text is None:
        return str(item["metadata"]["name"])
    identity = orjson.loads(text)
    return f"{identity['execution']}/{identity['task']}/{identity.get('index', 0)}"


def tell(*record: object) -> None:
    """A line for the parent."""
    sys.stdout.buffer.write(orjson.dumps(record) + b"\n")


class Sight:
    """A `Listener` that may be listed once."""

    def __init__(self) -> None:
        self.listed = asyncio.Event()

    def replaced(self, items: list[JSONObject], version: int) -> None:  # noqa: ARG002 - of the interface
        if self.listed.is_set():
            raise WatchLostError("the watch broke, and what was there was listed anew; measure again")
        self.listed.set()

    def advanced(self, version: int) -> None:
        """Nothing to do."""


class Pods(Sight):
    """Each pod's first sight, its end, and its removal."""

    def __init__(self) -> None:
        super().__init__()
        self._state: dict[str, str] = {}

    def changed(self, kind: str, item: JSONObject) -> None:
        now = time.monotonic()
        key = pod_key(item)
        before = self._state.get(key)
        if kind == "DELETED":
            tell("gone", key, now)
            return
        if before is None:
            self._state[key] = "added"
            tell("added", key, now)
        if before != "ended" and (item.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            self._state[key] = "ended"
            tell("ended", key, now)


class Executions(Sight):
    """The end of each execution."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes: dict[str, int] = {}
        self._ended: set[str] = set()

    def changed(self, kind: str, item: JSONObject) -> None:
        now = time.monotonic()
        name = item["metadata"]["name"]
        if kind == "DELETED" or name in self._ended:
            return
        self._bytes[name] = max(self._bytes.get(name, 0), len(orjson.dumps(item)))
        phase = (item.get("status") or {}).get("phase")
        if phase in EXECUTION_TERMINAL:
            self._ended.add(name)
            tell("execution", name, phase, now, self._bytes[name])


async def flush() -> None:
    """What was told leaves in small batches: a system call an event would cost more than the event."""
    while True:
        sys.stdout.buffer.flush()
        await asyncio.sleep(0.02)


async def serve(namespace: str) -> None:
    """Runs until it is ended."""
    pods, executions = Pods(), Executions()
    async with ApiClient(load_config()) as api, asyncio.TaskGroup() as group:
        group.create_task(flush())
        group.create_task(list_and_watch(api, paths.core("pods", namespace), {}, pods))
        group.create_task(list_and_watch(api, paths.ossa("executions", namespace), {}, executions))
        await asyncio.gather(pods.listed.wait(), executions.listed.wait())
        tell("ready")


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
