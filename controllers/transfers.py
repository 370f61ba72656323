"""Uploads of values of executions, in the background: a slow artifact service holds up nobody for long."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Callable

from ossa.api.artifact import ArtifactRef
from ossa.store.client import ArtifactClient
from ossa.store.errors import Unavailable

# Seconds that a turn waits for a transfer; a service that is well takes a few hundredths.
PATIENCE = 1.0
# References that are remembered an execution: many pods of a forEach are given the same value.
KEPT = 256


class Transfers:
    """`wake` is told of an execution for which a transfer has ended after nobody waited for it any more."""

    def __init__(self, artifacts: ArtifactClient, wake: Callable[[str], None]) -> None:
        self._artifacts = artifacts
        self._wake = wake
        self._running: dict[str, dict[str, asyncio.Task[ArtifactRef]]] = defaultdict(dict)
        self._stored: dict[str, dict[str, ArtifactRef]] = defaultdict(dict)

    async def store(self, namespace: str, uid: str, body: bytes, media_type: str) -> ArtifactRef:
        """The reference to the bytes. What this process has stored for the execution already is not stored again.

        Raises Problem; Unavailable also where it is still on its way: ask again.
        """
        key = f"{media_type} {hashlib.sha256(body).hexdigest()}"
        stored, running = self._stored[uid], self._running[uid]
        if key in stored:
            return stored[key]
        task = running.get(key)
        if task is None:
            task = asyncio.create_task(self._artifacts.put(namespace, uid, body, media_type=media_type))
            running[key] = task
        done, _ = await asyncio.wait({task}, timeout=PATIENCE)
        if not done:
            task.add_done_callback(lambda _: self._wake(uid))
            raise Unavailable("it is being stored in the artifact service, which takes long")
        if running.get(key) is task:
            del running[key]
        stored[key] = task.result()
        while len(stored) > KEPT:
            del stored[next(iter(stored))]
        return task.result()

    def forget(self, uid: str) -> None:
        """The execution has ended or is gone."""
        self._stored.pop(uid, None)
        for task in self._running.pop(uid, {}).values():
            task.add_done_callback(_heard)
            task.cancel()


def _heard(task: asyncio.Task[ArtifactRef]) -> None:
    """Nobody asks for its outcome any more; asyncio would complain."""
    if not task.cancelled():
        task.exception()
