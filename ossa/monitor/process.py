"""What the process ossa-monitor runs, and when: consumers in each replica, the recorder in the one that leads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from ossa.api.base import JSONObject
from ossa.bus.connection import BusUnavailable, connect
from ossa.bus.consumer import Consumer, Handler, Pace
from ossa.bus.group import Group, parked_count, standings
from ossa.bus.messages import EVENTS, METRICS, Event, Message, Metric
from ossa.bus.room import drop_gone_consumers, make_room
from ossa.kube.client import ApiClient
from ossa.kube.config import KubeConfig
from ossa.monitor.announcer import Agents, Announcer
from ossa.monitor.metrics import Metrics
from ossa.monitor.outbox import Change, Sink, SinkUnavailable
from ossa.monitor.processors.alerts import AlertProcessor, Limits
from ossa.monitor.processors.keeping import Keeper
from ossa.monitor.recorder import Recorder
from ossa.monitor.recordssink import RecordsSink, Revisions
from ossa.monitor.settings import Settings
from ossa.monitor.spans import SpanSink
from ossa.store.records.migrate import migrated
from ossa.store.records.pool import Records
from ossa.store.records.retention import Partitioned, Retention, keep_up
from ossa.store.records.streams import write_events, write_metrics
from ossa.tracing import Tracing

log = logging.getLogger(__name__)

# Groups, by what they do with a stream.
TASKS_GROUP, METRICS_GROUP, ALERTS_GROUP = "tasks", "metrics", "alerts"
LOOK_SECONDS = 5.0
# Seconds that events wait for others to be told with them: somebody looks at them live.
EVENTS_LINGER = 0.005


@dataclass(frozen=True, slots=True)
class Part:
    """A processor: a group of a stream, the model of its messages, and what handles them.

    records: it needs PostgreSQL's schema, and is started once that is there.
    """

    stream: str
    group: str
    model: type[Message]
    handler: Handler[Any]
    records: bool = True


@dataclass(frozen=True, slots=True)
class Extras:
    """What other rooms bring: processors, loops beside them in each replica and in the one that leads, partitioned
    tables, and sinks of the recorder by name.
    """

    parts: Sequence[Part] = ()
    loops: Sequence[Callable[[], Awaitable[None]]] = ()
    led: Sequence[Callable[[], Awaitable[None]]] = ()
    tables: Sequence[Partitioned] = ()
    sinks: Mapping[str, Sink] = field(default_factory=dict)


def agents_of(revisions: Revisions) -> Agents:
    """Who runs the tasks of an Execution, as the revision says that it runs."""

    async def agents(execution: JSONObject) -> Mapping[str, str]:
        infos = await revisions.tasks(execution)
        return {name: info.agent for name, info in infos.items() if info.agent}

    return agents


class AfterMigration:
    """A sink that is away until the schema is there."""

    def __init__(self, sink: Sink, ready: asyncio.Event) -> None:
        self._sink, self._ready = sink, ready

    async def write(self, changes: Sequence[Change]) -> None:
        """See `Sink`."""
        self._check()
        await self._sink.write(changes)

    async def recorded(self) -> Mapping[str, Mapping[str, int]]:
        """See `Sink`."""
        self._check()
        return await self._sink.recorded()

    def _check(self) -> None:
        if not self._ready.is_set():
            raise SinkUnavailable("the schema is not there yet")


class Monitor:
    """One replica. An asynchronous context manager; `run` is called within it."""

    def __init__(
        self, config: KubeConfig, settings: Settings, metrics: Metrics, *, tracing: Tracing | None = None
    ) -> None:
        """tracing: where the orchestrator's spans are exported to; None: nowhere."""
        self._settings, self._metrics, self._tracing = settings, metrics, tracing
        self._stack = AsyncExitStack()
        self._migrated = asyncio.Event()
        self.bus: Redis = connect(settings.bus_url, name=f"ossa-monitor-{settings.name}")
        self.records = Records(settings.records_url, application="ossa-monitor")
        self.api = ApiClient(config)

    async def __aenter__(self) -> Monitor:
        await self._stack.enter_async_context(self.api)
        await self._stack.enter_async_context(self.records)
        self._stack.push_async_callback(self.bus.aclose)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def run(self, stopped: asyncio.Event, elected: Awaitable[int], extras: Extras | None = None) -> None:
        """Works until `stopped` is set; then batches that were begun are ended. Raises what a part of it raises.

        elected: is done once this replica leads.
        """
        extras = extras or Extras()
        alerts = AlertProcessor(self.bus, Limits(self._settings.approval_waits, self._settings.lag))
        parts = [
            Part(EVENTS, TASKS_GROUP, Event, Keeper(self.records, write_events)),
            Part(METRICS, METRICS_GROUP, Metric, Keeper(self.records, write_metrics)),
            Part(EVENTS, ALERTS_GROUP, Event, alerts, records=False),
            *extras.parts,
        ]
        consumers = [self._consumer(part) for part in parts]
        consuming = [
            asyncio.create_task(self._consume(part, consumer)) for part, consumer in zip(parts, consumers, strict=True)
        ]
        loops = [
            asyncio.create_task(self._migrate()),
            asyncio.create_task(self._look(alerts, sorted({part.stream for part in parts}))),
            asyncio.create_task(self._lead(elected, extras)),
            *(asyncio.create_task(_awaited(loop)) for loop in extras.loops),
        ]
        telling = asyncio.create_task(stopped.wait())
        try:
            await _first_failure_or([*consuming, *loops], telling)
        finally:
            await self._end(consumers, consuming, [*loops, telling])

    async def _end(
        self,
        consumers: Sequence[Consumer[Any]],
        consuming: Sequence[asyncio.Task[None]],
        loops: Sequence[asyncio.Task[Any]],
    ) -> None:
        """Cancels loops, and consumers once they have ended their batches or the time is over."""
        for consumer in consumers:
            consumer.stop()
        for task in loops:
            task.cancel()
        self._migrated.set()  # those that wait for it see that they are stopped
        await asyncio.wait(consuming, timeout=self._settings.drain_timeout)
        for task in consuming:
            task.cancel()
        await asyncio.gather(*consuming, *loops, return_exceptions=True)

    def _consumer(self, part: Part) -> Consumer[Any]:
        group = Group(self.bus, part.stream, part.group, self._settings.name)
        pace = Pace(batch=self._settings.batch, idle=self._settings.claim_after)
        return Consumer(group, part.model, part.handler, observer=self._metrics, pace=pace)

    async def _consume(self, part: Part, consumer: Consumer[Any]) -> None:
        if part.records:
            await self._migrated.wait()
        await consumer.run()

    async def _migrate(self) -> None:
        await migrated(self._settings.records_url)
        self._migrated.set()

    async def _lead(self, elected: Awaitable[int], extras: Extras) -> None:
        epoch = await elected
        self._metrics.leads()
        log.info("this replica records", extra={"epoch": epoch})
        recording = RecordsSink(self.records, self.api)
        sinks: dict[str, Sink] = {
            "records": AfterMigration(recording, self._migrated),
            "events": Announcer(self.bus, agents_of(recording.revisions)),
            **extras.sinks,
        }
        if self._tracing is not None:
            sinks["traces"] = SpanSink(self._tracing)
        recorder = Recorder(self.api, sinks, linger={"events": EVENTS_LINGER})
        self._metrics.outboxes(recorder.outboxes)
        async with asyncio.TaskGroup() as group:
            group.create_task(recorder.run())
            group.create_task(self._keep_up(extras.tables))
            for loop in extras.led:
                group.create_task(self._led(loop))

    async def _led(self, loop: Callable[[], Awaitable[None]]) -> None:
        await self._migrated.wait()
        await loop()

    async def _keep_up(self, tables: Sequence[Partitioned]) -> None:
        """Partitions, and what is older than kept."""
        await self._migrated.wait()
        held = self._settings
        retention = Retention(held.keep_executions, held.keep_tasks, held.keep_tasks, held.keep_metrics)
        await keep_up(self.records, (*retention.tables, *tables), retention)

    async def _look(self, alerts: AlertProcessor, streams: Sequence[str]) -> None:
        """At the groups, what was parked, and the room that there is, every few seconds."""
        while True:
            try:
                found = [one for stream in streams for one in await standings(self.bus, stream)]
                parked = [(stream, await parked_count(self.bus, stream)) for stream in streams]
                await make_room(self.bus, streams)
                for stream in streams:
                    await drop_gone_consumers(self.bus, stream)
                await alerts.look(found, parked)
                self._metrics.looked(found, parked, await alerts.firing())
            except BusUnavailable as error:
                self._metrics.away()
                log.warning("the bus is away", extra={"error": str(error)})
            await asyncio.sleep(LOOK_SECONDS)


async def _awaited(loop: Callable[[], Awaitable[None]]) -> None:
    await loop()


async def _first_failure_or(tasks: Sequence[asyncio.Task[None]], stopped: asyncio.Task[Any]) -> None:
    """Returns once `stopped` is done. Raises what one of the tasks raises before."""
    waiting: set[asyncio.Task[Any]] = {*tasks, stopped}
    while stopped in waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
