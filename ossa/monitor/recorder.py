"""Writes down what becomes of the resources: watches them, and keeps each sink up with them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from ossa.kube.client import ApiClient
from ossa.monitor.outbox import Outbox, Sink
from ossa.monitor.watching import Watching


class Recorder:
    """Run by the leader alone. Two at once, while a new one takes over, do no harm: writes are idempotent."""

    def __init__(self, api: ApiClient, sinks: Mapping[str, Sink], *, linger: Mapping[str, float] | None = None) -> None:
        """linger: seconds that changes wait for others to be written with them, by sink."""
        seconds = linger or {}
        self._api = api
        self.outboxes = [Outbox(name, sink, linger=seconds.get(name)) for name, sink in sinks.items()]
        self.watching = Watching(self.outboxes)

    async def run(self) -> None:
        """Runs until cancelled. What fails here, but for a sink that is away, ends the process."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.watching.run(self._api))
            for outbox in self.outboxes:
                group.create_task(self._write(outbox))

    async def _write(self, outbox: Outbox) -> None:
        await self.watching.synced.wait()
        await outbox.run(self.watching.current)
