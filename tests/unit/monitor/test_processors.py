"""What the processors of events and measurements write, on real servers."""

from __future__ import annotations

import random
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from ossa.bus.consumer import Consumer, Pace, TryAgain
from ossa.bus.group import Group, parked_count, standings
from ossa.bus.messages import EVENTS, Event, Metric
from ossa.bus.publisher import Posting, Publisher
from ossa.monitor.processors.keeping import Keeper
from ossa.store.records.pool import Records
from ossa.store.records.streams import write_events, write_metrics
from tests.unit.bus.busy import Counted, client_of, running
from tests.unit.monitor.states import UID
from tests.unit.servers import Postgres, Redis
from tests.unit.waiting import until

START = datetime(2026, 1, 1, 12, tzinfo=UTC)


def event(number: int, **fields: object) -> Event:
    values: dict[str, object] = {
        "id": f"event-{number}",
        "time": START + timedelta(seconds=number),
        "source": "resource",
        "type": "task",
        "namespace": "team",
        "execution": "run",
        "uid": UID,
        "workflow": "flow",
        "sequence": number,
        "phase": "Running",
        "task": "load",
        "attempt": 1,
    }
    return Event.model_validate(values | fields)


async def test_transitions_are_kept_once_however_often_they_come(records_url: str) -> None:
    async with Records(records_url, application="test") as records:
        keep = Keeper(records, write_events)
        events = [event(number, message="a \0 in it" if number == 3 else None) for number in range(20)]
        events.append(event(20, type="decision", phase="Approved", user="alice", output={"a": 1}))
        for _ in range(3):
            random.shuffle(events)
            await keep(events)
        await keep(events[:5])
        async with records.connection() as connection:
            rows = await connection.fetch("SELECT * FROM task_events ORDER BY sequence")
        assert [row["id"] for row in rows] == [f"event-{number}" for number in range(21)]
        assert rows[0]["execution_id"] == uuid.UUID(UID)
        assert rows[3]["message"] == "a � in it"
        assert (rows[20]["user"], rows[20]["phase"]) == ("alice", "Approved")


async def test_measurements_are_kept_once_with_their_agent_where_that_is_recorded(records_url: str) -> None:
    agent = uuid.uuid4()
    async with Records(records_url, application="test") as records:
        async with records.connection() as connection:
            await connection.execute(
                "INSERT INTO agents (id, namespace, name, type, version, status, capabilities, config, created_at, "
                "resource_version) VALUES ($1, 'team', 'loader', 'worker', '1', 'Ready', '[]', '{}', now(), 1)",
                agent,
            )
        metrics = [
            Metric(
                id=f"m-{name}",
                time=START,
                source="monitor",
                name="task_duration_seconds",
                value=1.5,
                labels={"task": "load"},
                namespace="team",
                execution_uid=UID,
                agent=name,
            )
            for name in ("loader", "unknown", None)
        ]
        keep = Keeper(records, write_metrics)
        await keep(metrics)
        await keep(metrics[::-1])
        async with records.connection() as connection:
            rows = await connection.fetch("SELECT * FROM metrics ORDER BY agent_id NULLS LAST")
        assert [row["agent_id"] for row in rows] == [agent, None, None]
        assert (float(rows[0]["metric_value"]), rows[0]["labels"]) == (1.5, {"task": "load"})
        assert rows[0]["execution_id"] == uuid.UUID(UID)


async def test_with_postgresql_away_a_batch_is_to_come_again(postgres: Postgres, records_url: str) -> None:
    async with Records(records_url, application="test") as records:
        postgres.stop()
        with pytest.raises(TryAgain):
            await Keeper(records, write_events)([event(1)])
        with pytest.raises(TryAgain):
            await Keeper(records, write_metrics)([])


async def test_postgresql_killed_under_load_and_started_nothing_is_lost(
    redis: Redis, postgres: Postgres, records_url: str
) -> None:
    async with client_of(redis.url) as client, Records(records_url, application="test") as records:
        group, counted = Group(client, EVENTS, "tasks", "one"), Counted()
        publisher, total = Publisher(client), 5000
        consumer = Consumer(
            group, Event, Keeper(records, write_events), observer=counted, pace=Pace(batch=100, look=0.1)
        )
        async with running(consumer):
            for start in range(0, total, 500):
                await publisher.send([Posting(event(number), EVENTS) for number in range(start, start + 500)])
                if start == 1000:
                    postgres.kill()
                if start == 3500:
                    postgres.start()
            # What PostgreSQL cannot take for good: no UUID.
            await publisher.send([Posting(event(total, uid="none"), EVENTS)])
            await until(lambda: counted.counts["handled"] >= total, 60)

            async def settled() -> bool:
                return [(one.lag, one.pending) for one in await standings(client, EVENTS)] == [(0, 0)]

            await until(settled)
        async with records.connection() as connection:
            assert await connection.fetchval("SELECT count(DISTINCT id) FROM task_events") == total
        assert await parked_count(client, EVENTS) == 1
