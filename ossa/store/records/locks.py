"""Advisory locks: each is a number that PostgreSQL knows nothing about, so all of them stand here."""

from __future__ import annotations

from enum import IntEnum, unique

import asyncpg

from ossa.store.records.pool import Connection


@unique
class Lock(IntEnum):
    """What one process at a time does."""

    SCHEMA = 0x0550A  # migrations are applied
    OPEN_REQUESTS = 0x0550B  # open requests are counted, and one is added
    AUDIT_INTAKE = 0x0550C  # what the API server told is looked up in the trail and added
    SIGNING_KEYS = 0x0550D  # a key that signs access tokens is added


async def hold(connection: Connection | asyncpg.Connection, lock: Lock) -> None:
    """Waits for the lock, and holds it until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", int(lock))
