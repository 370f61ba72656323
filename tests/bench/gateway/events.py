"""Events through the processors, and how far the records and the bus are behind at 100 tasks a second.

Redis, PostgreSQL, what produces and what consumes share the machine: in production they do not.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

from redis.asyncio import Redis as Client

from ossa.api.base import JSONObject
from ossa.bus.connection import BLOCK_SECONDS, connect
from ossa.bus.consumer import Consumer
from ossa.bus.group import Group, parked_count, standings
from ossa.bus.messages import EVENTS, METRICS, Event, Metric
from ossa.bus.publisher import Posting, Publisher
from ossa.bus.reader import Reader
from ossa.kube.client import ApiClient
from ossa.kube.config import KubeConfig
from ossa.monitor.announcer import Announcer
from ossa.monitor.outbox import Outbox
from ossa.monitor.process import EVENTS_LINGER
from ossa.monitor.processors.alerts import AlertProcessor, Limits
from ossa.monitor.processors.keeping import Keeper
from ossa.monitor.recordssink import RecordsSink
from ossa.monitor.states import State
from ossa.store.records.migrate import migrate
from ossa.store.records.pool import Records
from ossa.store.records.streams import write_events, write_metrics
from tests.unit.servers import Postgres, Redis
from tests.unit.waiting import until

TOTAL = 100_000
BATCH = 500
REPLICAS = 2
TASKS_A_SECOND, SECONDS, TASKS = 100, 20, 7
SAMPLE_SECONDS = 0.01


class Tally:
    """Observer of consumers: messages and batches by group, and whatever ought not to be."""

    def __init__(self) -> None:
        self.messages: Counter[str] = Counter()
        self.batches: Counter[str] = Counter()
        self.trouble = 0

    def handled(self, stream: str, group: str, *, messages: int, seconds: float) -> None:  # noqa: ARG002
        self.messages[group] += messages
        self.batches[group] += 1

    def failed(self, stream: str, group: str) -> None:  # noqa: ARG002
        self.trouble += 1

    def claimed(self, stream: str, group: str, messages: int) -> None:  # noqa: ARG002
        self.trouble += messages

    def parked(self, stream: str, group: str) -> None:  # noqa: ARG002
        self.trouble += 1

    def lost(self, stream: str, group: str, messages: int) -> None:  # noqa: ARG002
        self.trouble += messages


@asynccontextmanager
async def servers() -> AsyncIterator[tuple[Client, Records]]:
    """A Redis and a PostgreSQL of one's own, with the schema."""
    redis, postgres = Redis(fsync="everysec"), await asyncio.to_thread(Postgres)
    try:
        await asyncio.gather(asyncio.to_thread(redis.start), asyncio.to_thread(postgres.start))
        await migrate(postgres.url)
        client = connect(redis.url, name="bench")
        async with AsyncExitStack() as stack:
            stack.push_async_callback(client.aclose)
            records = await stack.enter_async_context(Records(postgres.url, application="bench"))
            yield client, records
    finally:
        redis.remove()
        postgres.remove()


async def run() -> dict[str, float]:
    """The figures, by name."""
    async with servers() as (client, records):
        figures = await processed(client, records)
    async with servers() as (client, records):
        return figures | await behind(client, records)


