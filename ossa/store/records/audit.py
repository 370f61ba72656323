"""The audit trail in PostgreSQL: links are added and read, never changed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
from pydantic import ValidationError

from ossa.audit.chain import BadLink, Link, read_link
from ossa.audit.entry import Entry
from ossa.audit.heads import Head
from ossa.audit.segment import Segment
from ossa.store.records.pool import Connection, Records
from ossa.store.records.retention import Partitioned

PAGE: Final = 2000
_QUERIED: Final = ("id", "user", "address", "verb", "resource", "namespace", "name", "outcome")
_COLUMNS: Final = ("writer", "epoch", "seq", "recorded", "body", "time", *_QUERIED)
_TYPES: Final = {"seq": "bigint", "recorded": "timestamptz", "time": "timestamptz"}
_HEAD_TYPES: Final = ("text", "text", "bigint", "boolean", "timestamptz", "text")
_ARRAYS: Final = ", ".join(f"${number}::{_TYPES.get(name, 'text')}[]" for number, name in enumerate(_COLUMNS, 1))
_HEAD_ARRAYS: Final = ", ".join(f"${number}::{of}[]" for number, of in enumerate(_HEAD_TYPES, len(_COLUMNS) + 1))
# One statement, and so one round trip, where a transaction of two would be four: every change waits for this one. The
# same link may come by another way first, from the process that made it or from the bus.
_ADD: Final = f"""
WITH added AS (
    INSERT INTO audit ({", ".join(f'"{name}"' for name in _COLUMNS)}) SELECT * FROM unnest({_ARRAYS})
    ON CONFLICT DO NOTHING
)
INSERT INTO audit_heads AS held (writer, epoch, seq, closed, "time", body) SELECT * FROM unnest({_HEAD_ARRAYS})
ON CONFLICT (writer, epoch) DO UPDATE
SET seq = excluded.seq, closed = excluded.closed, "time" = excluded."time", body = excluded.body
WHERE (excluded.seq, excluded.closed) > (held.seq, held.closed)
"""  # noqa: S608 - constants


def partitioned(keep: timedelta | None) -> Partitioned:
    """The table, for the upkeep of partitions. keep: None keeps links for ever."""
    return Partitioned("audit", "recorded", timedelta(days=7), keep)


@dataclass(frozen=True, slots=True)
class Stored:
    """A row of the trail: the link's text, and whether the columns beside it still say the same."""

    writer: str
    epoch: str
    seq: int
    text: str
    differs: str = ""  # the first column that does not


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What entries are asked for; an empty text asks for any. Newest first, `limit` of them."""

    user: str = ""
    verb: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    outcome: str = ""
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 100


async def add(records: Records, segments: Sequence[Segment | tuple[Sequence[Link], Head]]) -> None:
    """Adds links with the heads that cover them, all or none. What is there stays as it is.

    Raises:
        RecordsUnavailable: whether they were added is not known; add them again.
    """
    pairs = [(one.read(), one.head) if isinstance(one, Segment) else one for one in segments]
    rows = [_row(link) for links, _ in pairs for link in links]
    heads = {(head.writer, head.epoch): head for head in sorted((head for _, head in pairs), key=_how_far)}
    # In one order for all who write them, so that two never wait for each other.
    ordered = [
        (head.writer, head.epoch, head.seq, head.closed, head.time, head.text) for _, head in sorted(heads.items())
    ]
    async with records.connection() as connection:
        await connection.execute(_ADD, *_arrays(rows, len(_COLUMNS)), *_arrays(ordered, len(_HEAD_TYPES)))


async def heads_since(records: Records, since: datetime | None, *, limit: int = 10_000) -> list[Head]:
    """The newest head of each chain that has moved since then; the latest first. Raises RecordsUnavailable."""
    async with records.connection() as connection:
        texts = await _head_texts(connection, since, limit)
    found = []
    for text in texts:
        # What is none any more is told of by a verification, and stops nobody who writes.
        with contextlib.suppress(ValidationError):
            found.append(Head.model_validate_json(text))
    return found


async def links(records: Records, writer: str, epoch: str, first: int, last: int) -> list[Link]:
    """Those of a chain that are there. Raises RecordsUnavailable, BadLink where one was tampered with."""
    async with records.connection() as connection:
        rows = await connection.fetch(
            "SELECT body FROM audit WHERE writer = $1 AND epoch = $2 AND seq BETWEEN $3 AND $4 ORDER BY seq",
            writer,
            epoch,
            first,
            last,
        )
    return [read_link(row["body"]) for row in rows]


async def known_ids(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Which of the ids are in the trail already."""
    rows = await connection.fetch("SELECT DISTINCT id FROM audit WHERE id = ANY($1::text[])", list(ids))
    return {row["id"] for row in rows}


