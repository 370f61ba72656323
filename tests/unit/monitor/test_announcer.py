"""Events on a real server: all of them once, whatever was away meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from redis.asyncio import Redis as Client

from ossa.api.base import JSONObject
from ossa.bus.messages import BEGINNING, CHANNELS, EVENTS, METRICS, Event
from ossa.bus.reader import Reader
from ossa.monitor.announcer import Announcer
from ossa.monitor.outbox import Change, Outbox
from ossa.monitor.states import State
from tests.unit.bus.busy import client_of
from tests.unit.monitor.states import FINISHED, UID, approval, execution
from tests.unit.servers import Redis
from tests.unit.waiting import until


async def nobody(_: JSONObject) -> Mapping[str, str]:
    return {}


def changed(before: JSONObject | None, now: JSONObject | None, *, kind: str = "executions", version: int = 0) -> Change:
    item = now or before or {}
    return Change(kind, item["metadata"]["uid"], version or int(item["metadata"]["resourceVersion"]), before, now)


async def told(client: Client) -> list[Event]:
    entries = await Reader(client, EVENTS).read(BEGINNING, count=10_000)
    return [Event.model_validate_json(entry.message) for entry in entries]


async def phases(client: Client) -> list[str]:
    return [f"{event.type} {event.phase}" for event in await told(client)]


RUNS = execution("Running", 5, tasks={"load": {"phase": "Running", "attempt": 1}})
ENDS = execution("Completed", 7, tasks={"load": {"phase": "Completed", "attempt": 1}}, conditions=FINISHED)


async def test_what_happens_is_on_the_stream_on_its_channels_and_measured(redis: Redis) -> None:
    async with client_of(redis.url) as client, client.pubsub() as listener:
        await listener.subscribe(*CHANNELS)
        announcer = Announcer(client, nobody)
        await announcer.write([changed(None, RUNS), changed(RUNS, ENDS), changed(None, approval(), kind="approvals")])
        assert await phases(client) == [
            "execution Running", "task Running", "task Completed", "execution Completed", "approval Pending",
        ]  # fmt: skip
        heard: list[str] = []
        while (message := await listener.get_message(timeout=1.0)) is not None:
            if message["type"] == "message":
                event = Event.model_validate_json(message["data"])
                heard.append(f"{message['channel'].decode()} {event.type} {event.phase}")
        assert "task-assignment task Running" in heard
        assert "results execution Completed" in heard
        assert "decisions approval Pending" in heard
        assert sum(line.startswith("status-updates") for line in heard) == 5
        assert await client.xlen(METRICS) == 2  # of the task and the execution the attempts; no times are known


async def test_one_that_starts_anew_tells_what_was_missed_and_nothing_twice(redis: Redis) -> None:
    async with client_of(redis.url) as client:
        await Announcer(client, nobody).write([changed(None, RUNS)])
        again = Announcer(client, nobody)
        assert await again.recorded() == {"executions": {UID: 5}, "approvals": {}}
        await again.write([changed(None, RUNS), changed(None, ENDS)])
        assert await phases(client) == [
            "execution Running", "task Running", "task Completed", "execution Completed",
        ]  # fmt: skip


async def test_a_batch_whose_answer_was_lost_is_told_once_and_a_late_state_never(redis: Redis) -> None:
    async with client_of(redis.url) as client:
        announcer = Announcer(client, nobody)
        for _ in range(2):
            await announcer.write([changed(None, RUNS), changed(RUNS, ENDS)])
        await announcer.write([changed(None, RUNS)])
        assert len(await told(client)) == 4


async def test_what_was_told_by_another_meanwhile_is_what_counts_as_before(redis: Redis) -> None:
    pending = execution("Pending", 3)
    async with client_of(redis.url) as client:
        mine, other = Announcer(client, nobody), Announcer(client, nobody)
        await mine.write([changed(None, pending)])
        await other.write([changed(pending, RUNS)])
        await mine.write([changed(pending, ENDS)])
        folded = {event.type: event.phase for event in await told(client)}
        assert folded == {"execution": "Completed", "task": "Completed"}


async def test_an_object_that_is_gone_is_forgotten(redis: Redis) -> None:
    async with client_of(redis.url) as client:
        announcer = Announcer(client, nobody)
        await announcer.write([changed(None, RUNS), changed(RUNS, None, version=9)])
        assert (await phases(client))[-1] == "execution Deleted"
        assert await announcer.recorded() == {"executions": {}, "approvals": {}}
        await announcer.write([Change("executions", "unknown", 3, None, None)])


async def test_an_execution_with_thousands_of_items_is_told_whole(redis: Redis) -> None:
    items = {"total": 4000, "started": 4000, "completed": 4000}
    now = execution("Running", 5, tasks={"map": {"phase": "Running", "items": items}})
    async with client_of(redis.url) as client:
        await Announcer(client, nobody).write([changed(None, now)])
        assert len(await told(client)) == 4002


async def test_with_redis_away_nothing_stops_and_the_last_state_is_told_when_it_is_back(redis: Redis) -> None:
    async with client_of(redis.url) as client:
        outbox = Outbox("events", Announcer(client, nobody), linger=0.001)
        current = {UID: State.of("executions", execution("Pending", 1))}
        outbox.put(current[UID])
        running = asyncio.create_task(outbox.run(current))
        await until(lambda: outbox.pending == 0)
        redis.kill()
        for number in range(2, 7):
            current[UID] = State.of("executions", execution("Running", number))
            outbox.put(current[UID])
            await asyncio.sleep(0.05)
        current[UID] = State.of("executions", ENDS)
        outbox.put(current[UID])
        await until(lambda: outbox.failures > 0)
        redis.start()
        await until(lambda: outbox.pending == 0)
        assert await phases(client) == ["execution Pending", "task Completed", "execution Completed"]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_server_without_its_data_is_told_everything_anew(redis: Redis) -> None:
    async with client_of(redis.url) as client:
        announcer = Announcer(client, nobody)
        await announcer.write([changed(None, RUNS)])
        await client.flushall()
        assert await announcer.recorded() == {"executions": {}, "approvals": {}}
        await announcer.write([changed(RUNS, ENDS)])
        assert await phases(client) == ["task Completed", "execution Completed"]
