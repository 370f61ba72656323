"""Advisory locks are told apart by their numbers alone."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

import ossa
from ossa.store.records.locks import Lock, hold
from ossa.store.records.pool import connect


def test_their_numbers_stand_in_one_place() -> None:
    [package] = ossa.__path__
    users = {path.name for path in Path(package).rglob("*.py") if "pg_advisory" in path.read_text()}
    assert users == {"locks.py"}
    assert len({lock.value for lock in Lock.__members__.values()}) == len(Lock.__members__)


async def test_nobody_waits_for_another_lock_and_everybody_for_the_same(database: str) -> None:
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(10):
            for lock in Lock:
                connection = await stack.enter_async_context(connect(database, application="test"))
                await stack.enter_async_context(connection.transaction())
                await hold(connection, lock)
        for lock in Lock:
            other = await stack.enter_async_context(connect(database, application="test"))
            with pytest.raises(TimeoutError):
                async with other.transaction(), asyncio.timeout(0.2):
                    await hold(other, lock)