class Snapshot:
    """The trail at one moment, for a verification: what is added meanwhile is not seen, and is no contradiction."""

    def __init__(self, connection: Connection | asyncpg.Connection[asyncpg.Record]) -> None:
        """Of a connection within a transaction `REPEATABLE READ READ ONLY`."""
        self._connection = connection

    async def count(self) -> int:
        """About how many links there are, for a person who waits."""
        found = await self._connection.fetchval(
            "SELECT coalesce(sum(greatest(reltuples, 0)), 0)::bigint FROM pg_class, pg_inherits"
            " WHERE inhrelid = pg_class.oid AND inhparent = 'audit'::regclass"
        )
        return int(found)

    async def heads(self) -> list[str]:
        """Of all chains, as they lie there."""
        return await _head_texts(self._connection, None, None)

    async def rows(self) -> AsyncIterator[Stored]:
        """All links, chain by chain, in their order."""
        at: tuple[str, str, int, datetime] = ("", "", -1, datetime.min.replace(tzinfo=UTC))
        while True:
            rows = await self._connection.fetch(
                "SELECT * FROM audit WHERE (writer, epoch, seq, recorded) > ($1, $2, $3, $4)"
                " ORDER BY writer, epoch, seq, recorded LIMIT $5",
                *at,
                PAGE,
            )
            for row in rows:
                yield _stored(row)
            if not rows:
                return
            last = rows[-1]
            at = (last["writer"], last["epoch"], last["seq"], last["recorded"])


async def find(connection: Connection | asyncpg.Connection[asyncpg.Record], asked: Asked) -> list[Link]:
    """Entries as links, newest first. It proves nothing: verify does. Raises BadLink where one cannot be read."""
    conditions, values = [], []
    for name in ("user", "verb", "resource", "namespace", "name", "outcome"):
        if getattr(asked, name):
            values.append(getattr(asked, name))
            conditions.append(f'"{name}" = ${len(values)}')
    for sign, moment in ((">=", asked.since), ("<", asked.until)):
        if moment is not None:
            values.append(moment)
            conditions.append(f"recorded {sign} ${len(values)}")
    values.append(asked.limit)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = await connection.fetch(
        f"SELECT body FROM audit {where} ORDER BY recorded DESC, writer, seq DESC LIMIT ${len(values)}",  # noqa: S608
        *values,
    )
    return [read_link(row["body"]) for row in rows]


def differing(row: Any, link: Link) -> str:
    """The first column of a row that does not say what its link says; empty where all do."""
    told = dict(zip(_COLUMNS, _row(link), strict=True))
    return next((name for name in _COLUMNS if row[name] != told[name]), "")


def _stored(row: Any) -> Stored:
    try:
        differs = differing(row, read_link(row["body"]))
    except BadLink:
        differs = ""  # told of by whoever verifies the text
    return Stored(row["writer"], row["epoch"], row["seq"], row["body"], differs)


async def _head_texts(
    connection: Connection | asyncpg.Connection[asyncpg.Record], since: datetime | None, limit: int | None
) -> list[str]:
    rows = await connection.fetch(
        'SELECT body FROM audit_heads WHERE $1::timestamptz IS NULL OR "time" >= $1 ORDER BY "time" DESC LIMIT $2',
        since,
        limit,
    )
    return [row["body"] for row in rows]


def _row(link: Link) -> tuple[Any, ...]:
    body = link.body
    return (
        body.writer,
        body.epoch,
        body.seq,
        body.recorded,
        link.text,
        body.entry.time,
        *(_plain(body.entry, name) for name in _QUERIED),
    )


def _plain(entry: Entry, name: str) -> str:
    # PostgreSQL has no text with the character 0; in the link's own text it is written as JSON writes it.
    return str(getattr(entry, name)).replace("\0", "\ufffd")


def _how_far(head: Head) -> tuple[int, bool]:
    return head.seq, head.closed


def _arrays(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """The columns of rows; as many empty ones where there is no row."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]
