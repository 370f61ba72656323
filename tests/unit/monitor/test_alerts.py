"""What fires, and what resolves it."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any

from redis.asyncio import Redis as Client

from ossa.bus.group import Standing
from ossa.bus.messages import ALERTS, BEGINNING, EVENTS, Alert, Event
from ossa.bus.reader import Reader
from ossa.monitor.processors.alerts import WAITING, AlertProcessor, Limits
from ossa.monitor.rules import MAX_KEY, bounded, transitions
from tests.unit.bus.busy import client_of
from tests.unit.monitor.test_processors import event
from tests.unit.servers import Redis


def ended(phase: str, number: int, **fields: object) -> Event:
    return event(number, type="execution", phase=phase, final=True, task=None, message="out of memory", **fields)


async def keys(processor: AlertProcessor) -> list[str]:
    return sorted(alert.key for alert in await processor.firing())


async def told(client: Client) -> list[tuple[str, str]]:
    entries = await Reader(client, ALERTS).read(BEGINNING)
    alerts = [Alert.model_validate_json(entry.message) for entry in entries]
    return [(alert.key, alert.state) for alert in alerts]


FAILED = "execution-failed/team/flow"


async def test_a_failed_execution_fires_until_the_workflow_completes(redis: Redis) -> None:
    async with client_of(redis.url) as client:
        processor = AlertProcessor(client, Limits())
        await processor([ended("Failed", 1)])
        await processor([ended("Failed", 1), ended("Failed", 2)])
        assert await keys(processor) == [FAILED]
        (alert,) = await processor.firing()
        assert (alert.severity, alert.summary) == ("critical", "Execution run of workflow flow failed: out of memory")
        await processor([ended("Completed", 3)])
        assert await keys(processor) == []
        assert await told(client) == [(FAILED, "firing"), (FAILED, "resolved")]


async def test_any_order_and_any_batches_end_with_the_newest_word(redis: Redis) -> None:
    events = [ended("Failed", 1), ended("Completed", 2), ended("Failed", 3), ended("Completed", 4)]
    async with client_of(redis.url) as client:
        for order in itertools.permutations(events):
            await client.flushall()
            processor = AlertProcessor(client, Limits())
            await processor(order[:2])
            await processor(order[2:])
            await processor(order[:1])
            assert await keys(processor) == [], order


def test_rules_say_what_they_are_for() -> None:
    last = event(5, phase="Failed", attempt=3, reason="OOMKilled", message="gone")
    denied = event(6, type="decision", phase="Denied", policy="no-risk@4", message="no")
    once = event(7, phase="Failed", attempt=1)
    found = {one.alert.key: one.alert.summary for one in transitions([last, denied, once])}
    assert found == {
        "retries-exhausted/team/flow/load": "Task load of run failed 3 times, OOMKilled: gone",
        "policy-denied/team/flow": "Policy no-risk@4 denied run load: no",
    }


def test_a_key_that_is_too_long_stays_its_own() -> None:
    long = "k" * 300
    assert len(bounded(long)) == len(bounded(long + "x")) == MAX_KEY
    assert bounded(long) != bounded(long + "x")
    assert bounded("short") == "short"


def asked(phase: str, number: int = 1, **fields: object) -> Event:
    return event(number, type="approval", phase=phase, task="release", **fields)


async def test_an_approval_that_waits_too_long_fires_until_it_is_decided(redis: Redis) -> None:
    async with client_of(redis.url) as client:
        processor = AlertProcessor(client, Limits(approval_waits=60.0))
        now = datetime.now(UTC)
        await processor([asked("Pending", time=now)])
        await processor.look([], [])
        assert await keys(processor) == []
        members: list[Any] = await client.zrange(WAITING, 0, 0)
        await client.zincrby(WAITING, -61, members[0])
        await processor.look([], [])
        await processor.look([], [])
        (alert,) = await processor.firing()
        assert alert.summary == "Task release of execution team/run waits for an approval"
        await processor([asked("Approved", 2)])
        assert await keys(processor) == []
        assert [state for _, state in await told(client)] == ["firing", "resolved"]
        # A consumer that died had the question: it is handled after the decision.
        await processor([asked("Pending", time=now)])
        assert await client.zcard(WAITING) == 0


async def test_no_approval_waits_when_its_execution_has_ended(redis: Redis) -> None:
    async with client_of(redis.url) as client:
        processor = AlertProcessor(client, Limits())
        await processor([asked("Pending"), ended("Completed", 2)])
        assert await client.zcard(WAITING) == 0


async def test_parked_messages_and_a_group_that_lags_fire_until_that_is_over(redis: Redis) -> None:
    async with client_of(redis.url) as client:
        processor = AlertProcessor(client, Limits(lag=10))
        await processor.look([Standing(EVENTS, "tasks", 11, 0, 1)], [(EVENTS, 2)])
        assert await keys(processor) == ["lag/ossa:events/tasks", "parked/ossa:events"]
        await processor.look([Standing(EVENTS, "tasks", None, 0, 1)], [(EVENTS, 0)])
        assert await keys(processor) == ["lag/ossa:events/tasks"]
        await processor.look([Standing(EVENTS, "tasks", 10, 0, 1)], [(EVENTS, 0)])
        assert await keys(processor) == []
