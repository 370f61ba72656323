"""The servers for tests keep their promises."""

from __future__ import annotations

import asyncpg
import pytest

from tests.unit.servers import Postgres, Redis


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_postgresql_comes_back_with_what_was_committed(postgres: Postgres, records_url: str, how: str) -> None:
    connection = await asyncpg.connect(records_url)
    await connection.execute("INSERT INTO principals VALUES (gen_random_uuid(), 'alice', 'person')")
    getattr(postgres, how)()
    with pytest.raises(OSError):  # noqa: PT011 - refused, reset: all the same
        await asyncpg.connect(records_url)
    connection.terminate()
    postgres.start()
    connection = await asyncpg.connect(records_url)
    assert await connection.fetchval("SELECT count(*) FROM principals") == 1
    await connection.close()


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_redis_comes_back_with_what_was_written(redis: Redis, redis_url: str, how: str) -> None:
    assert redis_url == f"redis://127.0.0.1:{redis.port}"
    assert redis.command("SET", "key", "value") == "+OK"
    getattr(redis, how)()
    assert redis.command("PING") == ""
    redis.start()
    assert redis.command("EXISTS", "key") == ":1"


def test_redis_is_empty_for_each_test(redis: Redis) -> None:
    assert redis.command("DBSIZE") == ":0"