async def processed(client: Client, records: Records, *, total: int = TOTAL) -> dict[str, float]:
    """`total` events, and half as many measurements, from the stream into PostgreSQL and to the alerts."""
    tally = Tally()
    consumers = [consumer for number in range(REPLICAS) for consumer in _consumers(client, records, tally, number)]
    published = asyncio.create_task(_publish(client, total))
    start = time.monotonic()
    running = [asyncio.create_task(consumer.run()) for consumer in consumers]
    await published
    publishing = time.monotonic() - start
    await until(lambda: _settled(client), 600.0)
    seconds = time.monotonic() - start
    for consumer in consumers:
        consumer.stop()
    await asyncio.gather(*running)
    async with records.connection() as connection:
        kept = await connection.fetchval("SELECT count(*) FROM task_events")
        measured = await connection.fetchval("SELECT count(*) FROM metrics")
    return {
        "events": float(total),
        "events_lost": float(total - kept + total // 2 - measured),
        "events_parked": float(await parked_count(client, EVENTS) + await parked_count(client, METRICS)),
        "events_per_second": round(total / seconds),
        "events_published_per_second": round(total / publishing),
        "events_a_batch": round(tally.messages["tasks"] / tally.batches["tasks"], 1),
        "events_trouble": float(tally.trouble),
    }


def _consumers(client: Client, records: Records, tally: Tally, number: int) -> list[Consumer[Event] | Consumer[Metric]]:
    name = f"replica-{number}"
    return [
        Consumer(Group(client, EVENTS, "tasks", name), Event, Keeper(records, write_events), observer=tally),
        Consumer(Group(client, EVENTS, "alerts", name), Event, AlertProcessor(client, Limits()), observer=tally),
        Consumer(Group(client, METRICS, "metrics", name), Metric, Keeper(records, write_metrics), observer=tally),
    ]


async def _publish(client: Client, total: int) -> None:
    publisher, now = Publisher(client), datetime.now(UTC)
    for start in range(0, total, BATCH):
        postings = []
        for number in range(start, start + BATCH):
            uid = str(uuid.UUID(int=number % 1000))
            common = {"id": f"{number:032x}", "time": now, "namespace": "team"}
            event = Event.model_validate(
                common
                | {
                    "source": "resource",
                    "type": "task",
                    "execution": f"run-{number % 1000}",
                    "uid": uid,
                    "workflow": "flow",
                }
                | {"sequence": number, "phase": "Completed", "previous": "Running", "task": f"task-{number % 7}"}
                | {"agent": "worker", "attempt": 1, "progress": "3/7", "output": {"rows": number}}
            )
            postings.append(Posting(event, EVENTS, ("status-updates", "results")))
            if number % 2 == 0:
                metric = Metric.model_validate(
                    common
                    | {"source": "monitor", "name": "task_duration_seconds", "value": 1.5, "execution_uid": uid}
                    | {"agent": "worker", "labels": {"workflow": "flow", "phase": "Completed"}}
                )
                postings.append(Posting(metric, METRICS))
        await publisher.send(postings)


async def _settled(client: Client) -> bool:
    found = [one for stream in (EVENTS, METRICS) for one in await standings(client, stream)]
    return len(found) == 3 and all(one.lag == 0 and one.pending == 0 for one in found)


class Behind:
    """How far the sinks are behind while states come: sampled of the outboxes, and as a reader of the stream sees."""

    def __init__(self, client: Client, records: Records) -> None:
        nowhere = ApiClient(KubeConfig(server="http://127.0.0.1:1", token=lambda: None, namespace="team"))
        self.outboxes = [
            Outbox("records", RecordsSink(records, nowhere)),
            Outbox("events", Announcer(client, nobody), linger=EVENTS_LINGER),
        ]
        self.lags: list[float] = []  # seconds, of the records
        self.delays: list[float] = []  # seconds, from a state to its event
        self._client = client
        self._current: dict[str, State] = {}
        self._sent: dict[int, float] = {}

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Writes and looks, until all is written."""
        loops = [asyncio.create_task(outbox.run(self._current)) for outbox in self.outboxes]
        loops += [asyncio.create_task(self._sample()), asyncio.create_task(self._listen())]
        await asyncio.sleep(0.5)
        yield
        await until(lambda: not any(outbox.pending for outbox in self.outboxes))
        await asyncio.sleep(0.5)
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)

    def put(self, state: State) -> None:
        """A state that the watch tells of."""
        self._current[state.uid] = state
        self._sent[state.version] = time.monotonic()
        for outbox in self.outboxes:
            outbox.put(state)

    async def _sample(self) -> None:
        while True:
            self.lags.append(self.outboxes[0].lag)
            await asyncio.sleep(SAMPLE_SECONDS)

    async def _listen(self) -> None:
        reader = Reader(self._client, EVENTS)
        after = str((await reader.extent()).last)
        while True:
            entries = await reader.read(after, wait=BLOCK_SECONDS)
            now = time.monotonic()
            for entry in entries:
                after = entry.id
                event = Event.model_validate_json(entry.message)
                if event.sequence in self._sent:
                    self.delays.append(now - self._sent[event.sequence])


async def nobody(_: JSONObject) -> Mapping[str, str]:
    """Agents of an Execution without a revision."""
    return {}


async def behind(client: Client, records: Records) -> dict[str, float]:
    """TASKS_A_SECOND tasks for SECONDS, each written Running and Completed: how far records and events are behind.

    From when the watch tells of a state until it is committed, and until a reader has its event.
    """
    held = Behind(client, records)
    async with held.watched():
        await _tasks(held)
    async with records.connection() as connection:
        done = await connection.fetchval("SELECT count(*) FROM tasks WHERE status = 'Completed'")
    return {
        "records_tasks_per_second": float(TASKS_A_SECOND),
        "records_tasks_missing": float(TASKS_A_SECOND * SECONDS - done),
        "records_lag_seconds_p50": round(_quantile(held.lags, 0.5), 3),
        "records_lag_seconds_max": round(max(held.lags), 3),
        "events_lag_ms_p50": round(_quantile(held.delays, 0.5) * 1000, 1),
        "events_lag_ms_p99": round(_quantile(held.delays, 0.99) * 1000, 1),
    }


async def _tasks(held: Behind) -> None:
    """Executions of TASKS tasks one after the other, each of which starts and ends with a write of its own."""
    version, start = 0, time.monotonic()
    for number in range(TASKS_A_SECOND * SECONDS):
        uid, place = str(uuid.UUID(int=number // TASKS)), number % TASKS
        for phase in ("Running", "Completed"):
            version += 1
            held.put(State.of("executions", _execution(uid, version, place, phase)))
            due = start + version / (2 * TASKS_A_SECOND)
            await asyncio.sleep(max(0.0, due - time.monotonic()))


def _execution(uid: str, version: int, place: int, phase: str) -> JSONObject:
    now = "2026-01-01T12:00:00Z"
    tasks: JSONObject = {
        f"task-{number}": {
            "phase": "Completed" if number < place else phase,
            "attempt": 1,
            "startedAt": now,
            "output": {"rows": number, "text": "some text that a task gave"},
        }
        for number in range(place + 1)
    }
    return {
        "apiVersion": "ossa.dev/v1alpha1",
        "kind": "Execution",
        "metadata": {
            "name": uid,
            "namespace": "team",
            "uid": uid,
            "resourceVersion": str(version),
            "creationTimestamp": now,
        },
        "spec": {"workflow": "flow"},
        "status": {"phase": "Running", "tasks": tasks, "progress": f"{place}/{TASKS}", "startedAt": now},
    }


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


if __name__ == "__main__":
    for name, value in asyncio.run(run()).items():
        print(f"{name:32} {value:g}")
