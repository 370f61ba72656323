"""Requests for an Execution: written down before they are answered, closed once they are carried out.

Each function takes a connection of `Records.connection`, and is one statement, or one transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

import asyncpg

from ossa.store.records.locks import Lock, hold
from ossa.store.records.pool import Connection

State = Literal["open", "done", "refused", "withdrawn"]
Source = Literal["api", "websocket"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for. `identity` and `spec` are JSON."""

    id: UUID
    user: str
    identity: str
    namespace: str
    name: str  # of the Execution
    key: str | None
    spec: str
    traceparent: str
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(Request):
    """As it stands. `problem` is JSON."""

    state: State
    execution_uid: str | None
    problem: str | None
    attempts: int
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """How a request ended."""

    id: UUID
    state: Literal["done", "refused", "withdrawn"]
    execution_uid: str | None = None
    problem: str | None = None


_COLUMNS = """
    id, user_name, identity, namespace, name, idempotency_key, spec, traceparent, source, state, execution_uid,
    problem, attempts, created_at
"""
_INSERT = """
    INSERT INTO requests (id, user_name, identity, namespace, name, idempotency_key, spec, traceparent, source, due_at)
    SELECT r.id, r.user_name, r.identity, r.namespace, r.name, r.idempotency_key, r.spec, r.traceparent, r.source,
        now() + make_interval(secs => $10)
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
        $9::text[]) AS r (id, user_name, identity, namespace, name, idempotency_key, spec, traceparent, source)
    ON CONFLICT DO NOTHING
    RETURNING id
"""


async def insert(connection: Connection, requests: Sequence[Request], *, grace: float) -> set[UUID]:
    """Write requests down in one statement; the ids of those that were not there.

    grace: seconds that whoever calls may take to carry them out before a carrier does.
    """
    columns = [
        [getattr(request, name) for request in requests]
        for name in ("id", "user", "identity", "namespace", "name", "key", "spec", "traceparent", "source")
    ]
    return {row["id"] for row in await connection.fetch(_INSERT, *columns, grace)}


async def insert_within(connection: Connection, request: Request, *, bound: int) -> bool | None:
    """Write a request down that a carrier is to carry out, where fewer than `bound` are open.

    True: it was written; False: it was there already; None: too many are open.
    """
    async with connection.transaction():
        await hold(connection, Lock.OPEN_REQUESTS)
        if await count_open(connection) >= bound:
            return None
        return bool(await insert(connection, [request], grace=0.0))


async def find(connection: Connection, *, user: str, namespace: str, key: str) -> Row | None:
    """The request with this key."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM requests WHERE user_name = $1 AND namespace = $2 AND idempotency_key = $3",  # noqa: S608
        user,
        namespace,
        key,
    )
    return _row(row) if row is not None else None


async def get(connection: Connection, id_: UUID) -> Row | None:
    """The request with this id."""
    row = await connection.fetchrow(f"SELECT {_COLUMNS} FROM requests WHERE id = $1", id_)  # noqa: S608 - constants
    return _row(row) if row is not None else None


async def reopen(connection: Connection, id_: UUID, *, grace: float) -> bool:
    """Open one again that was refused or withdrawn; whether it was one. `grace` as in `insert`."""
    done = await connection.fetchval(
        "UPDATE requests SET state = 'open', problem = NULL, closed_at = NULL, "
        "due_at = now() + make_interval(secs => $2) "
        "WHERE id = $1 AND state IN ('refused', 'withdrawn') RETURNING true",
        id_,
        grace,
    )
    return bool(done)


async def close(connection: Connection, closings: Sequence[Closing]) -> None:
    """Close requests in one statement. One that is closed stays as it is."""
    await connection.execute(
        """
        UPDATE requests AS r
        SET state = c.state, execution_uid = c.execution_uid, problem = c.problem, closed_at = now()
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS c (id, state, execution_uid, problem)
        WHERE r.id = c.id AND r.state = 'open'
        """,
        [closing.id for closing in closings],
        [closing.state for closing in closings],
        [closing.execution_uid for closing in closings],
        [closing.problem for closing in closings],
    )


async def claim(connection: Connection, *, limit: int, lease: float) -> list[Row]:
    """The oldest open requests that are due, for this carrier alone.

    lease: seconds after which they are due again, where it does not close them.
    """
    rows = await connection.fetch(
        f"""
        UPDATE requests SET attempts = attempts + 1, due_at = now() + make_interval(secs => $2)
        WHERE id IN (
            SELECT id FROM requests WHERE state = 'open' AND due_at <= now() ORDER BY due_at LIMIT $1
            FOR UPDATE SKIP LOCKED
        )
        RETURNING {_COLUMNS}
        """,  # noqa: S608 - constants
        limit,
        lease,
    )
    return sorted((_row(row) for row in rows), key=lambda row: (row.created_at, row.id))


async def postpone(connection: Connection, ids: Collection[UUID], *, seconds: float) -> None:
    """Have open requests looked at again after so many seconds."""
    await connection.execute(
        "UPDATE requests SET due_at = now() + make_interval(secs => $2) WHERE id = ANY($1) AND state = 'open'",
        list(ids),
        seconds,
    )


async def count_open(connection: Connection) -> int:
    """How many are not carried out yet."""
    return int(await connection.fetchval("SELECT count(*) FROM requests WHERE state = 'open'"))


async def open_among(connection: Connection, ids: Collection[UUID]) -> set[UUID]:
    """Those of these that are not closed: their Executions must not go, since they would be made anew."""
    rows = await connection.fetch("SELECT id FROM requests WHERE id = ANY($1) AND state = 'open'", list(ids))
    return {row["id"] for row in rows}


async def purge(connection: Connection, *, keep: float, limit: int = 1000) -> int:
    """Delete requests that were closed more than `keep` seconds ago; how many, at most `limit`."""
    rows = await connection.fetch(
        """
        DELETE FROM requests WHERE id IN (
            SELECT id FROM requests WHERE closed_at < now() - make_interval(secs => $1) ORDER BY closed_at LIMIT $2
            FOR UPDATE SKIP LOCKED
        ) RETURNING id
        """,
        keep,
        limit,
    )
    return len(rows)


def _row(row: asyncpg.Record) -> Row:
    return Row(
        id=row["id"],
        user=row["user_name"],
        identity=row["identity"],
        namespace=row["namespace"],
        name=row["name"],
        key=row["idempotency_key"],
        spec=row["spec"],
        traceparent=row["traceparent"],
        source=row["source"],
        state=row["state"],
        execution_uid=row["execution_uid"],
        problem=row["problem"],
        attempts=row["attempts"],
        created_at=row["created_at"],
    )
