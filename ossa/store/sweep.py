"""Artifacts live as long as their Execution, and a little longer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

from ossa.store.access import Access
from ossa.store.blobs import Blobs, Folder
from ossa.store.errors import Problem
from ossa.store.metrics import Metrics

_log = logging.getLogger("ossa.store.sweep")


class Sweeper:
    """Deletes what executions left that have been gone for `grace` seconds, as far as this process saw."""

    def __init__(
        self, blobs: Blobs, access: Access, *, grace: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._blobs = blobs
        self._access = access
        self._grace = grace
        self._clock = clock
        self._gone_since: dict[Folder, float] = {}

    async def sweep(self) -> list[Folder]:
        """One round; what was deleted. Raises Unavailable before anything is deleted in doubt."""
        # Folders first: what is there now had its execution before, so the list that follows would hold it.
        folders = await self._blobs.folders()
        living = {
            namespace: _living(await self._access.lineages(namespace))
            for namespace in {folder.namespace for folder in folders}
        }
        now = self._clock()
        gone = [folder for folder in folders if folder.execution_uid not in living[folder.namespace]]
        self._gone_since = {folder: self._gone_since.get(folder, now) for folder in gone}
        due = [folder for folder, since in self._gone_since.items() if now - since >= self._grace]
        for folder in due:
            await self._blobs.delete(folder)
            _log.info("deleted the artifacts of the execution %s, which is gone", folder.path())
        return due


def _living(lineages: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    """Executions that are there, and those of which one that is there has artifacts."""
    return frozenset(lineages) | {uid for others in lineages.values() for uid in others}


async def keep_sweeping(sweeper: Sweeper, *, interval: float, metrics: Metrics) -> None:
    """A round every `interval` seconds, for ever."""
    while True:
        await asyncio.sleep(interval)
        try:
            metrics.swept.inc(len(await sweeper.sweep()))
        except Problem as problem:
            _log.warning("no sweep this time: %s", problem.detail)
