"""Room in a server whose memory is nearly used up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis as Client

from ossa.bus.connection import BusUnavailable
from ossa.bus.group import Group
from ossa.bus.publisher import Publisher
from ossa.bus.room import drop_gone_consumers, make_room
from tests.unit.bus.busy import STREAM, client_of, postings
from tests.unit.servers import Redis


@pytest.fixture
async def client(redis: Redis) -> AsyncIterator[Client]:
    async with client_of(redis.url) as held:
        yield held
        await held.config_set("maxmemory", 0)


async def test_what_all_groups_have_handled_goes_and_nothing_else(client: Client) -> None:
    await Publisher(client).send(postings(0, 100))
    quick, slow = Group(client, STREAM, "quick", "one"), Group(client, STREAM, "slow", "one")
    await quick.acknowledge([entry.id for entry in await quick.read(100)])
    entries = await slow.read(60)
    await slow.acknowledge([entry.id for entry in (*entries[:10], *entries[30:])])
    assert await make_room(client, [STREAM]) == 0, "there is room: maxmemory is not set"
    await client.config_set("maxmemory", "1gb")
    assert await make_room(client, [STREAM]) == 0, "there is room"
    assert await make_room(client, [STREAM, "not:there"], full=0.0) == 10
    await slow.acknowledge([entry.id for entry in entries])
    assert await make_room(client, [STREAM], full=0.0) == 49
    assert await client.xlen(STREAM) == 41  # what slow has not read, and the last one that it has


async def test_a_full_server_refuses_and_takes_again_once_there_is_room(client: Client) -> None:
    group = Group(client, STREAM, "workers", "one")
    publisher = Publisher(client, lengths={STREAM: 1_000_000})
    await publisher.send(postings(0, 5000))
    await client.config_set("maxmemory", int((await client.info("memory"))["used_memory"]) + 200_000)
    too_many = postings(5000, 100_000)
    with pytest.raises(BusUnavailable):
        await publisher.send(too_many)
    while entries := await group.read(1000):
        await group.acknowledge([entry.id for entry in entries])
    assert await make_room(client, [STREAM]) > 5000
    await publisher.send(postings(0, 100))


async def test_consumers_that_are_gone_are_dropped_unless_something_is_pending_with_them(client: Client) -> None:
    assert await drop_gone_consumers(client, STREAM, idle=0.0) == 0
    await Publisher(client).send(postings(0, 10))
    gone, busy = Group(client, STREAM, "workers", "gone"), Group(client, STREAM, "workers", "busy")
    await gone.acknowledge([entry.id for entry in await gone.read(5)])
    assert len(await busy.read(5)) == 5
    await asyncio.sleep(0.01)
    assert await drop_gone_consumers(client, STREAM) == 0
    assert await drop_gone_consumers(client, STREAM, idle=0.005) == 1
    (left,) = await client.xinfo_consumers(STREAM, "workers")
    assert left["name"] == b"busy"
