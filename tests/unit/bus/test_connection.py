"""The way to Redis."""

from __future__ import annotations

import asyncio

import pytest

from ossa.bus.connection import BadBusURL, BusUnavailable, Pauses, connect, reaching
from tests.unit.servers import Redis


@pytest.mark.parametrize("url", ["", "http://host:1", "redis://host:port", "ossa-redis:6382"])
def test_a_url_that_makes_no_sense_is_refused_and_no_password_shown(url: str) -> None:
    with pytest.raises(BadBusURL, match="write redis://"):
        connect(url, name="test")


async def test_a_server_that_is_away_is_one_error_and_is_used_again_when_it_is_back(redis: Redis) -> None:
    client = connect(redis.url, name="test")
    try:
        assert await client.set("key", "value")
        redis.stop()
        with pytest.raises(BusUnavailable, match="asked for a key"), reaching("asked for a key"):
            await client.get("key")
        redis.start()
        with reaching("asked for a key"):
            assert await client.get("key") == b"value"
    finally:
        await client.aclose()


async def test_a_wrong_password_says_where_to_look(redis: Redis) -> None:
    client = connect(redis.url.replace("redis://", "redis://nobody:wrong@"), name="test")
    try:
        with pytest.raises(BusUnavailable, match="user and password") as found, reaching("asked for a key"):
            await client.get("key")
        assert "wrong" not in str(found.value).replace("WRONGPASS", "")
    finally:
        await client.aclose()


async def test_somebody_else_at_its_address_is_a_server_that_is_away() -> None:
    """As where a pod has just got the address of the one that was killed."""

    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(web, "127.0.0.1", 0)
    client = connect(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", name="test")
    async with server:
        for _ in range(3):
            with pytest.raises(BusUnavailable, match="asked for a key"), reaching("asked for a key"):
                await client.get("key")
        await client.aclose()


def test_pauses_grow_to_a_bound_and_begin_anew_after_a_success() -> None:
    pauses = Pauses(0.1, 2.0)
    taken = [pauses.next() for _ in range(40)]
    assert taken[0] <= 0.1
    assert 1.0 <= taken[-1] <= 2.0
    assert len(set(taken)) == len(taken), "without jitter all come back at one time"
    pauses.over()
    assert pauses.next() <= 0.1
