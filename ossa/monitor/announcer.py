"""The sink that tells the bus what becomes of the resources.

What was told last is kept in Redis beside it, in the same transaction: a hash a kind, resourceVersion by UID. So one
that starts anew, or does not know whether its last batch arrived, tells nothing twice, and all that was missed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from ossa.api.base import JSONObject
from ossa.bus.connection import BusUnavailable, reaching
from ossa.bus.messages import EVENTS, METRICS, Event
from ossa.bus.publisher import Posting, Publisher
from ossa.monitor.approvalchanges import approval_events
from ossa.monitor.changes import Cast, channels_of, execution_events
from ossa.monitor.measures import metrics_of
from ossa.monitor.outbox import Change, SinkUnavailable

EXECUTIONS: Final = "executions"
APPROVALS: Final = "approvals"
TOLD = (EXECUTIONS, APPROVALS)
# Commands that one transaction holds: what other clients of Redis wait for.
CHUNK = 1000
# The agents that run the tasks of an Execution, by task.
Agents = Callable[[JSONObject], Awaitable[Mapping[str, str]]]


def told_key(kind: str) -> str:
    """The hash that holds what was told last of each object of a kind."""
    return f"ossa:told:{kind}"


class Announcer:
    """Writes events, measurements, and what is published live. `Sink` says how it is called."""

    def __init__(self, client: Redis, agents: Agents) -> None:
        self._client = client
        self._publisher = Publisher(client)
        self._agents = agents
        self._judges: dict[str, tuple[str, str]] = {}  # namespace and name of Agents of type judge, by UID

    async def write(self, changes: Sequence[Change]) -> None:
        """See `Sink`."""
        try:
            told = await self._told(changes)
            pipeline = self._client.pipeline(transaction=True)
            for change in changes:
                if change.kind == "agents":
                    self._learn(change)
                elif change.kind in TOLD:
                    await self._tell(pipeline, change, told)
            await self._send(pipeline)
        except BusUnavailable as error:
            raise SinkUnavailable(str(error)) from error

    async def recorded(self) -> Mapping[str, Mapping[str, int]]:
        """See `Sink`."""
        try:
            with reaching("what was told cannot be read"):
                found: dict[str, dict[Any, Any]] = {kind: await self._client.hgetall(told_key(kind)) for kind in TOLD}
        except BusUnavailable as error:
            raise SinkUnavailable(str(error)) from error
        return {kind: {uid.decode(): int(version) for uid, version in held.items()} for kind, held in found.items()}

    async def _told(self, changes: Sequence[Change]) -> dict[str, int]:
        """What was told last of those that change, by UID."""
        told: dict[str, int] = {}
        for kind in TOLD:
            uids = sorted({change.uid for change in changes if change.kind == kind})
            if not uids:
                continue
            with reaching("what was told cannot be read"):
                found = await self._client.hmget(told_key(kind), uids)
            told |= {uid: int(version) for uid, version in zip(uids, found, strict=True) if version is not None}
        return told

    async def _tell(self, pipeline: Pipeline, change: Change, told: dict[str, int]) -> None:
        """Adds what a change says. `told` is kept up: one object may change twice in a batch."""
        last = told.get(change.uid, -1)
        if last >= change.version if change.now is not None else change.uid not in told:
            return
        before = change.before
        if before is not None and change.now is not None and int(before["metadata"]["resourceVersion"]) != last:
            before = None  # it is not what was told last
        events = await self._events(change, before)
        postings = [Posting(event, EVENTS, channels_of(event)) for event in events]
        if change.kind == EXECUTIONS:
            postings += [Posting(metric, METRICS) for metric in metrics_of(events, change.now)]
        for posting in postings:
            self._publisher.put(pipeline, posting)
            if len(pipeline) >= CHUNK:
                await self._send(pipeline)
        if change.now is None:
            pipeline.hdel(told_key(change.kind), change.uid)
            told.pop(change.uid, None)
        else:
            pipeline.hset(told_key(change.kind), change.uid, str(change.version))
            told[change.uid] = change.version

    async def _events(self, change: Change, before: JSONObject | None) -> list[Event]:
        seen = datetime.now(UTC)
        if change.kind == APPROVALS:
            return approval_events(before, change.now, version=change.version, seen=seen)
        cast = await self._cast(change.now) if change.now is not None else Cast()
        return execution_events(before, change.now, version=change.version, seen=seen, cast=cast)

    async def _cast(self, execution: JSONObject) -> Cast:
        namespace = execution["metadata"]["namespace"]
        judges = frozenset(name for held, name in self._judges.values() if held == namespace)
        return Cast(await self._agents(execution), judges)

    def _learn(self, change: Change) -> None:
        """Which Agents judge. All are told at the start, before the Executions that they run in."""
        self._judges.pop(change.uid, None)
        if change.now is not None and change.now["spec"].get("type") == "judge":
            self._judges[change.uid] = change.now["metadata"]["namespace"], change.now["metadata"]["name"]

    async def _send(self, pipeline: Pipeline) -> None:
        """Sends what a pipeline holds, which is empty afterwards."""
        if len(pipeline):
            with reaching("events were not told"):
                await pipeline.execute()
