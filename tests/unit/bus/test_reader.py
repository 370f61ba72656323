"""Reading a stream from a place on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ossa.bus.messages import BEGINNING, Metric
from ossa.bus.publisher import Publisher
from ossa.bus.reader import Batch, Extent, Reader, is_gone
from tests.unit.bus.busy import STREAM, client_of, postings
from tests.unit.servers import Redis


@pytest.mark.parametrize(
    ("after", "extent", "gone"),
    [
        ("0-0", Extent(None, "0-0", 0, 0), False),
        ("5-1", Extent(None, "0-0", 0, 0), True),  # the server has lost its data
        ("0-0", Extent("1-0", "9-0", 9, 9), False),  # nothing was ever removed
        ("0-0", Extent("4-0", "9-0", 9, 6), True),
        ("3-0", Extent("4-0", "9-0", 9, 6), True),
        ("4-0", Extent("4-0", "9-0", 9, 6), False),
        ("9-0", Extent("4-0", "9-0", 9, 6), False),
        ("9-1", Extent("4-0", "9-0", 9, 6), True),
        ("10-0", Extent("4-0", "9-9", 9, 6), True),
        ("9-0", Extent(None, "9-0", 9, 0), False),
        ("8-0", Extent(None, "9-0", 9, 0), True),
    ],
)
def test_what_is_gone(after: str, extent: Extent, gone: bool) -> None:
    assert is_gone(after, extent) is gone


def numbers(batch: Batch) -> list[int]:
    return [int(Metric.model_validate_json(entry.message).value) for entry in batch.entries]


@contextmanager
def stopped(redis: Redis) -> Iterator[None]:
    redis.stop()
    yield
    redis.start()


async def test_everything_comes_in_order_also_over_an_outage(redis: Redis) -> None:
    async with client_of(redis.url) as client:
        publisher, seen = Publisher(client), list[int]()

        async def follow() -> None:
            async for batch in Reader(client, STREAM).follow(BEGINNING, count=7):
                assert not batch.gap
                seen.extend(numbers(batch))
                if len(seen) == 100:
                    return

        following = asyncio.create_task(follow())
        await publisher.send(postings(0, 50))
        with stopped(redis):
            await asyncio.sleep(0.3)
        await publisher.send(postings(50, 100))
        await asyncio.wait_for(following, 30)
        assert seen == list(range(100))


async def test_a_place_that_was_trimmed_is_a_gap_and_reading_goes_on_behind_the_newest(redis: Redis) -> None:
    async with client_of(redis.url) as client:
        publisher, reader = Publisher(client), Reader(client, STREAM)
        await publisher.send(postings(0, 10))
        (first, *_) = await reader.read(BEGINNING, count=1)
        await client.xtrim(STREAM, maxlen=3, approximate=False)
        batches = reader.follow(first.id)
        assert (await anext(batches)) == Batch((), gap=True)
        await publisher.send(postings(10, 12))
        batch = await anext(batches)
        assert numbers(batch) == [10, 11]
        assert not batch.gap
        await batches.aclose()  # type: ignore[attr-defined]


async def test_a_server_without_its_data_is_a_gap(redis: Redis) -> None:
    async with client_of(redis.url) as client:
        publisher, reader = Publisher(client), Reader(client, STREAM)
        await publisher.send(postings(0, 3))
        batches = reader.follow(await reader.last())
        assert (await anext(batches)) == Batch(())
        await client.flushall()
        await client.connection_pool.disconnect()
        async with asyncio.timeout(30):
            while not (await anext(batches)).gap:
                pass
        await publisher.send(postings(3, 5))
        async with asyncio.timeout(30):
            seen: list[int] = []
            while len(seen) < 2:
                seen += numbers(await anext(batches))
        assert seen == [3, 4]
        await batches.aclose()  # type: ignore[attr-defined]
