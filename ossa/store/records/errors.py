"""What can be wrong with the records."""

from __future__ import annotations

import asyncpg


class RecordsUnavailable(Exception):
    """PostgreSQL cannot be asked just now: try again later. Whether a change was made before is not known."""


class BadRecordsURL(ValueError):
    """The URL makes no sense; says so without repeating it, since it may hold a password."""


# Down, starting, shutting down, a standby, out of connections or room, or a deadlock: what passes by itself.
_PASSING = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.LockNotAvailableError,
    OSError,  # TimeoutError is one
)


def is_passing(error: BaseException) -> bool:
    """Whether the same may go well later."""
    return isinstance(error, _PASSING)
