"""The process ossa-monitor is killed (SIGKILL) with messages in hand, and at random moments: all is kept, and once.

Real servers, the process itself; the API server of the tests has the resources.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import pytest

from hack.test import seed
from ossa.bus.group import parked_count, standings
from ossa.bus.messages import BEGINNING, EVENTS, METRICS
from ossa.bus.reader import Reader
from ossa.kube import paths
from tests.unit.bus.busy import client_of
from tests.unit.controllers.apiserver import ApiServer
from tests.unit.monitor.states import FINISHED, execution
from tests.unit.monitor.test_process import DONE, RUNS, monitor, server_with_kinds
from tests.unit.waiting import until

LIVES, EXECUTIONS = 2, 12
STARTED = "2026-01-01T12:00:04Z"
STATES: tuple[dict[str, Any], ...] = (
    execution("Pending"),
    execution("Running", tasks=RUNS, startedAt=STARTED),
    execution("Completed", tasks=DONE, startedAt=STARTED, conditions=FINISHED),
)
# Whoever is blocked by the test's lock; the statement of a client that is dead goes on otherwise, and commits.
_END_THE_BLOCKED = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"


def put(server: ApiServer, number: int, state: int) -> None:
    """An Execution, by number, comes to a state."""
    item = STATES[state]
    metadata = {**item["metadata"], "name": f"run-{number}", "uid": f"00000000-0000-0000-0000-{number:012d}"}
    server.put(paths.ossa("executions", "team"), {**item, "metadata": metadata})


async def ids_on(bus: str, stream: str) -> set[str]:
    """Ids of the messages that a stream has."""
    async with client_of(bus) as client:
        entries = await Reader(client, stream).read(BEGINNING, count=100_000)
    return {json.loads(entry.message)["id"] for entry in entries}


async def settled(bus: str) -> bool:
    """Whether all groups have handled all that there is."""
    async with client_of(bus) as client:
        found = [one for stream in (EVENTS, METRICS) for one in await standings(client, stream)]
    return len(found) == 3 and all((one.lag, one.pending) == (0, 0) for one in found)


async def fetch(url: str, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


async def all_is_kept_once(records: str, bus: str) -> None:
    """What was told, against what PostgreSQL has."""
    rows = await fetch(records, "SELECT id, execution_id, type, task, phase, attempt FROM task_events")
    assert Counter(row["id"] for row in rows) == Counter(await ids_on(bus, EVENTS))
    steps = Counter((row["execution_id"], row["type"], row["task"], row["phase"], row["attempt"]) for row in rows)
    assert [step for step, count in steps.items() if count != 1] == []
    kept = await fetch(records, "SELECT count(*) AS rows, count(DISTINCT id) AS ids FROM metrics")
    assert kept[0]["rows"] == kept[0]["ids"] == len(await ids_on(bus, METRICS)) > 0
    async with client_of(bus) as client:
        assert (await parked_count(client, EVENTS), await parked_count(client, METRICS)) == (0, 0)


@pytest.mark.parametrize("committed", [False, True], ids=["before the commit", "after it, before the acknowledgement"])
async def test_with_a_batch_in_hand(committed: bool, tmp_path: Path, records_url: str, redis_url: str) -> None:
    server = server_with_kinds()

    async def recorded() -> bool:
        return bool((await fetch(records_url, "SELECT count(*) = 1 AS met FROM executions"))[0]["met"])

    async def in_hand() -> bool:
        async with client_of(redis_url) as client:
            found = [one for stream in (EVENTS, METRICS) for one in await standings(client, stream)]
        return all(one.pending for one in found if one.group != "alerts")

    async def blocked() -> bool:
        return len(await fetch(records_url, "SELECT pid FROM pg_locks WHERE NOT granted")) >= 2

    async with server.served() as config:
        locks = await asyncpg.connect(records_url)
        async with monitor(config, records_url, redis_url, tmp_path, "one") as one:
            put(server, 1, 1)
            await until(recorded, 60)
            await until(lambda: settled(redis_url), 60)
            lock = locks.transaction()
            await lock.start()
            await locks.execute("LOCK TABLE task_events, metrics IN EXCLUSIVE MODE")
            put(server, 1, 2)
            await until(in_hand, 60)
            await until(blocked, 60)
            one.process.kill()
            await one.process.wait()
        if not committed:
            await locks.execute(_END_THE_BLOCKED)
        await lock.rollback()
        await locks.close()
        async with monitor(config, records_url, redis_url, tmp_path, "one"):
            await until(lambda: settled(redis_url), 60)
        await all_is_kept_once(records_url, redis_url)
    steps = await fetch(records_url, "SELECT type || ' ' || phase AS step FROM task_events")
    assert sorted(row["step"] for row in steps) == [
        "execution Completed", "execution Running", "task Completed", "task Running",
    ]  # fmt: skip


async def test_again_and_again_while_executions_run(tmp_path: Path, records_url: str, redis_url: str) -> None:
    server, mine = server_with_kinds(), Random(seed())  # noqa: S311 - a test's own
    states = dict.fromkeys(range(1, EXECUTIONS + 1), 0)
    for number in states:
        put(server, number, 0)

    async def go_on() -> None:
        """Executions go on, whoever watches."""
        while True:
            await asyncio.sleep(mine.uniform(0, 0.2))
            number = mine.choice([number for number, state in states.items() if state < 2] or [0])
            if number:
                states[number] += 1
                put(server, number, states[number])

    async def all_recorded() -> bool:
        rows = await fetch(records_url, "SELECT id FROM executions WHERE status = 'Completed'")
        return len(rows) == EXECUTIONS

    async with server.served() as config:
        going = asyncio.create_task(go_on())
        for _ in range(LIVES):
            async with monitor(config, records_url, redis_url, tmp_path, "one") as one:
                await until(one.leads, 60)
                await asyncio.sleep(mine.uniform(0, 1.5))
                one.process.kill()
                await one.process.wait()
        async with monitor(config, records_url, redis_url, tmp_path, "one"):
            await until(lambda: all(state == 2 for state in states.values()), 60)
            await until(all_recorded, 60)
            await until(lambda: settled(redis_url), 60)
        going.cancel()
    await all_is_kept_once(records_url, redis_url)
    query = "SELECT id FROM task_events WHERE type = 'execution' AND phase = 'Completed'"
    ended = await fetch(records_url, query)
    assert len(ended) == EXECUTIONS
