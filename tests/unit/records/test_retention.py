"""Partitions are made ahead and dropped; nothing is refused or lost meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from ossa.bus.messages import Event, Metric
from ossa.store.records.pool import Records
from ossa.store.records.retention import Partitioned, Retention, plan, prune, upkeep
from ossa.store.records.streams import write_events, write_metrics
from ossa.store.records.write import Write, write
from tests.unit.records.objects import execution, uid

DAY = timedelta(days=1)
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
DAILY = Partitioned("metrics", "timestamp", DAY, 3 * DAY, ahead=2)
TABLES = Retention(tasks=30 * DAY, task_events=30 * DAY, metrics=3 * DAY).tables


@pytest.fixture
async def records(records_url: str) -> AsyncIterator[Records]:
    async with Records(records_url, application="test") as held:
        yield held


def metric(number: int, time: datetime) -> Metric:
    return Metric(id=f"m{number}", time=time, source="monitor", name="tokens", value=number, namespace="lab")


def event(number: int, time: datetime) -> Event:
    return Event(
        id=f"v{number}",
        time=time,
        source="resource",
        type="task",
        namespace="lab",
        execution="e",
        uid=uid("Execution/e"),
        phase="Running",
        task="one",
    )


async def partitions(records: Records, table: str) -> list[str]:
    async with records.connection() as connection:
        found = await connection.fetch(
            "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = $1::regclass ORDER BY 1", table
        )
        return [row["name"] for row in found]


def test_what_is_made_and_what_is_dropped() -> None:
    there = ["metrics_default", "metrics_20261121", "metrics_20261123", "metrics_20261126", "metrics_by_hand"]
    due = plan(DAILY, there, NOW, strays=[NOW - 10 * DAY, NOW - 2 * DAY])
    assert [f"{start:%m%d}" for start in due.make] == ["1124", "1127", "1128"]
    # The 23rd ends where what is kept begins at noon of that day: half of it is still wanted.
    assert due.drop == ["metrics_20261121"]
    assert plan(Partitioned("metrics", "timestamp", DAY, None), there, NOW).drop == []


def test_a_week_begins_on_monday() -> None:
    assert TABLES[0].name_of(TABLES[0].start_of(NOW)) == "tasks_20261123"


async def test_rows_go_from_the_default_partition_to_their_own_and_are_dropped_with_it(records: Records) -> None:
    times = [NOW - 10 * DAY, NOW - 2 * DAY, NOW - DAY, NOW, NOW + 20 * DAY]
    async with records.connection() as connection:
        await write_metrics(connection, [metric(number, time) for number, time in enumerate(times)])
        assert await connection.fetchval("SELECT count(*) FROM metrics_default") == 5
    await upkeep(records, TABLES, NOW)
    async with records.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM metrics_default") == 0
        kept = await connection.fetch("SELECT metric_value::int AS value FROM metrics ORDER BY 1")
        assert [row["value"] for row in kept] == [1, 2, 3, 4]
        # The same again finds the rows where they are now.
        await write_metrics(connection, [metric(number, time) for number, time in enumerate(times)][1:])
        assert await connection.fetchval("SELECT count(*) FROM metrics") == 4
    await upkeep(records, TABLES, NOW + 3 * DAY)
    async with records.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM metrics") == 2
    assert "metrics_20261124" not in await partitions(records, "metrics")


async def test_twice_does_the_same(records: Records) -> None:
    await upkeep(records, TABLES, NOW)
    first = await partitions(records, "tasks")
    await upkeep(records, TABLES, NOW)
    assert await partitions(records, "tasks") == first
    assert first == ["tasks_20261123", "tasks_20261130", "tasks_20261207", "tasks_20261214", "tasks_default"]


async def test_tasks_are_dropped_with_the_week_of_their_execution(records: Records) -> None:
    item = execution("e", phase="Completed")
    change = Write("executions", uid("Execution/e"), 1, None, item)
    await upkeep(records, TABLES, NOW)
    async with records.connection() as connection:
        await write(connection, [change])
        await write(connection, [change])
        assert await connection.fetchval("SELECT count(*) FROM tasks") == 1
    await upkeep(records, TABLES, NOW + 60 * DAY)
    async with records.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM tasks") == 0
        assert await connection.fetchval("SELECT count(*) FROM executions") == 1


async def test_events_and_metrics_are_written_once_however_often_they_come(records: Records) -> None:
    async with records.connection() as connection:
        for _ in range(2):
            await write_events(connection, [event(number, NOW) for number in range(10)])
            await write_metrics(connection, [metric(number, NOW) for number in range(10)])
        assert await connection.fetchval("SELECT count(*) FROM task_events") == 10
        assert await connection.fetchval("SELECT count(*) FROM metrics") == 10


async def test_executions_go_after_their_time_if_they_are_gone_from_the_cluster(records: Records) -> None:
    gone, live = execution("gone", phase="Completed"), execution("live", phase="Completed")
    async with records.connection() as connection:
        await write(
            connection,
            [
                Write("executions", uid("Execution/gone"), 1, None, gone),
                Write("executions", uid("Execution/gone"), 2, gone, None),
                Write("executions", uid("Execution/live"), 1, None, live),
            ],
        )
    assert await prune(records, NOW - 100 * DAY) == 0
    assert await prune(records, NOW) == 1
    async with records.connection() as connection:
        names = await connection.fetch("SELECT e.name, count(t.id) FROM executions e JOIN tasks t ON true GROUP BY 1")
        assert [tuple(row) for row in names] == [("live", 1)]
