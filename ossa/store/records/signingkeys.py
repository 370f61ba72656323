"""The keys that sign access tokens, in PostgreSQL: all replicas read the same ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ossa.store.records.locks import Lock, hold
from ossa.store.records.pool import Connection, Records

_COLUMNS = "kid, public_key, sealed_key, sealed_by, signs_from, signs_until, verifies_until"


@dataclass(frozen=True, slots=True)
class StoredKey:
    """One key; the private half is sealed with the key `sealed_by` of the installation."""

    kid: str
    public_key: bytes  # Ed25519, 32 bytes
    sealed_key: bytes = field(repr=False)
    sealed_by: str
    signs_from: datetime
    signs_until: datetime
    verifies_until: datetime


# From the keys that there are and the database's time: the key to add, or None.
Plan = Callable[[Sequence[StoredKey], datetime], StoredKey | None]


class SigningKeys:
    """Queries of keys; they raise as those of `Accounts` do."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def load(self, plan: Plan) -> tuple[list[StoredKey], datetime]:
        """All that verify still or will sign, after `plan` has added what it finds missing; and the database's time.

        Of several replicas that would add one, the first does: the others see it and plan anew.
        """
        async with self._records.transaction() as db:
            keys, now = await _read(db)
            if plan(keys, now) is None:
                return keys, now
            await hold(db, Lock.SIGNING_KEYS)
            keys, now = await _read(db)
            new = plan(keys, now)
            if new is not None:
                await _add(db, new)
                await db.execute("DELETE FROM signing_keys WHERE verifies_until < clock_timestamp()")
                keys = [*keys, new]
        return keys, now


async def _read(db: Connection) -> tuple[list[StoredKey], datetime]:
    # Not now(), which stands still while the transaction waits for the lock.
    now = await db.fetchval("SELECT clock_timestamp()")
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM signing_keys WHERE verifies_until > $1 ORDER BY signs_from, kid",  # noqa: S608 - columns
        now,
    )
    return [StoredKey(**dict(row)) for row in rows], now


async def _add(db: Connection, key: StoredKey) -> None:
    await db.execute(
        f"INSERT INTO signing_keys ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)",  # noqa: S608 - columns
        key.kid,
        key.public_key,
        key.sealed_key,
        key.sealed_by,
        key.signs_from,
        key.signs_until,
        key.verifies_until,
    )
