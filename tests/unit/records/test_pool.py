"""Connections survive outages, and say so without telling the password."""

from __future__ import annotations

import asyncio
import logging
import time

import asyncpg
import pytest

from ossa.store.records.errors import BadRecordsURL, RecordsUnavailable
from ossa.store.records.pool import Records, check_url
from tests.unit.servers import Postgres

PASSWORD = "secret"


async def comes_back(records: Records, seconds: float = 5.0) -> float:
    """Seconds until PostgreSQL can be asked."""
    began = time.monotonic()
    while True:
        try:
            async with records.connection() as connection:
                assert await connection.fetchval("SELECT 1") == 1
            return time.monotonic() - began
        except RecordsUnavailable:
            assert time.monotonic() - began < seconds
            await asyncio.sleep(0.05)


async def test_a_process_starts_with_postgresql_down(postgres: Postgres, database: str) -> None:
    postgres.stop()
    async with Records(database, application="test") as records:
        with pytest.raises(RecordsUnavailable, match=f"127.0.0.1:{postgres.port}"):
            async with records.connection():
                pass
        assert not records.available
        # Others do not wait for what did not answer a moment ago.
        began = time.monotonic()
        with pytest.raises(RecordsUnavailable, match="a moment ago"):
            async with records.connection():
                pass
        assert time.monotonic() - began < 1.0
        postgres.start()
        assert await comes_back(records) < 4
        assert records.available


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_it_goes_away_within_a_block(postgres: Postgres, database: str, how: str) -> None:
    async with Records(database, application="test", size=2) as records:

        async def half() -> None:
            async with records.transaction() as connection:
                await connection.execute("CREATE TABLE half (id integer)")
                getattr(postgres, how)()
                await connection.execute("CREATE TABLE done (id integer)")

        with pytest.raises(RecordsUnavailable):
            await half()
        postgres.start()
        await comes_back(records)
        async with records.connection() as connection:
            assert await connection.fetchval("SELECT to_regclass('half')") is None


async def test_it_goes_away_between_two_blocks(postgres: Postgres, database: str) -> None:
    async with Records(database, application="test") as records:
        await comes_back(records)
        await asyncio.to_thread(postgres.kill)
        await asyncio.to_thread(postgres.start)
        await comes_back(records)


async def test_a_statement_that_takes_too_long_is_nobody_elses_trouble(database: str) -> None:
    async with Records(database, application="test", statement=0.2) as records:
        with pytest.raises(RecordsUnavailable, match="QueryCanceledError"):
            async with records.connection() as connection:
                await connection.execute("SELECT pg_sleep(5)")
        assert records.available
        assert await comes_back(records) < 2.0


async def test_a_frozen_server_is_given_up(database: str, postgres: Postgres) -> None:
    async with Records(database, application="test", statement=0.2) as records:
        async with records.connection() as connection:
            backend = await connection.fetchval("SELECT pg_backend_pid()")
        postgres.freeze(backend)
        began = time.monotonic()
        with pytest.raises(RecordsUnavailable):
            async with records.connection() as connection:
                await connection.execute("SELECT 1")
        assert time.monotonic() - began < 10
        postgres.thaw(backend)
        await comes_back(records)


async def test_what_else_fails_in_a_block_is_not_called_an_outage(database: str) -> None:
    async with Records(database, application="test") as records:
        for error in (ValueError("mine"), ConnectionError("another server's")):
            with pytest.raises(type(error), match=str(error)):
                async with records.connection():
                    raise error
        with pytest.raises(asyncpg.UndefinedTableError):
            async with records.connection() as connection:
                await connection.execute("SELECT * FROM nowhere")
        assert records.available


async def test_no_more_connections_than_allowed(database: str) -> None:
    async with Records(database, application="test", size=1) as records, records.connection():
        with pytest.raises(RecordsUnavailable):
            async with records.connection(acquire=0.1):
                pass


async def test_json_comes_back_as_it_was_but_for_the_character_0(database: str) -> None:
    value = {"a": [1, 2.5, None, True, "\\u0000 as text", "ü\u2028"], "b\0": {"c": "x\0y"}}
    async with Records(database, application="test") as records, records.connection() as connection:
        found = await connection.fetchval("SELECT $1::jsonb", value)
    assert found == {"a": value["a"], "b\ufffd": {"c": "x\ufffdy"}}


async def test_the_password_is_never_told(postgres: Postgres, database: str, caplog: pytest.LogCaptureFixture) -> None:
    postgres.stop()
    caplog.set_level(logging.DEBUG)
    async with Records(database, application="test") as records:
        with pytest.raises(RecordsUnavailable) as caught:
            async with records.connection():
                pass
        told = f"{records!r} {caught.value} {caplog.text} {[vars(record) for record in caplog.records]}"
    assert f":{postgres.port}/" in told
    assert PASSWORD not in told


@pytest.mark.parametrize(
    "url", ["", "secret", "redis://u:secret@h/1", "postgresql://u:secret@/x", "postgresql://h:port/x"]
)
def test_a_url_that_makes_no_sense_is_not_repeated(url: str) -> None:
    with pytest.raises(BadRecordsURL, match="postgresql://USER:PASSWORD@HOST") as caught:
        check_url(url)
    assert PASSWORD not in str(caught.value)
