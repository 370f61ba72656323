"""Reading a stream from a place on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from ossa.bus.messages import BEGINNING, Metric
from ossa.bus.position import START, Position
from ossa.bus.publisher import Publisher
from ossa.bus.reader import Entry, Extent, Reader, is_gone
from tests.unit.bus.busy import STREAM, client_of, postings
from tests.unit.servers import Redis


@pytest.mark.parametrize(
    ("after", "extent", "gone"),
    [
        (Position(0, 0), Extent(None, Position(0, 0), 0, 0), False),
        (Position(5, 1), Extent(None, Position(0, 0), 0, 0), True),  # the server has lost its data
        (Position(0, 0), Extent(Position(1, 0), Position(9, 0), 9, 9), False),  # nothing was ever removed
        (Position(0, 0), Extent(Position(4, 0), Position(9, 0), 9, 6), True),
        (Position(3, 0), Extent(Position(4, 0), Position(9, 0), 9, 6), True),
        (Position(4, 0), Extent(Position(4, 0), Position(9, 0), 9, 6), False),
        (Position(9, 0), Extent(Position(4, 0), Position(9, 0), 9, 6), False),
        (Position(9, 1), Extent(Position(4, 0), Position(9, 0), 9, 6), True),
        (Position(10, 0), Extent(Position(4, 0), Position(9, 9), 9, 6), True),
        (Position(9, 0), Extent(None, Position(9, 0), 9, 0), False),
        (Position(8, 0), Extent(None, Position(9, 0), 9, 0), True),
        (Position(3, 0), Extent(Position(4, 0), Position(9, 0), 6, 6), True),  # it was in one that is lost
    ],
)
def test_what_is_gone(after: Position, extent: Extent, gone: bool) -> None:
    assert is_gone(after, extent) is gone


def numbers(entries: Sequence[Entry]) -> list[int]:
    return [int(Metric.model_validate_json(entry.message).value) for entry in entries]


async def test_everything_comes_in_order(redis: Redis) -> None:
    async with client_of(redis.url) as client:
        publisher, reader, seen = Publisher(client), Reader(client, STREAM), list[int]()
        waiting = asyncio.create_task(reader.read(BEGINNING, wait=5))
        await publisher.send(postings(0, 50))
        after = (await waiting)[-1].id
        seen += numbers(await waiting)
        while entries := await reader.read(after, count=7):
            seen, after = seen + numbers(entries), entries[-1].id
        assert seen == list(range(50))
        assert await reader.read(after, wait=0.05) == ()


async def test_whoever_was_trimmed_past_is_told(redis: Redis) -> None:
    async with client_of(redis.url) as client:
        publisher, reader = Publisher(client), Reader(client, STREAM)
        assert not is_gone(START, await reader.extent())
        await publisher.send(postings(0, 10))
        places = [Position.of(entry.id) for entry in await reader.read(BEGINNING)]
        extent = await reader.extent()
        assert not any(is_gone(place, extent) for place in (START, *places))
        await client.xtrim(STREAM, maxlen=3, approximate=False)
        extent = await reader.extent()
        assert (extent.first, extent.last, extent.added, extent.length) == (places[7], places[9], 10, 3)
        assert [is_gone(place, extent) for place in (START, places[0], places[6], places[7], places[9])] == [
            *[True] * 3,
            *[False] * 2,
        ]


async def test_a_server_without_its_data_has_lost_what_anybody_was_at(redis: Redis) -> None:
    async with client_of(redis.url) as client:
        publisher, reader = Publisher(client), Reader(client, STREAM)
        await publisher.send(postings(0, 3))
        here = (await reader.extent()).last
        await client.flushall()
        assert is_gone(here, await reader.extent())
        await asyncio.sleep(0.002)  # ids are times
        await publisher.send(postings(3, 5))
        assert is_gone(here, await reader.extent())
