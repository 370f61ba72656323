"""Migrations: applied once, whoever comes first, and never edited."""

from __future__ import annotations

import asyncio
from importlib import resources

import asyncpg
import pytest

from ossa.store.records.errors import RecordsUnavailable
from ossa.store.records.migrate import PACKAGE, Migration, SchemaMismatch, migrate, migrated, migrations
from tests.unit.servers import Postgres

FIRST = Migration(1, "0001_first.sql", "CREATE TABLE things (id integer PRIMARY KEY)")
SECOND = Migration(2, "0002_second.sql", "ALTER TABLE things ADD COLUMN name text")


async def tables(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        return {row["table_name"] for row in rows}
    finally:
        await connection.close()


def test_landed_migrations_are_what_HASHES_says() -> None:  # noqa: N802 - the file's name
    text = (resources.files(PACKAGE) / "migrations" / "HASHES").read_text()
    landed = {name: sha256 for sha256, name in (line.split() for line in text.splitlines())}
    assert {held.name: held.sha256 for held in migrations()} == landed, (
        "a migration that landed is never edited: write a new one, and add its line (sha256sum) to HASHES"
    )
    assert [held.number for held in migrations()] == sorted({held.number for held in migrations()})


async def test_all_tables_are_there_and_a_second_run_does_nothing(database: str) -> None:
    applied = await migrate(database)
    assert applied[0] == "0001_core.sql"
    wanted = {"agents", "workflows", "executions", "tasks", "metrics", "decisions", "policies", "approvals"}
    assert wanted <= await tables(database)
    assert await migrate(database) == []


async def test_two_at_once_apply_each_migration_once(database: str) -> None:
    applied = await asyncio.gather(*(migrate(database) for _ in range(4)))
    assert sorted(name for names in applied for name in names) == [held.name for held in migrations()]


async def test_an_edited_migration_is_refused(database: str) -> None:
    await migrate(database, known=[FIRST])
    with pytest.raises(SchemaMismatch, match=r"0001_first\.sql was applied with another text"):
        await migrate(database, known=[Migration(1, FIRST.name, FIRST.sql + " "), SECOND])
    assert "things" in await tables(database)


async def test_a_newer_schema_is_left_as_it_is(database: str) -> None:
    await migrate(database, known=[FIRST, SECOND])
    assert await migrate(database, known=[FIRST]) == []


async def test_what_fails_leaves_nothing_behind(database: str) -> None:
    broken = Migration(2, "0002_broken.sql", "CREATE TABLE more (id integer); SELECT nonsense")
    with pytest.raises(asyncpg.UndefinedColumnError):
        await migrate(database, known=[FIRST, broken])
    assert await tables(database) == set()
    assert await migrate(database, known=[FIRST, SECOND]) == [FIRST.name, SECOND.name]


async def test_with_postgresql_away_it_says_so_without_the_password(postgres: Postgres, database: str) -> None:
    postgres.stop()
    with pytest.raises(RecordsUnavailable, match=f"PostgreSQL at 127.0.0.1:{postgres.port}/") as caught:
        await migrate(database)
    assert "secret" not in str(caught.value)


async def test_a_process_killed_within_a_migration_leaves_it_to_the_next(postgres: Postgres, database: str) -> None:
    slow = Migration(2, "0002_slow.sql", "CREATE TABLE more (id integer); SELECT pg_sleep(30)")
    under_way = asyncio.create_task(migrate(database, known=[FIRST, slow]))
    await asyncio.sleep(0.3)
    postgres.kill()
    with pytest.raises(RecordsUnavailable):
        await under_way
    postgres.start()
    assert await tables(database) == set()
    assert await migrate(database, known=[FIRST, SECOND]) == [FIRST.name, SECOND.name]


async def test_with_postgresql_away_it_waits_until_it_is_back(postgres: Postgres, database: str) -> None:
    postgres.stop()
    waiting = asyncio.create_task(migrated(database))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    postgres.start()
    assert await asyncio.wait_for(waiting, 20) == [held.name for held in migrations()]
