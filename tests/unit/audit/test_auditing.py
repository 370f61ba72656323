"""The trail of a process: nothing is answered before it is durable, whatever is away."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from ossa.gateway.auditing import Auditing
from ossa.gateway.problems import Problem
from ossa.store.records.audit import partitioned
from ossa.store.records.pool import Records
from ossa.store.records.retention import upkeep
from tests.unit.audit.running import entries, now, on_stream, record_many, verified, writing
from tests.unit.audit.trails import entry_of, ranges
from tests.unit.servers import Postgres, Redis


async def test_entries_at_once_are_one_chain(records_url: str, redis_url: str) -> None:
    async with writing(records_url, redis_url) as trail:
        await record_many(trail, 1, 500)
        there = {entry.id for entry in await entries(records_url)}
        assert {f"request-{number}" for number in range(1, 501)} <= there  # when they are answered, not later
    verdict = await verified(records_url)
    assert verdict.findings == ()
    assert (verdict.links, verdict.proven) == (502, 502)
    assert verdict.chains[0].closed
    assert sum(len(message.segment.links) for message in await on_stream(redis_url)) == 502


async def test_those_that_come_together_are_written_together_and_a_lone_one_waits_for_nobody(
    records_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ossa.gateway.auditing.GATHER", 0.2)
    async with writing(records_url, redis_url) as trail:
        await record_many(trail, 1, 8)
        first = asyncio.create_task(trail.record(entry_of(11)))
        await asyncio.sleep(0.001)
        await asyncio.gather(first, record_many(trail, 12, 14))
        await trail.record(entry_of(20))  # after many
        lone = asyncio.create_task(trail.record(entry_of(21)))
        for _ in range(20):
            await asyncio.sleep(0)
        await asyncio.gather(lone, trail.record(entry_of(22)))
    segments = [
        {link.body.entry.id.removeprefix("request-") for link in message.segment.read()}
        for message in await on_stream(redis_url)
    ]
    assert {"11", "12", "13", "14"} in segments
    assert all(segment in segments for segment in ({"20"}, {"21"}))


async def test_two_replicas_write_side_by_side_and_witness_each_other(records_url: str) -> None:
    async with writing(records_url, None) as one:
        await record_many(one, 1, 20)
        async with writing(records_url, None, writer="gateway-1") as two:
            await asyncio.gather(record_many(one, 21, 40), record_many(two, 41, 60))
    verdict = await verified(records_url)
    assert (verdict.findings, len(verdict.chains)) == ((), 2)
    connection = await asyncpg.connect(records_url)
    await connection.execute("ALTER TABLE audit DISABLE TRIGGER ALL; DELETE FROM audit WHERE writer = 'gateway-0'")
    await connection.execute("DELETE FROM audit_heads WHERE writer = 'gateway-0'")
    await connection.close()
    (missing,) = (await verified(records_url)).faults
    assert (missing.kind, missing.writer, missing.first) == ("missing", "gateway-0", 1)


async def test_a_process_that_is_killed_leaves_a_proven_chain_and_the_next_one_knows_of_it(records_url: str) -> None:
    async with writing(records_url, None, crash=True) as trail:
        await record_many(trail, 1, 30)
    async with writing(records_url, None) as trail:
        await record_many(trail, 31, 40)
    verdict = await verified(records_url)
    assert [finding.kind for finding in verdict.findings] == ["open"]
    assert verdict.proven == verdict.links == 31 + 12
    connection = await asyncpg.connect(records_url)
    await connection.execute("ALTER TABLE audit DISABLE TRIGGER ALL; DELETE FROM audit WHERE seq > 5 AND seq < 32")
    await connection.close()
    assert {finding.kind for finding in (await verified(records_url)).faults} == {"missing", "unsigned"}


async def test_links_are_never_changed_by_mistake_and_go_with_their_partition(records_url: str) -> None:
    async with writing(records_url, None) as trail, Records(records_url, application="test") as records:
        await trail.record(entry_of())
        await upkeep(records, [partitioned(timedelta(days=183))], now())  # moves what came before its partition
        await trail.record(entry_of(2))
    assert (await verified(records_url)).findings == ()
    connection = await asyncpg.connect(records_url)
    assert await connection.fetchval("SELECT count(*) FROM audit_default") == 0
    for statement in ("UPDATE audit SET name = 'x'", "DELETE FROM audit"):
        with pytest.raises(asyncpg.RaiseError, match="never changed"):
            await connection.execute(statement)
    await connection.close()
    async with Records(records_url, application="test") as records:
        await upkeep(records, [partitioned(timedelta(days=183))], now() + timedelta(days=200))
    later = await verified(records_url, later=timedelta(days=200), kept=timedelta(days=183))
    assert (later.links, {finding.kind for finding in later.findings}) == (0, {"expired"})
    assert ranges((await verified(records_url)).findings, "missing") == [(1, 4)]  # not while they had to be kept


async def test_with_postgresql_down_the_stream_holds_what_is_answered(
    records_url: str, redis_url: str, postgres: Postgres
) -> None:
    registry = CollectorRegistry()
    async with writing(records_url, redis_url, registry=registry) as trail:
        await record_many(trail, 1, 10)
        postgres.kill()
        await record_many(trail, 11, 30)
        assert registry.get_sample_value("ossa_audit_entries_total", {"place": "stream"}) == 20
        names = {link.body.entry.id for message in await on_stream(redis_url) for link in message.segment.read()}
        assert {f"request-{number}" for number in range(11, 31)} <= names
        postgres.start()
        await asyncio.sleep(2.5)
        await record_many(trail, 31, 40)
    verdict = await verified(records_url)
    # What the stream alone has is told as missing here, with its numbers; the audit processor brings it.
    told = {found.kind: found.last - found.first + 1 for found in verdict.faults}
    assert told == {"missing": 20, "unsigned": 11}


async def test_with_redis_down_nothing_is_held_up(records_url: str, redis_url: str, redis: Redis) -> None:
    async with writing(records_url, redis_url) as trail:
        redis.kill()
        async with asyncio.timeout(2):
            await record_many(trail, 1, 50)
    assert (await verified(records_url)).findings == ()


async def test_with_both_down_changes_are_refused_and_counted(
    records_url: str, redis_url: str, postgres: Postgres, redis: Redis
) -> None:
    registry = CollectorRegistry()
    async with writing(records_url, redis_url, registry=registry) as trail:
        await record_many(trail, 1, 5)
        assert registry.get_sample_value("ossa_audit_entries_total", {"place": "records"}) == 6
        postgres.kill()
        redis.kill()
        for number in range(10, 40):
            with pytest.raises(Problem, match="without it nothing is changed; nothing was done") as raised:
                await trail.record(entry_of(number, outcome="asked"))
            assert raised.value.document()["status"] == 503
        assert not trail.available
        assert registry.get_sample_value("ossa_audit_refused_total") == 30
        assert registry.get_sample_value("ossa_audit_pending") == 1
        for place in ("records", "stream"):
            assert registry.get_sample_value("ossa_audit_failures_total", {"place": place})
        await trail.record(entry_of(50, outcome="denied", status=401, verb="sign-in"))
        postgres.start()
        redis.start()
        await is_available(trail)
        await trail.record(entry_of(60))
    assert (await verified(records_url)).findings == ()
    held = await entries(records_url)
    # The first was linked when it was seen that nobody takes it; the others are one entry with their count.
    assert [entry.outcome for entry in held if entry.id == "request-10"] == ["asked"]
    assert sum(entry.count for entry in held if entry.status == 503) == 29
    assert [entry.count for entry in held if entry.verb == "sign-in"] == [1]


async def is_available(trail: Auditing) -> None:
    async with asyncio.timeout(20):
        while not trail.available:  # noqa: ASYNC110 - what a client does
            await asyncio.sleep(0.1)


async def test_a_flood_of_refusals_is_few_rows_and_none_goes_uncounted(records_url: str) -> None:
    async with writing(records_url, None) as trail:
        for number in range(20_000):
            refused = entry_of(number, outcome="denied", status=401, verb="sign-in", address=f"10.0.0.{number % 200}")
            await trail.record(refused)
    held = [entry for entry in await entries(records_url) if entry.verb == "sign-in"]
    assert sum(entry.count for entry in held) == 20_000
    assert len(held) < 100
    assert (await verified(records_url)).findings == ()


async def test_texts_that_postgresql_does_not_take_are_kept_all_the_same(records_url: str) -> None:
    nasty = "\0'; DROP TABLE audit; --\u2028\r\n\U0001f600"
    async with writing(records_url, None) as trail:
        await trail.record(entry_of(1, user=nasty, name=nasty, reason=nasty))
    assert (await verified(records_url)).findings == ()


async def test_whoever_comes_after_the_end_is_refused(records_url: str) -> None:
    async with writing(records_url, None) as trail:
        pass
    with pytest.raises(Problem, match="cannot be written"):
        await trail.record(entry_of())
    (chain,) = (await verified(records_url)).chains
    assert chain.closed
    assert chain.until is not None
    assert chain.until <= now()


async def test_whoever_goes_away_meanwhile_stops_nobody(records_url: str) -> None:
    async with writing(records_url, None) as trail:
        gone = [asyncio.create_task(trail.record(entry_of(number))) for number in range(10)]
        await asyncio.sleep(0)
        for task in gone:
            task.cancel()
        await trail.record(entry_of(99))
    assert (await verified(records_url)).findings == ()
